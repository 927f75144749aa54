//! Auxiliary sockets: further UDP sockets of IPv4, each on a port of its own, for one peer.
//!
//! ```text
//! Tunnel::open_auxiliary ─▶ Opened: numbers, limits ─▶ every shard: may send from it
//!                                                      the peer's shard: watches it, too
//! Tunnel::close_auxiliary ─▶ every shard lets go of it; the last one closes it
//! ```
//! They serve birthday probing: behind a NAT that gives every flow another port, many flows to one peer make many ports,
//! one of which the peer may find by chance. A way that names such a socket ([`Way::auxiliary`](crate::Way)) leaves from it.
//!
//! Invariants: no number comes twice in the life of a tunnel; there are never more of them than `AUXILIARY`, and none
//! takes one of the last descriptors of the process.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;
use crate::udp::socket::{UdpSocket, descriptor_limit};

/// Names an auxiliary socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Auxiliary(pub NonZeroU32);

/// Auxiliary sockets on their way to the shards. A clone is the same sockets.
#[derive(Clone, Debug)]
pub struct AuxiliarySockets(pub(crate) Vec<Arc<UdpSocket>>);

/// The numbers of the sockets that are open.
#[derive(Debug, Default)]
pub(crate) struct Opened(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    last: u32,
    open: BTreeSet<Auxiliary>,
}

impl Opened {
    /// Opens so many sockets, or as many as the limits allow.
    pub(crate) fn open(&self, count: usize) -> Vec<Arc<UdpSocket>> {
        self.open_below(count, descriptor_limit().saturating_sub(limits::DESCRIPTORS_LEFT))
    }

    /// Opens so many sockets at most, with descriptors below `limit`.
    ///
    /// The kernel gives the lowest free descriptor, so that a high one tells that the others are taken.
    fn open_below(&self, count: usize, limit: u64) -> Vec<Arc<UdpSocket>> {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sockets = Vec::new();
        while sockets.len() < count && numbers.open.len() < limits::AUXILIARY {
            let Some(number) = numbers.last.checked_add(1).and_then(NonZeroU32::new) else { break };
            match UdpSocket::bind_auxiliary(Auxiliary(number)) {
                Ok(socket) if socket.descriptor() < limit => {
                    numbers.last = number.get();
                    numbers.open.insert(Auxiliary(number));
                    sockets.push(Arc::new(socket));
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "no further auxiliary socket");
                    break;
                }
            }
        }
        sockets
    }

    /// Forgets these; returns those of them that were open.
    pub(crate) fn close(&self, closed: &[Auxiliary]) -> Vec<Auxiliary> {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed.iter().copied().filter(|number| numbers.open.remove(number)).collect()
    }

    /// Forgets all; returns them.
    pub(crate) fn close_all(&self) -> Vec<Auxiliary> {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut numbers.open).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(sockets: &[Arc<UdpSocket>]) -> Vec<Auxiliary> {
        sockets.iter().filter_map(|socket| socket.auxiliary).collect()
    }

    #[test]
    fn there_are_never_more_sockets_than_the_limit_and_no_number_comes_twice() {
        let opened = Opened::default();
        let first = opened.open(limits::AUXILIARY + 1);
        assert!(!first.is_empty() && first.len() <= limits::AUXILIARY);
        let ports: BTreeSet<u16> = first.iter().map(|socket| socket.port().unwrap()).collect();
        assert_eq!(ports.len(), first.len(), "each has a port of its own");
        let all = numbers(&first);
        assert_eq!(opened.close(&all), all);
        assert_eq!(opened.close(&all), [], "they are closed once");
        let second = opened.open(2);
        assert!(numbers(&second).iter().all(|number| !all.contains(number)));
        assert_eq!(opened.close_all(), numbers(&second));
    }

    #[test]
    fn the_last_descriptors_are_left_to_others() {
        let opened = Opened::default();
        assert!(opened.open_below(8, 0).is_empty());
        let lowest = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
        let limit = u64::try_from(lowest).unwrap() + 4;
        let sockets = opened.open_below(64, limit);
        // Other tests of this process take and give back descriptors meanwhile.
        assert!(sockets.len() < 64, "{} sockets with descriptors below {limit}", sockets.len());
        assert!(sockets.iter().all(|socket| socket.descriptor() < limit));
    }
}
