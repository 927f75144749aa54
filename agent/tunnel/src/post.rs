//! What shards hand to one another, and how: the only place where two of them meet.
//!
//! ```text
//!  frames of a device whose peer is another shard's      buffers, swapped for spare ones, not copied
//!  datagrams of another shard among one's own            buffers, copied (a train merged by the kernel, seldom)
//!  initiations, places to nudge, probes                  small errands
//!  packets that a gateway sends on                       errands with a copy
//! ```
//!
//! A shard has a fixed number of buffers to lend; they come back once the other has dealt with them. Every queue is
//! bounded and nobody waits: what finds no buffer or no room is dropped and counted. What one shard hands to another
//! arrives in order. A shard is woken once per turn of the one that has something for it.
//!
//! With a single shard there is nothing here: no buffer, no queue.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::auxiliary::Auxiliary;
use crate::ecn::Ecn;
use crate::engine::Errand;
use crate::limits;
use crate::mailbox::NetworkId;
use crate::part::Part;
use crate::udp::poll::Waker;
use crate::udp::receive::Message;

/// Something for another shard.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A frame from a device.
    Frame { network: NetworkId, buffer: Buffer },
    /// Datagrams from a socket, some of them the other's.
    Message { heading: Heading, buffer: Buffer },
    /// Something small to do.
    Errand(Errand),
}

/// All of a message but its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading {
    from: SocketAddr,
    to: Option<IpAddr>,
    auxiliary: Option<Auxiliary>,
    ecn: Ecn,
    stride: usize,
}

/// A lent buffer with `length` bytes in use.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) length: usize,
    lender: u8,
}

impl Heading {
    /// Returns the message with the bytes of `buffer`.
    pub(crate) fn message(self, buffer: &Buffer) -> Message<'_> {
        let Self { from, to, auxiliary, ecn, stride } = self;
        Message { from, to, auxiliary, ecn, stride, bytes: &buffer.bytes[..buffer.length] }
    }
}

/// One shard's end of all ways between shards.
#[derive(Debug)]
pub(crate) struct Post {
    part: Part,
    inbox: Receiver<Parcel>,
    returned: Receiver<Box<[u8]>>,
    spare: Vec<Box<[u8]>>,
    /// Every shard by its number; empty when there is only one.
    shards: Vec<Address>,
    /// Shards that have got something this turn, a bit each.
    called: u16,
}

/// Where a shard can be reached.
#[derive(Clone, Debug)]
struct Address {
    inbox: SyncSender<Parcel>,
    returns: SyncSender<Box<[u8]>>,
    waker: Arc<Waker>,
}

impl Post {
    /// Connects as many shards as there are wakers, at most sixteen.
    pub(crate) fn connect(wakers: &[Arc<Waker>]) -> Vec<Self> {
        let of = u8::try_from(wakers.len()).unwrap_or(u8::MAX);
        let others = wakers.len().saturating_sub(1);
        let lent = if others > 0 { limits::PARCEL_BUFFERS } else { 0 };
        let (mut shards, mut ends) = (Vec::new(), Vec::new());
        for waker in wakers {
            let (inbox, arriving) = sync_channel(others * limits::PARCELS);
            let (returns, returned) = sync_channel(lent);
            shards.push(Address { inbox, returns, waker: waker.clone() });
            ends.push((arriving, returned));
        }
        if others == 0 {
            shards.clear();
        }
        let posts = (0..of).zip(ends).map(|(number, (inbox, returned))| Self {
            part: Part::new(number, of),
            inbox,
            returned,
            spare: (0..lent).map(|_| vec![0; limits::FRAME].into_boxed_slice()).collect(),
            shards: shards.clone(),
            called: 0,
        });
        posts.collect()
    }

    /// Whose end this is.
    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// Hands over the frame in `frame[..length]`, which becomes another buffer; returns whether there was room.
    pub(crate) fn hand_frame(
        &mut self,
        to: u8,
        network: NetworkId,
        frame: &mut Box<[u8]>,
        length: usize,
    ) -> bool {
        let Some(spare) = self.spare() else { return false };
        let bytes = std::mem::replace(frame, spare);
        self.hand(to, Parcel::Frame { network, buffer: Buffer { bytes, length, lender: self.part.number() } })
    }

