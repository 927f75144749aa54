//! Peers with recent sessions, kept on disk, so that they are called on after a restart.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use lacis_proto::{GroupId, PublicKey};
use lacis_tunnel::Way;

use super::{SAVE_SESSIONS, run::Running};
use crate::state::RecentSession;

/// Peers with recent sessions, where they were reached straight, and when that is next written.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    at: BTreeMap<(GroupId, PublicKey), Option<SocketAddr>>,
    due: Option<Duration>,
}

impl Sessions {
    pub(super) fn remembered(sessions: Vec<RecentSession>) -> Self {
        let at = sessions.into_iter().map(|session| ((session.group, session.key), session.endpoint));
        Self { at: at.collect(), due: None }
    }

    pub(super) const fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Has them written at the next opportunity.
    pub(super) const fn hurry(&mut self) {
        self.due = Some(Duration::ZERO);
    }
}

impl Running {
    /// A peer has a session, by this way.
    pub(super) fn session_at(&mut self, group: GroupId, key: PublicKey, way: Way) {
        // A lease is of one run: where a relay led is no place to look for the peer in the next.
        let endpoint = way.relay.is_none().then_some(way.remote);
        self.sessions.at.insert((group, key), endpoint);
        self.sessions.due.get_or_insert(self.clock.now() + SAVE_SESSIONS);
        self.touch();
    }

    /// Calls on peers, first where they were last.
    pub(super) fn initiate(&self, group: &GroupId, keys: &[PublicKey]) {
        let at = |key: &PublicKey| (*key, self.sessions.at.get(&(group.clone(), *key)).copied().flatten());
        self.overlay.initiate(group, &keys.iter().map(at).collect());
    }

    pub(super) fn save_sessions_if_due(&mut self) {
        if self.sessions.due.is_none_or(|due| due > self.clock.now()) {
            return;
        }
        self.sessions.due = None;
        let live = |(group, key): &(GroupId, PublicKey)| {
            self.core.netmaps().get(group).is_some_and(|netmap| netmap.peer_with_key(key).is_some())
        };
        self.sessions.at.retain(|peer, _| live(peer));
        let sessions = self.sessions.at.iter().map(|((group, key), endpoint)| RecentSession {
            group: group.clone(),
            key: *key,
            endpoint: *endpoint,
        });
        let sessions = sessions.collect::<Vec<_>>();
        self.saved(self.enroller.state.save_recent_sessions(&sessions));
    }
}
