//! What gateways say to one another, in datagrams on the overlay.
//!
//! ```text
//!  1  Beat: any number of claims        client's key (32) · address (16, IPv4 mapped) · port (2) · age in ms (4)
//!  2  Want
//!  3  Key: the private half (32)
//! ```
//! Numbers are big-endian. What is of another kind or length is no message.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lacis_proto::PublicKey;
use zeroize::Zeroizing;

const BEAT: u8 = 1;
const WANT: u8 = 2;
const KEY: u8 = 3;

/// Bytes of one claim.
const CLAIM: usize = 32 + 16 + 2 + 4;

/// Private half of a group's gateway key. It is wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewaySecret(Zeroizing<[u8; 32]>);

impl GatewaySecret {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be kept with care.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The datagram that gives it to a fellow.
    #[must_use]
    pub fn message(self) -> Vec<u8> {
        Message::Key(self).encode()
    }
}

impl fmt::Debug for GatewaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewaySecret(..)")
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// I live, and these clients are with me.
    Beat(Vec<Claim>),
    /// Give me the group's gateway key.
    Want,
    /// Here it is.
    Key(GatewaySecret),
}

/// A client that is with the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) client: PublicKey,
    pub(super) at: SocketAddr,
    /// How long ago it was heard there.
    pub(super) age: Duration,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, body) = bytes.split_first()?;
        match *kind {
            BEAT => {
                let (claims, rest) = body.as_chunks::<CLAIM>();
                let claims = claims.iter().map(Claim::parse).collect::<Option<_>>()?;
                rest.is_empty().then_some(Self::Beat(claims))
            }
            WANT => body.is_empty().then_some(Self::Want),
            KEY => Some(Self::Key(GatewaySecret::new(body.try_into().ok()?))),
            _ => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Beat(claims) => {
                let mut bytes = vec![BEAT];
                claims.iter().for_each(|claim| claim.write(&mut bytes));
                bytes
            }
            Self::Want => vec![WANT],
            Self::Key(secret) => [&[KEY], &secret.0[..]].concat(),
        }
    }
}

impl Claim {
    fn parse(bytes: &[u8; CLAIM]) -> Option<Self> {
        let (client, rest) = bytes.split_first_chunk::<32>()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let age_ms = u32::from_be_bytes(rest.try_into().ok()?);
        let ip = IpAddr::from(Ipv6Addr::from(*ip)).to_canonical();
        let port = u16::from_be_bytes(*port);
        let is_usable = port != 0 && !ip.is_unspecified() && !ip.is_multicast();
        let client = PublicKey::try_new(*client).ok().filter(|_| is_usable)?;
        Some(Self { client, at: SocketAddr::new(ip, port), age: Duration::from_millis(age_ms.into()) })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let ip = match self.at.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let age_ms = u32::try_from(self.age.as_millis()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(self.client.as_bytes());
        bytes.extend_from_slice(&ip.octets());
        bytes.extend_from_slice(&self.at.port().to_be_bytes());
        bytes.extend_from_slice(&age_ms.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let claim = |at: &str, age_ms| Claim {
            client: PublicKey::try_new([9; 32]).unwrap(),
            at: at.parse().unwrap(),
            age: Duration::from_millis(age_ms),
        };
        for message in [
            Message::Beat(Vec::new()),
            Message::Beat(vec![claim("192.0.2.1:9", 0), claim("[2001:db8::1]:65535", 4_294_967_295)]),
            Message::Want,
            Message::Key(GatewaySecret::new([7; 32])),
        ] {
            assert_eq!(Message::parse(&message.encode()).as_ref(), Some(&message));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_message_that_is_written_the_same_or_none(
            kind in 0u8..5,
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let bytes = [&[kind], &body[..]].concat();
            assert!(Message::parse(&bytes).is_none_or(|message| message.encode() == bytes));
        }
    }

    #[test]
    fn other_bytes_are_no_message() {
        let zero = [&[BEAT][..], &[0; CLAIM]].concat();
        for bytes in [&[][..], &[0], &[4], &[WANT, 0], &[KEY], &[KEY; 32], &[BEAT; CLAIM], &zero] {
            assert_eq!(Message::parse(bytes), None, "{bytes:?}");
        }
    }
}
