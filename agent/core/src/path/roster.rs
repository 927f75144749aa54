//! Peers of one group: what is known of each while nobody uses it. A group of ten thousand costs a few megabytes.

use std::collections::BTreeMap;

use lacis_proto::{Endpoint, PeerId, PublicKey, RelayHome};

use super::{
    event::RemotePeer,
    keys::{Tag, tag_of},
    replay::Starts,
};

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) peer: PeerId,
    /// Its relay address.
    pub(super) address: u64,
    pub(super) endpoints: Box<[Endpoint]>,
    pub(super) relays: Box<[RelayHome]>,
    /// The start of the peer that counts and the last number within it.
    start: Option<(u64, u64)>,
    /// Number of the last frame to it.
    pub(super) sent: u64,
}

impl Known {
    /// The starts of the peer as they were when its agent went.
    pub(super) fn starts(&self) -> Starts {
        self.start.map_or_else(Starts::default, |(boot, last)| Starts::remembered(boot, last))
    }
}

/// The peers of one group.
#[derive(Debug)]
pub(super) struct Roster {
    /// Key of the own peer, and the tag it sends under.
    pub(super) own: PublicKey,
    pub(super) tag: Tag,
    peers: BTreeMap<PublicKey, Known>,
    tags: BTreeMap<Tag, PublicKey>,
}

impl Roster {
    pub(super) fn new(remote: &RemotePeer) -> Self {
        let tag = tag_of(&remote.group, &remote.own);
        Self { own: remote.own, tag, peers: BTreeMap::new(), tags: BTreeMap::new() }
    }

    /// Takes in a peer or its changed record.
    pub(super) fn put(&mut self, remote: RemotePeer) {
        self.tags.insert(tag_of(&remote.group, &remote.key), remote.key);
        let before = self.peers.remove(&remote.key);
        let known = Known {
            peer: remote.peer,
            address: remote.address,
            endpoints: remote.endpoints.into(),
            relays: remote.relays.into(),
            start: before.as_ref().and_then(|known| known.start),
            sent: before.map_or(0, |known| known.sent),
        };
        self.peers.insert(remote.key, known);
    }

    /// Forgets a peer.
    pub(super) fn remove(&mut self, key: &PublicKey) {
        self.peers.remove(key);
        self.tags.retain(|_, tagged| tagged != key);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn get(&self, key: &PublicKey) -> Option<&Known> {
        self.peers.get(key)
    }

    /// The peer that sends under this tag.
    pub(super) fn sender(&self, tag: &Tag) -> Option<PublicKey> {
        self.tags.get(tag).copied()
    }

    /// Keeps what must outlive a peer's agent.
    pub(super) fn remember(&mut self, key: &PublicKey, (start, sent): (Option<(u64, u64)>, u64)) {
        if let Some(known) = self.peers.get_mut(key) {
            known.start = start;
            known.sent = sent;
        }
    }
}
