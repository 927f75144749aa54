use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::fuzz::samples::{self, Tcp};
use crate::packet;
use crate::sockets::Families;
use crate::start::Port;
use crate::tun::device::MemoryTun;
use crate::udp::poll::Waker;

fn output() -> IoOutput {
    let sockets = Sockets::bind(Port::Prefer(0), Families { v4: true, v6: false }, 1).unwrap();
    let waker = Arc::new(Waker::new().unwrap());
    let post = Post::connect(&[waker]).remove(0);
    IoOutput::new(sockets, post, Arc::new(|_| {}), Offloads::default())
}

fn receiver() -> (std::net::UdpSocket, Endpoint) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let remote = socket.local_addr().unwrap();
    (socket, Endpoint { remote, local: None, relay: None, auxiliary: None })
}

fn with_device(output: &mut IoOutput) -> MemoryTun {
    let (device, host) = Device::memory().unwrap();
    output.add_device(1, device);
    host
}

#[test]
fn a_train_arrives_as_its_datagrams_from_the_address_asked_for() {
    let mut output = output();
    let (socket, to) = receiver();
    let to = Endpoint { local: Some([127, 0, 0, 3].into()), ..to };
    let bytes: Vec<u8> = (0..250).collect();
    assert_eq!(output.transmit(&to, Datagrams { stride: 100, ..Datagrams::single(&bytes) }), Sent::Whole);
    let mut buffer = [0; 2000];
    for expected in bytes.chunks(100) {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (expected, [127, 0, 0, 3].into()));
    }
}

#[test]
fn a_source_address_that_is_gone_does_not_stop_the_train() {
    let mut output = output();
    let (socket, to) = receiver();
    let to = Endpoint { local: Some([203, 0, 113, 7].into()), ..to };
    assert_eq!(output.transmit(&to, Datagrams::single(b"data")), Sent::SourceGone);
    let mut buffer = [0; 16];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn behind_a_waiting_train_all_wait_in_order_up_to_the_limit() {
    let mut output = output();
    let (socket, to) = receiver();
    output.park(&to, Datagrams::single(&[0]));
    for n in 1..=40_u8 {
        assert_eq!(output.transmit(&to, Datagrams::single(&[n])), Sent::Full);
    }
    assert!(output.is_blocked());
    let kept = u8::try_from(limits::PARKED_TRAINS).unwrap();
    assert_eq!(output.counters.drop_parked_full, u64::from(41 - kept));
    output.send_parked();
    assert!(!output.is_blocked());
    let mut buffer = [0; 16];
    for n in 0..kept {
        socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[0], n);
    }
}

#[test]
fn an_address_without_socket_is_unreachable() {
    let remote = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 9));
    let to = Endpoint { remote, local: None, relay: None, auxiliary: None };
    let (sender, events) = std::sync::mpsc::channel();
    let mut output = output();
    output.events = Arc::new(move |event| drop(sender.send(event)));
    for _ in 0..limits::REFUSAL_BURST {
        assert_eq!(output.transmit(&to, Datagrams::single(b"data")), Sent::Unreachable);
        output.transmit_raw(&to, b"raw", Manner::default());
    }
    let told: Vec<Event> = events.try_iter().collect();
    assert_eq!(told.len(), limits::REFUSAL_BURST as usize, "a busy sender does not flood whoever listens");
    assert!(told.iter().all(|event| *event == Event::Refused { to: remote }));
}

#[test]
fn a_merged_packet_that_is_refused_is_written_as_its_parts() {
    let mut output = output();
    let host = with_device(&mut output);
    let payload: Vec<u8> = (0..250).collect();
    let merged = samples::tcp("10.0.0.1", "10.0.0.2", Tcp::default(), &payload);
    let vnet = Vnet {
        needs_checksum: true,
        gso: Gso::Tcp4,
        header_len: 52,
        segment: 100,
        checksum_start: 20,
        checksum_offset: 16,
    };
    output.write_singly(1, 0, &vnet, &[IoSlice::new(&merged[..80]), IoSlice::new(&merged[80..])]);
    let mut carried = Vec::new();
    for length in [100, 100, 50] {
        let packet = host.receive(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(packet.len(), 52 + length);
        assert!(samples::is_sound(&packet));
        carried.extend_from_slice(&packet[52..]);
    }
    assert_eq!(carried, payload);
    assert_eq!(output.merging_changed(), Some(Merging { any: false, udp: false }));
    assert_eq!(output.merging_changed(), None);
    output.now += limits::OFFLOAD_REST;
    assert_eq!(output.merging_changed(), Some(Merging { any: true, udp: true }));
    assert_eq!((output.merging_changed(), output.counters.offloads_tried_again), (None, 1));
}

#[test]
fn a_device_that_takes_no_more_costs_packets_and_not_the_shard() {
    let mut output = output();
    let host = with_device(&mut output);
    let packet = samples::udp("10.0.0.1", "10.0.0.2", 9, &[0; 1000]);
    while output.counters.drop_device_refused == 0 {
        output.deliver(1, 0, &Vnet::default(), Pieces::single(&packet));
    }
    let first = host.receive(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(packet::addresses(&first), packet::addresses(&packet));
}
