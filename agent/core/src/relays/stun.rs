//! Asks STUN servers how they see this node (RFC 8489 §6).
//!
//! A few servers, three times, for a second: after a start and after a move. Nobody waits for the answers.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use lacis_proto::stun::{Response, TransactionId, request};

use super::{
    event::RelayAction,
    limits::{MAX_STUN, STUN_WAITS},
};
use crate::random::Random;

/// Questions on their way.
#[derive(Debug, Default)]
pub(super) struct Stun {
    servers: Vec<SocketAddr>,
    /// Servers by the transaction that is open with them.
    open: BTreeMap<TransactionId, SocketAddr>,
    round: usize,
    due: Option<Duration>,
}

impl Stun {
    /// Begins to ask these servers, or as many as it takes.
    pub(super) fn ask(&mut self, now: Duration, servers: Vec<SocketAddr>) {
        self.open.clear();
        self.servers = servers;
        self.servers.truncate(MAX_STUN);
        (self.round, self.due) = (0, (!self.servers.is_empty()).then_some(now));
    }

    /// Whether answers may still come.
    pub(super) const fn is_asking(&self) -> bool {
        self.due.is_some()
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Sends what is due: to each server that has not answered, under a new transaction.
    pub(super) fn run(&mut self, now: Duration, random: &mut Random, actions: &mut VecDeque<RelayAction>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let Some(wait) = STUN_WAITS.get(self.round) else {
            self.due = None;
            self.open.clear();
            return;
        };
        (self.round, self.due) = (self.round + 1, Some(now + *wait));
        for to in &self.servers {
            let id = transaction(random);
            self.open.insert(id, *to);
            actions.push_back(RelayAction::Send { to: *to, payload: request(id).to_vec() });
        }
    }

    /// Takes an answer: who gave it, and as what it saw this node.
    pub(super) fn answered(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<SocketAddr> {
        let Response { id, observed } = Response::parse(bytes)?;
        if self.open.remove(&id)? != from {
            return None;
        }
        self.servers.retain(|server| *server != from);
        if self.servers.is_empty() {
            self.due = None;
        }
        Some(observed)
    }
}

fn transaction(random: &mut Random) -> TransactionId {
    let mut id = TransactionId::default();
    id[..8].copy_from_slice(&random.next().to_be_bytes());
    id[8..].copy_from_slice(&random.next().to_be_bytes()[..4]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_servers_few_are_asked() {
        let (mut stun, mut random, mut actions) = (Stun::default(), Random::new(1), VecDeque::new());
        let servers = (1..=50).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        stun.ask(Duration::ZERO, servers);
        stun.run(Duration::ZERO, &mut random, &mut actions);
        assert_eq!((actions.len(), stun.open.len()), (MAX_STUN, MAX_STUN));
        let mut now = Duration::ZERO;
        while let Some(due) = stun.deadline() {
            now = due;
            stun.run(now, &mut random, &mut actions);
        }
        assert_eq!(actions.len(), MAX_STUN * STUN_WAITS.len());
        assert!(stun.open.is_empty(), "nobody is waited for at {now:?}");
    }
}
