//! One end of a tunnel between two machines, for measuring: makes the device and carries packets until killed.
//!
//! Usage: `pair IFNAME LOCAL_PORT MY_PRIVATE_KEY PEER_PUBLIC_KEY PEER_ENDPOINT MY_IP PEER_IP [plain] [own]`, keys in hex, or
//! `pair keys` to print a new key pair. `plain` turns every offload off, `own` carries tunnels with our own
//! session layer. Address, MTU and link state are the caller's: `ip addr add …`, `ip link set … up`.
//! A line on standard input prints the counters.

use std::error::Error;
use std::io::BufRead;
use std::net::IpAddr;

use lacis_tunnel::{
    Command, Config, Core, NetworkConfig, NetworkId, Offloads, PeerConfig, Port, PrivateKey, Tunnel,
    generate_private_key, public_key,
};

const MTU: u16 = 1420;

#[expect(clippy::print_stdout, reason = "this program talks to a person")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["keys"] {
        let private = generate_private_key();
        println!("{} {}", hex(&private), hex(&public_key(&private)));
        return Ok(());
    }
    let [name, port, private, public, endpoint, own, other, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: pair IFNAME LOCAL_PORT MY_PRIVATE_KEY PEER_PUBLIC_KEY PEER_ENDPOINT MY_IP PEER_IP [plain] [own]"
                .into(),
        );
    };
    let has = |word: &str| rest.iter().any(|given| given == word);
    let plain = has("plain");
    let core = if has("own") { Core::Own } else { Core::Boringtun };
    let config = Config::new(Port::Exactly(port.parse()?), Box::new(|event| println!("{event:?}")));
    let config = Config { core, ..config };
    let offloads = if plain { Offloads::NONE } else { Offloads::default() };
    let tunnel = Tunnel::start(Config { offloads, ..config })?;
    let (own, other): (IpAddr, IpAddr) = (own.parse()?, other.parse()?);
    tunnel.deliver(Command::AddNetwork(Box::new(NetworkConfig {
        id: NetworkId(1),
        device: tunnel.open_tun(name, MTU)?,
        private_key: PrivateKey::from(unhex(private)?),
        addresses: vec![own],
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: MTU,
    })))?;
    tunnel.deliver(Command::SetPeer(Box::new(PeerConfig {
        network: NetworkId(1),
        key: unhex(public)?,
        allowed: vec![other.into()],
        candidates: vec![endpoint.parse()?],
        keepalive: None,
        preshared_key: None,
        initiate: true,
    })))?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        for (name, count) in tunnel.stats()?.counters.named() {
            println!("{name} {count}");
        }
    }
    loop {
        std::thread::park();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<[u8; 32], Box<dyn Error>> {
    let bytes: Result<Vec<u8>, _> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2).unwrap_or("-"), 16))
        .collect();
    bytes?.try_into().map_err(|_| "a key has 64 hex digits".into())
}
