//! The protocol as boringtun has it; the only file that knows boringtun.
//!
//! What boringtun leaves to its owner is done around it: a session is asked for before anything is sealed, so its own
//! queue stays empty; handshake load is limited per network by [`Gate`], while its built-in limiter is open; and its
//! clock moves in [`Protocol::tick`] alone, so a tunnel is ticked before it is touched.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};

use super::{Admission, Opened, PresharedKey, PrivateKey, Refusal, Ticked};
use crate::limits;
use crate::wire;

/// Guards one network's key: who may make us compute (WireGuard paper §5.3).
pub(crate) struct Gate {
    private: StaticSecret,
    public: PublicKey,
    outer: RateLimiter,
    inner: Arc<RateLimiter>,
}

impl Gate {
    pub(crate) fn new(key: &PrivateKey) -> Self {
        let public = PublicKey::from(&key.0);
        Self {
            private: key.0.clone(),
            public,
            outer: RateLimiter::new(&public, limits::HANDSHAKES_PER_SECOND),
            inner: Arc::new(RateLimiter::new(&public, u64::MAX)),
        }
    }

    /// Checks a handshake message against the key and the load. `reply` needs [`wire::COOKIE`] bytes.
    pub(crate) fn admit(&self, from: SocketAddr, message: &[u8], reply: &mut [u8]) -> Admission {
        // The limiter counts for ever unless told each second; asking at each message is cheap and never forgotten.
        self.outer.reset_count();
        match self.outer.verify_packet(Some(cookie_subject(from)), message, reply) {
            Ok(_) => Admission::Welcome,
            Err(TunnResult::WriteToNetwork(cookie)) => Admission::Cookie(cookie.len()),
            Err(_) => Admission::Refused,
        }
    }

    /// Reads who sent an admitted initiation.
    pub(crate) fn initiator(&self, message: &[u8]) -> Option<[u8; 32]> {
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(message) else { return None };
        let half = parse_handshake_anon(&self.private, &self.public, &initiation).ok()?;
        Some(half.peer_static_public)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("public", &self.public.as_bytes()).finish_non_exhaustive()
    }
}

/// The protocol state of one peer.
pub(crate) struct Protocol {
    tunn: Tunn,
    up: bool,
}

impl Protocol {
    /// Makes the state for a peer; `index` has 24 bits and is unique on this node.
    pub(crate) fn new(
        gate: &Gate,
        peer: &[u8; 32],
        preshared: Option<&PresharedKey>,
        keepalive: Option<u16>,
        index: u32,
    ) -> Self {
        let preshared = preshared.map(|key| key.0.to_bytes());
        let (private, public) = (gate.private.clone(), PublicKey::from(*peer));
        Self {
            tunn: Tunn::new(private, public, preshared, keepalive, index, Some(gate.inner.clone())),
            up: false,
        }
    }

    /// Whether packets can be sealed.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Seals a packet into `out`, which needs `packet.len() + 32` bytes and at least 148; `None` without a session.
    #[inline]
    pub(crate) fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let enough = (packet.len() + limits::SEAL_OVERHEAD).max(wire::INITIATION);
        if !self.up || out.len() < enough {
            return None;
        }
        match self.tunn.encapsulate(packet, out) {
            TunnResult::WriteToNetwork(sealed) => Some(sealed.len()),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Opens a message into `out`, which needs as many bytes as the message has and at least 148.
    #[inline]
    pub(crate) fn open(&mut self, from: SocketAddr, message: &[u8], out: &mut [u8]) -> Opened {
        if message.len() < wire::KEEPALIVE || out.len() < message.len().max(wire::INITIATION) {
            return Opened::Refused(Refusal::Malformed);
        }
        let opened = match self.tunn.decapsulate(Some(from.ip()), message, out) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Opened::Packet(packet.len())
            }
            TunnResult::WriteToNetwork(reply) => Opened::Reply(reply.len()),
            TunnResult::Done => Opened::Empty,
            TunnResult::Err(error) => Opened::Refused(refusal(&error)),
        };
        if !self.up {
            self.refresh();
        }
        opened
    }

    /// Moves the clock and asks what is due. `out` needs 148 bytes.
    pub(crate) fn tick(&mut self, out: &mut [u8]) -> Ticked {
        let ticked = match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Ticked::Send(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Ticked::Expired,
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => Ticked::Quiet,
        };
        self.refresh();
        ticked
    }

    /// Writes an initiation into `out`, which needs 148 bytes, whether or not one is under way.
    pub(crate) fn initiate(&mut self, out: &mut [u8]) -> Option<usize> {
        match self.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            TunnResult::Done
            | TunnResult::Err(_)
            | TunnResult::WriteToTunnelV4(..)
            | TunnResult::WriteToTunnelV6(..) => None,
        }
    }

    /// Asks boringtun whether the current session still stands; reads the clock, hence not per packet.
    fn refresh(&mut self) {
        self.up = self.tunn.time_since_last_handshake().is_some();
    }
}

impl std::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Protocol").field("up", &self.up).finish_non_exhaustive()
    }
}

fn refusal(error: &WireGuardError) -> Refusal {
    match error {
        WireGuardError::InvalidCounter => Refusal::TooOld,
        WireGuardError::DuplicateCounter | WireGuardError::WrongTai64nTimestamp => Refusal::Replay,
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => Refusal::NoSession,
        WireGuardError::InvalidPacket => Refusal::Malformed,
        WireGuardError::DestinationBufferTooSmall
        | WireGuardError::IncorrectPacketLength
        | WireGuardError::UnexpectedPacket
        | WireGuardError::WrongPacketType
        | WireGuardError::WrongKey
        | WireGuardError::InvalidTai64nTimestamp
        | WireGuardError::InvalidMac
        | WireGuardError::InvalidAeadTag
        | WireGuardError::LockFailed
        | WireGuardError::ConnectionExpired
        | WireGuardError::UnderLoad => Refusal::Authentication,
    }
}

/// Stands for address and port in cookies: the limiter takes an address only, and hashes whatever it is given.
fn cookie_subject(from: SocketAddr) -> IpAddr {
    let port = from.port();
    match from.ip() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            let halves = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0xffff, halves[0], halves[1], port))
        }
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            // The lower half names the interface; mixing the port in keeps different ports apart.
            segments[4] ^= port;
            segments[7] = segments[7].wrapping_add(port.rotate_left(5));
            IpAddr::V6(Ipv6Addr::from(segments))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_tell_ports_apart() {
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let at = |port| cookie_subject(SocketAddr::new(ip.parse().unwrap(), port));
            assert_ne!(at(1), at(2));
            assert_eq!(at(1), at(1));
        }
    }
}
