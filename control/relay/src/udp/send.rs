//! Sending: trains of datagrams to several places with one system call, and what to do when the kernel refuses one.
#![expect(unsafe_code, reason = "sendmmsg has no safe wrapper")]

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::AsRawFd as _,
};

use lacis_udp::Details;
use socket2::SockAddr;

use super::socket::UdpSocket;
use crate::{leg::Place, limits};

const SENDS: usize = limits::SENDS;

/// Buffers for one receive call.
pub(crate) type Receiver = lacis_udp::Receiver<{ limits::RECEIVE_SLOTS }>;

/// Datagrams to one place, which lie in the memory of a receiver. The kernel has merged them, so it cuts them again: a
/// train has never more segments or bytes than one send takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train {
    pub(crate) to: Place,
    /// The congestion mark that they came with (RFC 3168 §5): a router before the relay may speak to the far end.
    pub(crate) ecn: u8,
    /// Size of each datagram but the last.
    pub(crate) stride: usize,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// Trains that wait for the next call.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    trains: Vec<Train>,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self { trains: Vec::with_capacity(SENDS) }
    }

    /// Adds a train; `false` where [`Sender::flush`] comes first.
    pub(crate) fn push(&mut self, train: Train) -> bool {
        let has_room = self.trains.len() < SENDS;
        if has_room {
            self.trains.push(train);
        }
        has_room
    }

    /// Sends what waits; returns how many datagrams the kernel did not take.
    pub(crate) fn flush(&mut self, socket: &UdpSocket, bytes: &[u8]) -> u64 {
        let mut refused = 0;
        let mut waiting = self.trains.as_slice();
        while !waiting.is_empty() {
            match send(socket, waiting, bytes) {
                Ok(sent) => waiting = &waiting[sent.max(1)..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel's queue is full, and no other is kept.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    refused += waiting.iter().map(datagrams).sum::<u64>();
                    break;
                }
                Err(error) => {
                    refused += singly(socket, &waiting[0], bytes, &error);
                    waiting = &waiting[1..];
                }
            }
        }
        self.trains.clear();
        refused
    }
}

/// Sends one datagram; whether the kernel took it.
pub(crate) fn send_one(socket: &UdpSocket, to: &Place, datagram: &[u8]) -> bool {
    let train = Train { to: *to, ecn: 0, stride: datagram.len(), start: 0, length: datagram.len() };
    let sent = send(socket, std::slice::from_ref(&train), datagram);
    if let Err(error) = &sent {
        tracing::debug!(to = %to.remote(), %error, "a frame was not sent");
    }
    sent.is_ok()
}

/// A train that the kernel refused whole leaves datagram by datagram: a device without checksum offload cannot cut
/// trains (EIO), and a way may be narrower than a segment (EMSGSIZE, on older kernels EINVAL).
fn singly(socket: &UdpSocket, train: &Train, bytes: &[u8], error: &io::Error) -> u64 {
    if train.length <= train.stride {
        tracing::debug!(to = %train.to.remote(), %error, "a datagram was not sent");
        return 1;
    }
    let bytes = &bytes[train.start..train.start + train.length];
    let refused = bytes.chunks(train.stride).filter(|datagram| {
        let one = Train { stride: datagram.len(), start: 0, length: datagram.len(), ..*train };
        send(socket, &[one], datagram).is_err()
    });
    u64::try_from(refused.count()).unwrap_or(u64::MAX)
}

fn datagrams(train: &Train) -> u64 {
    u64::try_from(train.length.div_ceil(train.stride.max(1))).unwrap_or(u64::MAX)
}

