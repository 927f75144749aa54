//! Bodies of frames: one parser, one writer, the layouts of the table in [`crate::relay`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Cookie, HEADER, Header, Kind, Mac, REVOCATION_BYTES, RelayAddress};

/// Bytes of a HELLO before its token.
pub const HELLO_FIXED: usize = 58;

/// Longest token in a HELLO: with it and a WireGuard initiation the frame passes every path (RFC 8200 §5).
pub const MAX_TOKEN: usize = 512;

const OBSERVED: usize = 18;

/// Bytes that are no frame, or of another length than their kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no relay frame")]
pub struct FrameError;

/// A frame, as it stands in one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The member's lease.
    pub lease: u32,
    /// The other end, or the member itself.
    pub address: RelayAddress,
    /// What is said.
    pub frame: Frame<'a>,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A payload.
    Data(&'a [u8]),
    /// Asks for a lease.
    Hello(Hello<'a>),
    /// Grants it.
    HelloAck(Ack),
    /// Asks for the same again, with a cookie.
    HelloRetry(Retry),
    /// Keeps a lease, or moves it.
    Refresh(Refresh),
    /// Says that it is kept.
    RefreshAck(Ack),
    /// The lease is not bound to where the frame came from.
    NotBound,
    /// The other end has no lease here.
    PeerUnknown,
    /// Measures the way to a relay.
    Probe,
    /// Answers that, with the source that the relay saw.
    ProbeAck(SocketAddr),
    /// The relay stops soon.
    GoAway(GoAway),
    /// The member wants nothing from another end for a while.
    Block(Block),
    /// Control puts a member out: the bytes of a [`super::RelayRevocation`].
    Revoke(&'a [u8; REVOCATION_BYTES]),
    /// The relay knows.
    RevokeAck,
}

/// See [`Kind::Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Larger than in every frame of this member before it.
    pub counter: u64,
    /// From a HELLO_RETRY, or zeroes.
    pub cookie: Cookie,
    /// The bytes of a [`super::RelayToken`].
    pub token: &'a [u8],
    /// What to forward at once, and to whom.
    pub first: Option<(RelayAddress, &'a [u8])>,
}

/// See [`Kind::HelloAck`] and [`Kind::RefreshAck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Of the frame that is answered.
    pub counter: u64,
    /// Where that frame came from.
    pub observed: SocketAddr,
    /// How long the lease lives from now.
    pub lifetime_s: u16,
}

/// See [`Kind::HelloRetry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The MAC of the frame that is answered: only who saw that frame can say it.
    pub echo: Mac,
    /// For the next try.
    pub cookie: Cookie,
}

/// See [`Kind::Refresh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Larger than in every frame of this member before it.
    pub counter: u64,
    /// From a HELLO_RETRY, or zeroes.
    pub cookie: Cookie,
}

/// See [`Kind::GoAway`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The largest counter that the relay has taken for this lease: an old GOAWAY means nothing.
    pub counter: u64,
    /// The members come back, or go elsewhere, at moments spread over so many milliseconds.
    pub within_ms: u32,
}

/// See [`Kind::Block`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Larger than in every frame of this member before it.
    pub counter: u64,
    /// For how long; zero ends it.
    pub for_s: u32,
}

impl<'a> Packet<'a> {
    /// Reads one datagram. Authenticity is [`super::MacKey::check`]'s.
    ///
    /// # Errors
    /// [`FrameError`] for anything that is not exactly one frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Header { kind, lease, address } = Header::parse(bytes).ok_or(FrameError)?;
        let body = Fields(bytes.get(HEADER..).ok_or(FrameError)?);
        let frame = body.read(kind).ok_or(FrameError)?;
        Ok(Self { lease, address, frame })
    }

    /// The bytes of the frame; where it has a MAC, that is zero until [`super::MacKey::seal`] has written it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + 64);
        bytes.extend(super::header(self.frame.kind(), self.lease, self.address));
        match self.frame {
            Frame::Data(payload) => bytes.extend(payload),
            Frame::Hello(hello) => {
                sealed(&mut bytes, hello.counter);
                bytes.extend(hello.cookie);
                bytes.extend(u16::try_from(hello.token.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend(hello.token);
                if let Some((address, payload)) = hello.first {
                    bytes.extend(address.0.to_be_bytes());
                    bytes.extend(payload);
                }
            }
            Frame::HelloAck(ack) | Frame::RefreshAck(ack) => {
                sealed(&mut bytes, ack.counter);
                bytes.extend(observed_bytes(ack.observed));
                bytes.extend(ack.lifetime_s.to_be_bytes());
            }
            Frame::HelloRetry(retry) => bytes.extend([retry.echo, retry.cookie].concat()),
            Frame::Refresh(refresh) => {
                sealed(&mut bytes, refresh.counter);
                bytes.extend(refresh.cookie);
                bytes.extend([0; 8]);
            }
            Frame::NotBound | Frame::PeerUnknown | Frame::RevokeAck => {}
            Frame::Revoke(revocation) => bytes.extend(revocation),
            Frame::Probe => bytes.extend([0; 24]),
            Frame::ProbeAck(observed) => bytes.extend(observed_bytes(observed)),
            Frame::GoAway(away) => {
                sealed(&mut bytes, away.counter);
                bytes.extend(away.within_ms.to_be_bytes());
            }
            Frame::Block(block) => {
                sealed(&mut bytes, block.counter);
                bytes.extend(block.for_s.to_be_bytes());
            }
        }
        bytes
    }
}

