//! The mailboxes of all shards, as one.
//!
//! A command about one peer's endpoint goes to the shard that has the peer, a probe to the first, which asks the routes;
//! all others go to every shard, in the same order: a prefix that moves from peer to peer ends up with the same one
//! everywhere. The shard that has a peer hears of it first, so that it knows of it before another hands it a packet.
//! The lock that keeps this order is the control side's; no shard takes it.

use std::sync::{Mutex, PoisonError};

use crate::mailbox::{Command, SendError, Sender};
use crate::part::Part;

/// Where commands go.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    shards: Mutex<Vec<Sender>>,
}

/// Who is to have a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recipients {
    First,
    OwnerOf([u8; 32]),
    /// All, beginning with the owner of this key.
    OwnerFirst([u8; 32]),
    All,
}

impl Recipients {
    fn of(command: &Command) -> Self {
        match command {
            Command::Probe { .. } | Command::SendTo { .. } => Self::First,
            Command::SetEndpoint { key, .. } | Command::SetWays { key, .. } => Self::OwnerOf(*key),
            Command::SetPeer(peer) => Self::OwnerFirst(peer.key),
            Command::RemovePeer { key, .. }
            | Command::SetShared { key, .. }
            | Command::AddAuxiliary { key, .. }
            | Command::Prefer { key, .. } => Self::OwnerFirst(*key),
            Command::AddNetwork(_)
            | Command::RemoveNetwork(_)
            | Command::SetAddresses { .. }
            | Command::SetMtu { .. }
            | Command::SetPrivateKey { .. }
            | Command::SetLeases(_)
            | Command::SetGateway { .. }
            | Command::CloseAuxiliary(_)
            | Command::SetSockets(_)
            | Command::SetMark(_)
            | Command::Stats(_) => Self::All,
        }
    }
}

impl Mailboxes {
    /// Takes the mailboxes in order of their shards.
    pub(crate) fn new(shards: Vec<Sender>) -> Self {
        Self { shards: Mutex::new(shards) }
    }

    /// Gives a command to whom it concerns, if the first of them has room. The others have it within a turn of theirs.
    pub(crate) fn send(&self, command: Command) -> Result<(), SendError> {
        self.give(command, Sender::send)
    }

    /// Gives a command to whom it concerns, waiting for room.
    pub(crate) fn deliver(&self, command: Command) -> Result<(), SendError> {
        self.give(command, Sender::deliver)
    }

    fn give(
        &self,
        command: Command,
        first: fn(&Sender, Command) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let of = u8::try_from(shards.len()).unwrap_or(u8::MAX);
        let owner = |key: &[u8; 32]| usize::from(Part::new(0, of).owner(key));
        let (head, all) = match Recipients::of(&command) {
            Recipients::First => (0, false),
            Recipients::OwnerOf(key) => (owner(&key), false),
            Recipients::OwnerFirst(key) => (owner(&key), true),
            Recipients::All => (0, true),
        };
        let others = shards.iter().enumerate().filter(|(number, _)| all && *number != head);
        let copies: Vec<_> = others.map(|(_, shard)| (shard, command.clone())).collect();
        first(&shards[head], command)?;
        for (shard, copy) in copies {
            shard.deliver(copy)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::limits;
    use crate::mailbox::{self, NetworkId};
    use crate::udp::poll::Waker;

    const NET: NetworkId = NetworkId(1);

    fn shards(of: u8) -> (Mailboxes, Vec<Receiver<Command>>) {
        let ends = (0..of).map(|_| mailbox::mailbox(Arc::new(Waker::new().unwrap())));
        let (senders, queues): (Vec<_>, Vec<_>) = ends.unzip();
        (Mailboxes::new(senders), queues)
    }

    fn waiting(queues: &[Receiver<Command>]) -> Vec<usize> {
        queues.iter().map(|queue| queue.try_iter().count()).collect()
    }

    #[test]
    fn each_command_reaches_whom_it_concerns() {
        let (mailboxes, queues) = shards(3);
        mailboxes.send(Command::SetMark(1)).unwrap();
        assert_eq!(waiting(&queues), [1, 1, 1]);
        let target = [10, 0, 0, 1].into();
        mailboxes.send(Command::Probe { network: NET, target, ident: 1, seq: 1 }).unwrap();
        assert_eq!(waiting(&queues), [1, 0, 0]);
        for first in 0..=u8::MAX {
            let (key, endpoint) = ([first; 32], SocketAddr::from(([192, 0, 2, 1], 1)));
            mailboxes.deliver(Command::SetEndpoint { network: NET, key, endpoint }).unwrap();
            let expected: Vec<usize> = (0..3).map(|n| usize::from(Part::new(n, 3).has(&key))).collect();
            assert_eq!(waiting(&queues), expected);
        }
    }

    #[test]
    fn a_full_mailbox_gives_the_command_back_before_anybody_has_it() {
        let (mailboxes, queues) = shards(2);
        let probe = Command::Probe { network: NET, target: [10, 0, 0, 1].into(), ident: 1, seq: 1 };
        for _ in 0..limits::MAILBOX {
            mailboxes.send(probe.clone()).unwrap();
        }
        let refused = mailboxes.send(Command::SetMark(7));
        assert!(matches!(refused, Err(SendError::Full(command)) if matches!(*command, Command::SetMark(7))));
        assert_eq!(waiting(&queues), [limits::MAILBOX, 0]);
    }
}