fn send(socket: &UdpSocket, trains: &[Train], bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: both are plain data of the C interface; all zeros is a valid value.
    let (mut parts, mut headers): ([libc::iovec; SENDS], [libc::mmsghdr; SENDS]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut names: [Option<SockAddr>; SENDS] = [const { None }; SENDS];
    let mut details = [Details::none(); SENDS];
    let mut count = 0;
    let buffers = parts.iter_mut().zip(&mut names).zip(&mut details);
    for ((train, header), ((part, name), details)) in trains.iter().zip(&mut headers).zip(buffers) {
        let payload = &bytes[train.start..train.start + train.length];
        *part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        let remote = if socket.v6 { train.to.remote_v6().into() } else { train.to.remote() };
        let name = name.insert(SockAddr::from(remote));
        let header = &mut header.msg_hdr;
        header.msg_name = name.as_ptr().cast_mut().cast();
        header.msg_namelen = name.len();
        header.msg_iov = part;
        header.msg_iovlen = 1;
        describe(details, socket.v6, train);
        details.attach(header);
        count += 1;
    }
    // SAFETY: names, parts and details live to the end of the function, with their true sizes; the kernel only reads
    // what they point to.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Writes what goes beside a train.
fn describe(details: &mut Details, v6: bool, train: &Train) {
    if train.length > train.stride {
        details.cut(u16::try_from(train.stride).unwrap_or(u16::MAX));
    }
    let local = train.to.local;
    if local != Ipv6Addr::UNSPECIFIED {
        details.leave_from(if v6 { local.into() } else { IpAddr::from(local).to_canonical() });
    }
    if train.ecn != 0 {
        details.mark(train.ecn, train.to.remote().is_ipv4());
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::udp::socket::Stop;

    /// Trains to both families, sent and received on sockets for both.
    #[test]
    fn trains_cross_the_kernel_whole_and_come_from_where_they_should() {
        let (from, to) = (UdpSocket::bind_any(0).unwrap(), UdpSocket::bind_any(0).unwrap());
        let (port, source) = (to.address().unwrap().port(), from.address().unwrap().port());
        let bytes: Vec<u8> = (0..250).collect();
        let (stop, mut receiver) = (Stop::new().unwrap(), Receiver::default());
        for local in ["127.0.0.1", "127.0.0.2", "::1"] {
            let remote = SocketAddr::new(local.parse().unwrap(), port);
            if remote.is_ipv6() && std::net::UdpSocket::bind("[::1]:0").is_err() {
                continue;
            }
            let mut place = Place::of(remote);
            place.local = place.ip;
            let mut sender = Sender::new();
            let ecn = 3;
            for (start, length) in [(0, 250), (50, 60)] {
                assert!(sender.push(Train { to: place, ecn, stride: 100, start, length }));
            }
            assert_eq!(sender.flush(&from, &bytes), 0);
            let mut seen = Vec::new();
            while seen.len() < 310 {
                assert!(stop.wait(&to).unwrap());
                for at in 0..receiver.receive(&to).unwrap() {
                    let message = receiver.message(at).unwrap();
                    let from = Place::of_message(&message);
                    assert_eq!((from.ip, from.port), (place.ip, source));
                    assert_eq!(from.local, place.ip, "we know which address it came to");
                    assert_eq!(message.class, ecn, "and what routers said on the way");
                    assert!(message.stride <= 100);
                    seen.extend_from_slice(&receiver.bytes()[message.start..message.start + message.length]);
                }
            }
            assert_eq!(seen, [&bytes[..], &bytes[50..110]].concat());
        }
    }

    #[test]
    fn one_refused_train_does_not_hold_up_the_others() {
        let (from, to) = (UdpSocket::bind_any(0).unwrap(), UdpSocket::bind_any(0).unwrap());
        let good = Place::of(([127, 0, 0, 1], to.address().unwrap().port()).into());
        let mut bad = good;
        bad.local = Place::of(([203, 0, 113, 1], 1).into()).ip;
        let mut sender = Sender::new();
        for to in [bad, good, bad] {
            sender.push(Train { to, ecn: 0, stride: 4, start: 0, length: 4 });
        }
        assert_eq!(sender.flush(&from, b"good"), 2, "no address of ours to send from");
        assert!(Stop::new().unwrap().wait(&to).unwrap());
        let mut receiver = Receiver::default();
        assert_eq!(receiver.receive(&to).unwrap(), 1);
    }
}
