//! Receiving: several messages per call, each up to 64 KiB of datagrams that the kernel merged.

use std::net::{IpAddr, SocketAddr};

use crate::auxiliary::Auxiliary;
use crate::ecn::Ecn;
use crate::limits;

/// Buffers for one receive call.
pub(crate) type Receiver = lacis_udp::Receiver<{ limits::RECEIVE_SLOTS }>;

/// Datagrams from one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) from: SocketAddr,
    /// Our address it was sent to.
    pub(crate) to: Option<IpAddr>,
    /// The socket it came to, where that is not the usual one.
    pub(crate) auxiliary: Option<Auxiliary>,
    /// The congestion mark of all of them.
    pub(crate) ecn: Ecn,
    /// Size of each datagram but the last.
    pub(crate) stride: usize,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message of the last call, which was for this socket; `None` for empty and truncated ones.
    #[inline]
    pub(crate) fn of(receiver: &'a Receiver, auxiliary: Option<Auxiliary>, at: usize) -> Option<Self> {
        let lacis_udp::Message { from, to, class, stride, start, length } = receiver.message(at)?;
        let bytes = receiver.bytes().get(start..start + length)?;
        Some(Self { from, to, auxiliary, ecn: Ecn::of_class(class), stride, bytes })
    }

    /// Returns its datagrams in order.
    #[inline]
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::path::Endpoint;
    use crate::udp::poll::Poll;
    use crate::udp::socket::UdpSocket;
    use crate::udp::train::{self, Datagrams, Sent};

    #[test]
    fn a_mark_crosses_the_kernel_with_its_train() {
        for (v6, local) in [(false, "127.0.0.1"), (true, "::1")] {
            let (Ok(from), Ok(to)) = (UdpSocket::bind(v6, 0), UdpSocket::bind(v6, 0)) else {
                assert!(v6, "a host may lack IPv6, not IPv4");
                continue;
            };
            let mut poll = Poll::new().unwrap();
            poll.add(&to.as_fd(), 1).unwrap();
            let local: IpAddr = local.parse().unwrap();
            let place = Endpoint {
                remote: SocketAddr::new(local, to.port().unwrap()),
                local: Some(local),
                relay: None,
                auxiliary: None,
            };
            let bytes: Vec<u8> = (0..250).collect();
            for ecn in [Ecn::Zero, Ecn::NotCapable, Ecn::Congested, Ecn::One] {
                let sent = train::send(&from, &place, Datagrams { stride: 100, ecn, bytes: &bytes });
                assert_eq!(sent, Sent::Whole);
                let (mut receiver, mut seen) = (Receiver::default(), Vec::new());
                while seen.len() < bytes.len() {
                    assert!(poll.wait(Some(std::time::Duration::from_secs(10))).unwrap().count() > 0);
                    for at in 0..receiver.receive(&to).unwrap() {
                        let message = Message::of(&receiver, None, at).unwrap();
                        assert_eq!((message.ecn, message.to), (ecn, Some(local)));
                        seen.extend_from_slice(message.bytes);
                    }
                }
                assert_eq!(seen, bytes);
            }
        }
    }
}