    /// Hands over a copy of a message; returns whether there was room.
    pub(crate) fn hand_message(&mut self, to: u8, message: &Message<'_>) -> bool {
        let Message { from, to: local, auxiliary, ecn, stride, bytes } = *message;
        let Some(mut spare) = self.spare() else { return false };
        spare[..bytes.len()].copy_from_slice(bytes);
        let buffer = Buffer { bytes: spare, length: bytes.len(), lender: self.part.number() };
        self.hand(
            to,
            Parcel::Message { heading: Heading { from, to: local, auxiliary, ecn, stride }, buffer },
        )
    }

    /// Hands over anything; returns whether there was room.
    pub(crate) fn hand(&mut self, to: u8, parcel: Parcel) -> bool {
        let Some(address) = self.shards.get(usize::from(to)) else { return false };
        match address.inbox.try_send(parcel) {
            Ok(()) => {
                self.called |= 1 << to;
                true
            }
            Err(refused) => {
                let (std::sync::mpsc::TrySendError::Full(parcel)
                | std::sync::mpsc::TrySendError::Disconnected(parcel)) = refused;
                match parcel {
                    Parcel::Frame { buffer, .. } | Parcel::Message { buffer, .. } => {
                        self.spare.push(buffer.bytes);
                    }
                    Parcel::Errand(_) => {}
                }
                false
            }
        }
    }

    /// Takes the oldest parcel for this shard.
    pub(crate) fn take(&mut self) -> Option<Parcel> {
        if self.shards.is_empty() {
            return None;
        }
        self.inbox.try_recv().ok()
    }

    /// Gives a buffer back to its lender.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        if let Some(address) = self.shards.get(usize::from(buffer.lender)) {
            // There is room for all that the lender has; one that has ended needs none.
            let _ = address.returns.try_send(buffer.bytes);
        }
    }

    /// Has this shard woken as well, to take what it left.
    pub(crate) fn come_back(&mut self) {
        self.called |= 1 << self.part.number();
    }

    /// Wakes all that have got something since the last call.
    pub(crate) fn wake_called(&mut self) {
        while self.called != 0 {
            let to = self.called.trailing_zeros();
            self.called &= self.called - 1;
            if let Some(address) = self.shards.get(to as usize) {
                address.waker.wake();
            }
        }
    }

    fn spare(&mut self) -> Option<Box<[u8]>> {
        self.spare.pop().or_else(|| self.returned.try_recv().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Endpoint;

    const NET: NetworkId = NetworkId(1);
    const PLACE: Endpoint = Endpoint {
        remote: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1),
        local: None,
        relay: None,
        auxiliary: None,
    };

    fn posts(of: usize) -> Vec<Post> {
        let wakers: Vec<_> = (0..of).map(|_| Arc::new(Waker::new().unwrap())).collect();
        Post::connect(&wakers)
    }

    #[test]
    fn frames_arrive_in_order_until_the_buffers_are_lent_and_again_when_they_come_back() {
        let mut posts = posts(2);
        let mut frame = vec![0; limits::FRAME].into_boxed_slice();
        let most = u8::try_from(limits::PARCEL_BUFFERS).unwrap();
        for _ in 0..3 {
            for n in 0..most + 5 {
                frame[0] = n;
                assert_eq!(posts[0].hand_frame(1, NET, &mut frame, 1), n < most);
            }
            for n in 0..most {
                let Some(Parcel::Frame { buffer, .. }) = posts[1].take() else {
                    panic!("frame {n} is missing")
                };
                assert_eq!((buffer.bytes[0], buffer.length), (n, 1));
                posts[1].give_back(buffer);
            }
            assert!(posts[1].take().is_none() && posts[0].take().is_none());
        }
    }

    #[test]
    fn a_full_inbox_and_a_shard_that_ended_refuse_without_losing_buffers() {
        let mut posts = posts(2);
        let nudge = || Errand::Nudge(PLACE);
        for _ in 0..limits::PARCELS {
            assert!(posts[0].hand(1, Parcel::Errand(nudge())));
        }
        let mut frame = vec![0; limits::FRAME].into_boxed_slice();
        for _ in 0..100 {
            assert!(!posts[0].hand_frame(1, NET, &mut frame, 1));
        }
        assert!(posts[1].take().is_some());
        assert!(posts[0].hand_frame(1, NET, &mut frame, 1));
        posts.pop();
        assert!(!posts[0].hand_frame(1, NET, &mut frame, 1));
    }

    #[test]
    fn a_single_shard_has_neither_buffers_nor_neighbours() {
        let mut posts = posts(1);
        assert!(posts[0].spare.is_empty() && posts[0].take().is_none());
        assert!(!posts[0].hand(0, Parcel::Errand(Errand::Nudge(PLACE))));
    }
}
