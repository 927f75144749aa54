//! Answers as text.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::tunnel::{PresharedKey, PrivateKey};

/// What an answer says of the interface.
#[derive(Debug)]
pub(crate) struct DeviceView<'a> {
    pub(crate) private_key: Option<&'a PrivateKey>,
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
}

/// What an answer says of a peer.
#[derive(Debug)]
pub(crate) struct PeerView<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) preshared_key: Option<&'a PresharedKey>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// Since the beginning of 1970; zero when there was none.
    pub(crate) last_handshake: Duration,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) keepalive: u16,
    pub(crate) allowed: &'a [IpNetwork],
}

/// Prints the interface's part of the answer to `get=1`.
pub(crate) fn write_device(out: &mut impl Write, device: &DeviceView<'_>) -> io::Result<()> {
    if let Some(key) = device.private_key {
        write_key(out, "private_key", &key.to_bytes())?;
    }
    writeln!(out, "listen_port={}", device.listen_port)?;
    if device.fwmark != 0 {
        writeln!(out, "fwmark={}", device.fwmark)?;
    }
    Ok(())
}

/// Prints a peer's part of the answer to `get=1`.
pub(crate) fn write_peer(out: &mut impl Write, peer: &PeerView<'_>) -> io::Result<()> {
    write_key(out, "public_key", peer.key)?;
    write_key(out, "preshared_key", &peer.preshared_key.map_or([0; 32], PresharedKey::to_bytes))?;
    writeln!(out, "protocol_version=1")?;
    if let Some(endpoint) = peer.endpoint {
        writeln!(out, "endpoint={endpoint}")?;
    }
    writeln!(out, "last_handshake_time_sec={}", peer.last_handshake.as_secs())?;
    writeln!(out, "last_handshake_time_nsec={}", peer.last_handshake.subsec_nanos())?;
    writeln!(out, "tx_bytes={}", peer.tx_bytes)?;
    writeln!(out, "rx_bytes={}", peer.rx_bytes)?;
    writeln!(out, "persistent_keepalive_interval={}", peer.keepalive)?;
    for prefix in peer.allowed {
        writeln!(out, "allowed_ip={prefix}")?;
    }
    Ok(())
}

fn write_key(out: &mut impl Write, name: &str, key: &[u8; 32]) -> io::Result<()> {
    write!(out, "{name}=")?;
    for byte in key {
        write!(out, "{byte:02x}")?;
    }
    writeln!(out)
}
