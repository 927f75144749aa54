//! Tunnels: who finds whom. A call reaches a peer that runs at one of the endpoints known of it.

use lacis_proto::Endpoint;

use super::*;

/// The tunnel repeats an initiation for 90 s.
const TRIES: u32 = 18;

impl World {
    /// Where an agent would look for a peer: the record, and where it was last heard from.
    fn candidates(&self, node: usize, group: &GroupId, key: &PublicKey) -> Vec<Endpoint> {
        let Process::Running(running) = &self.nodes[node].process else { return Vec::new() };
        let known = running.core.netmaps().get(group).and_then(|netmap| netmap.peer_with_key(key));
        let Some((_, peer)) = known else { return Vec::new() };
        let met = self.nodes[node].disk.met.get(&(group.clone(), *key));
        met.into_iter().chain(&peer.endpoints).copied().collect()
    }

    /// The node that runs the peer of a key.
    fn owner(&self, group: &GroupId, key: &PublicKey) -> Option<usize> {
        let runs = |process: &Process| {
            let Process::Running(running) = process else { return false };
            running.core.local().hosted.get(group).is_some_and(|hosted| hosted.key == *key)
        };
        self.nodes.iter().position(|node| runs(&node.process))
    }

    fn own_key(&self, node: usize, group: &GroupId) -> Option<PublicKey> {
        self.nodes[node].disk.hosted.get(group).map(|hosted| hosted.key)
    }

    /// Whether packets of one node find another's peer.
    pub(crate) fn reaches(&self, node: usize, other: usize, group: &GroupId) -> bool {
        let Some(key) = self.own_key(other, group) else { return false };
        let candidates = self.candidates(node, group, &key);
        self.owner(group, &key) == Some(other)
            && candidates.iter().any(|candidate| self.nodes[other].endpoints.contains(candidate))
    }

    /// One initiation; both learn of each other where it arrives.
    pub(super) fn call_peer(&mut self, node: usize, group: GroupId, key: PublicKey, tries: u32) {
        let generation = self.nodes[node].generation;
        let candidates = self.candidates(node, &group, &key);
        let found = self.owner(&group, &key).and_then(|other| {
            let theirs = &self.nodes[other].endpoints;
            Some((other, *candidates.iter().find(|candidate| theirs.contains(candidate))?))
        });
        let own = self.own_key(node, &group);
        let (Some((other, endpoint)), Some(own), false) = (found, own, self.goes_wrong(10)) else {
            if tries < TRIES {
                self.after(5_000, 5_500, Event::CallPeer { node, generation, group, key, tries: tries + 1 });
            }
            return;
        };
        let is_known = matches!(&self.nodes[other].process, Process::Running(running)
            if running.core.netmaps().get(&group).is_some_and(|map| map.peer_with_key(&own).is_some()));
        if !is_known {
            return;
        }
        let here = self.nodes[node].endpoints[0];
        self.meet(node, &group, key, endpoint);
        self.meet(other, &group, own, here);
    }

    fn meet(&mut self, node: usize, group: &GroupId, key: PublicKey, endpoint: Endpoint) {
        let disk = &mut self.nodes[node].disk;
        disk.met.insert((group.clone(), key), endpoint);
        disk.spoken.entry(group.clone()).or_default().insert(key);
        self.feed(node, CoreEvent::HandshakeDone { group: group.clone(), key });
    }
}