impl Frame<'_> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Data(_) => Kind::Data,
            Self::Hello(_) => Kind::Hello,
            Self::HelloAck(_) => Kind::HelloAck,
            Self::HelloRetry(_) => Kind::HelloRetry,
            Self::Refresh(_) => Kind::Refresh,
            Self::RefreshAck(_) => Kind::RefreshAck,
            Self::NotBound => Kind::NotBound,
            Self::PeerUnknown => Kind::PeerUnknown,
            Self::Probe => Kind::Probe,
            Self::ProbeAck(_) => Kind::ProbeAck,
            Self::GoAway(_) => Kind::GoAway,
            Self::Block(_) => Kind::Block,
            Self::Revoke(_) => Kind::Revoke,
            Self::RevokeAck => Kind::RevokeAck,
        }
    }
}

/// The MAC that a frame bears, for a [`Retry`] and to know its answer by.
#[must_use]
pub fn mac_of(frame: &[u8]) -> Option<Mac> {
    frame.get(HEADER..)?.first_chunk().copied()
}

/// An observed source: the IPv6 address, or the IPv4 address mapped into it (RFC 4291 §2.5.5.2), and the port.
#[must_use]
pub fn observed_bytes(source: SocketAddr) -> [u8; OBSERVED] {
    let mut bytes = [0; OBSERVED];
    let ip = match source.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&source.port().to_be_bytes());
    bytes
}

fn sealed(bytes: &mut Vec<u8>, counter: u64) {
    bytes.extend([0; 16]);
    bytes.extend(counter.to_be_bytes());
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn read(mut self, kind: Kind) -> Option<Frame<'a>> {
        let frame = match kind {
            Kind::Data => return Some(Frame::Data(self.0)),
            Kind::Hello => return self.hello().map(Frame::Hello),
            Kind::HelloAck => Frame::HelloAck(self.ack()?),
            Kind::HelloRetry => Frame::HelloRetry(Retry { echo: self.array()?, cookie: self.array()? }),
            Kind::Refresh => {
                let refresh = Refresh { counter: self.counter()?, cookie: self.array()? };
                self.zero::<8>()?;
                Frame::Refresh(refresh)
            }
            Kind::RefreshAck => Frame::RefreshAck(self.ack()?),
            Kind::NotBound => Frame::NotBound,
            Kind::Revoke => return self.0.try_into().ok().map(Frame::Revoke),
            Kind::RevokeAck => Frame::RevokeAck,
            Kind::PeerUnknown => Frame::PeerUnknown,
            Kind::Probe => self.zero::<24>().map(|()| Frame::Probe)?,
            Kind::ProbeAck => Frame::ProbeAck(self.observed()?),
            Kind::GoAway => Frame::GoAway(GoAway {
                counter: self.counter()?,
                within_ms: u32::from_be_bytes(self.array()?),
            }),
            Kind::Block => {
                Frame::Block(Block { counter: self.counter()?, for_s: u32::from_be_bytes(self.array()?) })
            }
        };
        self.0.is_empty().then_some(frame)
    }

    fn hello(mut self) -> Option<Hello<'a>> {
        let (counter, cookie) = (self.counter()?, self.array()?);
        let length = usize::from(u16::from_be_bytes(self.array()?));
        if length > MAX_TOKEN {
            return None;
        }
        let (token, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let first = if rest.is_empty() {
            None
        } else {
            Some((RelayAddress(u64::from_be_bytes(self.array()?)), self.0))
        };
        Some(Hello { counter, cookie, token, first })
    }

    fn ack(&mut self) -> Option<Ack> {
        Some(Ack {
            counter: self.counter()?,
            observed: self.observed()?,
            lifetime_s: u16::from_be_bytes(self.array()?),
        })
    }

    /// The counter behind the MAC, which the caller checks over the whole frame.
    fn counter(&mut self) -> Option<u64> {
        let _mac: Mac = self.array()?;
        Some(u64::from_be_bytes(self.array()?))
    }

    fn observed(&mut self) -> Option<SocketAddr> {
        let ip = Ipv6Addr::from(self.array::<16>()?).to_canonical();
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }

    fn zero<const N: usize>(&mut self) -> Option<()> {
        (self.array::<N>()? == [0; N]).then_some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
