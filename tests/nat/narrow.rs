//! A path that drops what is long without a word, and a TCP stream that must go on all the same.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use support::{eventually_within, pause};

use crate::{bars::PATIENCE, kind::Kind, matrix::Arena, pair::Class, wires::no_offloads};

/// Bytes that a stream carries which does not stand still: a thousand packets.
const FLOWING: u64 = 1_000_000;

/// A router of the first site that forwards no longer packet of IP, in either direction.
fn narrow(arena: &Arena) {
    let rules = "table inet narrow {
        chain forward {
          type filter hook forward priority filter - 1;
          oifname \"wan\" meta length > 1400 drop
          iifname \"wan\" meta length > 1400 drop
        }
      }";
    // Trains of datagrams would be taken for one that is long.
    no_offloads(arena.sites[0].client(), "eth0");
    arena.sites[0].router.feed("nft", &["-f", "-"], rules);
}

/// A stream of TCP from the first node to the second, which ends when it is dropped.
struct Tcp {
    came: Arc<AtomicU64>,
    sender: TcpStream,
}

impl Tcp {
    fn start(arena: &Arena) -> Self {
        let [from, to] = &arena.nodes;
        let address = SocketAddr::from((to.address(), 5_001));
        let listener = to.host.within(|| TcpListener::bind(address).unwrap());
        let sender = from.host.within(|| TcpStream::connect_timeout(&address, PATIENCE).unwrap());
        let (mut receiver, _) = listener.accept().unwrap();
        let came = Arc::new(AtomicU64::new(0));
        let (counted, mut writer) = (Arc::clone(&came), sender.try_clone().unwrap());
        thread::spawn(move || while writer.write_all(&[7; 16_384]).is_ok() {});
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(read @ 1..) = receiver.read(&mut buffer) {
                counted.fetch_add(u64::try_from(read).unwrap(), Ordering::Relaxed);
            }
        });
        Self { came, sender }
    }

    /// Waits until so much more has come.
    fn flows(&self, what: &str) {
        let before = self.came.load(Ordering::Relaxed);
        eventually_within(PATIENCE, what, || {
            (self.came.load(Ordering::Relaxed) > before + FLOWING).then_some(())
        });
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // Both threads end with the stream.
        let _ = self.sender.shutdown(Shutdown::Both);
    }
}

#[test]
fn a_tcp_stream_flows_although_long_datagrams_are_dropped_without_a_word() {
    let mut arena = Arena::new();
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    narrow(&arena);
    let mut watch = arena.watch();
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    Tcp::start(&arena).flows("a stream over a path that is narrow from the beginning");
}

#[test]
fn a_tcp_stream_goes_on_when_its_path_begins_to_drop_long_datagrams_without_a_word() {
    let mut arena = Arena::new();
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let mut watch = arena.watch();
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    pause(Duration::from_secs(6));
    let stream = Tcp::start(&arena);
    stream.flows("a stream over a wide path");
    narrow(&arena);
    stream.flows("the stream once the path is narrow");
}
