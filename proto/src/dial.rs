//! Where plain WireGuard clients dial a gateway: an address or a name, and a port.
//!
//! ```text
//! 192.0.2.100:47820   [2001:db8::1]:47820   vpn.example.net:47820
//! ```
//! It stands in files that nobody changes later, so it is worth being one that outlives a machine: an address that
//! moves from gateway to gateway. A name is looked up by the client, by most of them only once.

use std::{fmt, net::SocketAddr, str::FromStr};

use crate::text::text_on_the_wire;

/// Longest name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// Longest label of a name (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// `HOST:PORT`, checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialAddress(String);

/// Text that is no place to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place to dial: IP:PORT, [IPV6]:PORT or NAME:PORT")]
pub struct DialError;

impl DialAddress {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DialAddress {
    type Err = DialError;

    fn from_str(text: &str) -> Result<Self, DialError> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            let ip = addr.ip();
            let is_usable = addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
            return if is_usable { Ok(Self(addr.to_string())) } else { Err(DialError) };
        }
        let (name, port) = text.rsplit_once(':').ok_or(DialError)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(DialError)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(is_plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits would be half an address (RFC 3696 §2).
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
        if name.len() > MAX_NAME || is_address || !name.split('.').all(is_label) {
            return Err(DialError);
        }
        Ok(Self(format!("{}:{port}", name.to_ascii_lowercase())))
    }
}

impl fmt::Display for DialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_on_the_wire!(DialAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_with_a_port_are_places_to_dial() {
        for (text, printed) in [
            ("192.0.2.1:47820", "192.0.2.1:47820"),
            ("[2001:DB8::1]:1", "[2001:db8::1]:1"),
            ("VPN.example.net:47820", "vpn.example.net:47820"),
            ("gate:65535", "gate:65535"),
        ] {
            assert_eq!(text.parse::<DialAddress>().unwrap().as_str(), printed);
        }
    }

    #[test]
    fn anything_else_is_not() {
        let long = format!("{}:1", "a".repeat(64));
        let name = |length: usize| format!("{}:1", "a.".repeat(length / 2) + &"a".repeat(length % 2));
        assert!(name(MAX_NAME).parse::<DialAddress>().is_ok());
        assert!(name(MAX_NAME + 2).parse::<DialAddress>().is_err());
        for text in [
            "",
            ":1",
            "gate",
            "gate:",
            "gate:0",
            "gate:65536",
            "0.0.0.0:1",
            "192.0.2.1:0",
            "224.0.0.1:1",
            "192.0.2:1",
            "2001:db8::1:x",
            "-a.b:1",
            "a..b:1",
            "a b:1",
            "a\n[Peer]:1",
            &long,
        ] {
            assert!(text.parse::<DialAddress>().is_err(), "{text:?}");
        }
    }
}
