//! The tunnel writes and reads the frames that the protocol describes: it knows their header by itself, since it depends
//! on no other crate of ours.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::time::Duration;

use lacis_proto::relay::{Frame, Packet, RelayAddress};
use lacis_tunnel::{
    Command, Config, Event, Hop, Lease, NetworkConfig, NetworkId, Port, PrivateKey, Tunnel, Way,
};

const NET: NetworkId = NetworkId(1);
const PATIENCE: Duration = Duration::from_secs(20);
/// A path frame, as far as the tunnel looks at it.
const INSIDE: &[u8] = &[0x0d, 1, 0, 0, 7, 7, 7];

#[test]
fn the_tunnel_frames_what_a_relay_carries_as_the_protocol_says() {
    let (sender, events) = mpsc::channel();
    let config = Config::new(Port::Prefer(0), Box::new(move |event| drop(sender.send(event))));
    let tunnel = Tunnel::start(Config { ipv6: false, ..config }).unwrap();
    let (device, _host) = lacis_tunnel::Device::memory().unwrap();
    let network = NetworkConfig {
        id: NET,
        device,
        private_key: PrivateKey::generate(),
        addresses: Vec::new(),
        accepted: Vec::new(),
        pools: Vec::new(),
        mtu: 1400,
    };
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(PATIENCE)).unwrap();
    let (hop, place) =
        (Hop { lease: 0x0102_0304, address: 0x1112_1314_1516_1718 }, relay.local_addr().unwrap());
    let way = Way::relayed(place, hop);
    tunnel.deliver(Command::AddNetwork(Box::new(network))).unwrap();
    tunnel.deliver(Command::SetLeases(vec![Lease { relay: place, lease: hop.lease, network: NET }])).unwrap();
    tunnel.deliver(Command::SendTo { way, payload: INSIDE.to_vec(), ttl: None, whole: false }).unwrap();

    let mut buffer = [0; 2048];
    let (length, from) = relay.recv_from(&mut buffer).unwrap();
    let address = RelayAddress(hop.address);
    let frame = Packet { lease: hop.lease, address, frame: Frame::Data(INSIDE) };
    assert_eq!(Packet::parse(&buffer[..length]), Ok(frame));

    relay.send_to(&frame.to_bytes(), from).unwrap();
    let Event::Datagram { way: came, payload, .. } = events.recv_timeout(PATIENCE).unwrap() else {
        panic!("nothing else happens")
    };
    assert_eq!((came, payload.as_slice()), (way, INSIDE));
}
