//! Many peers of one WireGuard interface in one process, for measuring: each has its own key and network.
//!
//! Usage: `crowd FIRST COUNT ENDPOINT PUBLIC_KEY` with the interface's endpoint and its key in hex. Prints the peers'
//! public keys in hex, then `ready`. After a line on standard input every peer sends a small packet to 10.66.0.1 each
//! second, until killed. Peer n, counted from FIRST, has the address 10.67.(1+n/256).(n mod 256).

use std::error::Error;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use lacis_tunnel::{
    Command, Config, Device, MemoryTun, NetworkConfig, NetworkId, PeerConfig, Port, PrivateKey, Tunnel,
};

const FAR: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);

struct Member {
    host: MemoryTun,
    address: Ipv4Addr,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, count, endpoint, key] = arguments.as_slice() else {
        return Err("usage: crowd FIRST COUNT ENDPOINT PUBLIC_KEY".into());
    };
    let (first, endpoint, key) = (first.parse::<u32>()?, endpoint.parse()?, unhex(key)?);
    // The crowd plays other machines: it must not take the processor from what is measured.
    let config = Config { ipv6: false, ahead: false, ..Config::new(Port::Prefer(0), Box::new(|_| {})) };
    let tunnel = Tunnel::start(config)?;
    let members: Result<Vec<Member>, Box<dyn Error>> =
        (first..first + count.parse::<u32>()?).map(|number| join(&tunnel, number, endpoint, key)).collect();
    let members = members?;
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    let (_silent, pause) = UnixDatagram::pair()?;
    pause.set_read_timeout(Some(Duration::from_secs(1)))?;
    loop {
        for member in &members {
            member.host.send(&packet(member.address))?;
        }
        // Nobody writes to it: the timeout is the pause.
        let _ = pause.recv(&mut [0]);
    }
}

/// Adds one peer: a network of its own whose only peer is the interface.
fn join(tunnel: &Tunnel, number: u32, endpoint: SocketAddr, key: [u8; 32]) -> Result<Member, Box<dyn Error>> {
    let private = PrivateKey::generate();
    let hex: String = private.public().iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(std::io::stdout(), "{hex}")?;
    let network = NetworkId(number);
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 67, 1, 0)) + number);
    let (device, host) = Device::memory()?;
    tunnel.deliver(Command::AddNetwork(Box::new(NetworkConfig {
        id: network,
        device,
        private_key: private,
        addresses: vec![address.into()],
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: 1420,
    })))?;
    tunnel.deliver(Command::SetPeer(Box::new(PeerConfig {
        network,
        key,
        allowed: vec![IpAddr::from(FAR).into()],
        candidates: vec![endpoint],
        keepalive: None,
        preshared_key: None,
        initiate: false,
    })))?;
    Ok(Member { host, address })
}

/// An empty UDP packet to the discard port.
fn packet(from: Ipv4Addr) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&FAR.octets());
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes());
    packet[20..28].copy_from_slice(&[0x30, 0x39, 0, 9, 0, 8, 0, 0]);
    packet
}

fn unhex(text: &str) -> Result<[u8; 32], Box<dyn Error>> {
    let bytes: Result<Vec<u8>, _> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2).unwrap_or("-"), 16))
        .collect();
    bytes?.try_into().map_err(|_| "a key has 64 hex digits".into())
}
