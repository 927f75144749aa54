//! A service on two public addresses and two ports each: it says where it saw a datagram come from,
//! and answers from elsewhere when asked to.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use support::Namespace;

/// How often a socket looks whether the service is over.
const LOOK: Duration = Duration::from_millis(100);

/// Longer than any round trip here.
const PATIENCE: Duration = Duration::from_millis(400);

/// From where an answer shall come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Where the question went.
    Here,
    /// The same address, another port.
    OtherPort,
    /// Another address.
    OtherAddress,
}

/// The service. It ends when dropped.
pub(crate) struct Responder {
    /// First address, first address, second address, second address.
    sockets: Arc<[UdpSocket; 4]>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    /// Begins on two addresses of a host.
    pub(crate) fn new(host: &Namespace, addresses: &[IpAddr]) -> Self {
        let [one, other] = addresses else { panic!("two addresses, not {addresses:?}") };
        let sockets = host.within(|| {
            [one, one, other, other].map(|address| {
                let socket = UdpSocket::bind((*address, 0)).unwrap();
                socket.set_read_timeout(Some(LOOK)).unwrap();
                socket
            })
        });
        let (sockets, over) = (Arc::new(sockets), Arc::new(AtomicBool::new(false)));
        let serve = |number: usize| {
            let (sockets, over) = (Arc::clone(&sockets), Arc::clone(&over));
            std::thread::spawn(move || serve(&sockets, number, &over))
        };
        Self { threads: (0..4).map(serve).collect(), sockets, over }
    }

    /// Its four addresses.
    pub(crate) fn addresses(&self) -> [SocketAddr; 4] {
        [0, 1, 2, 3].map(|number: usize| self.sockets[number].local_addr().unwrap())
    }

    /// Sends what nobody asked for.
    pub(crate) fn strike(&self, from: usize, to: SocketAddr) {
        self.sockets[from].send_to(b"strike", to).unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // What it panicked with has been printed.
            let _ = thread.join();
        }
    }
}

fn serve(sockets: &[UdpSocket; 4], number: usize, over: &AtomicBool) {
    let mut buffer = [0; 64];
    while !over.load(Ordering::Relaxed) {
        let (length, source) = match sockets[number].recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            // A port unreachable of an earlier answer.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
            Err(error) => panic!("{error}"),
        };
        let from = match &buffer[..length] {
            b"here" => number,
            b"port" => number ^ 1,
            b"address" => number ^ 2,
            _ => continue,
        };
        // An answer that cannot be sent is one that does not come.
        let _ = sockets[from].send_to(source.to_string().as_bytes(), source);
    }
}

/// A socket of a client that asks.
pub(crate) struct Asker {
    pub(crate) socket: UdpSocket,
}

impl Asker {
    /// Opens one on a client, for the family of the service.
    pub(crate) fn new(client: &Namespace, responder: &Responder) -> Self {
        Self::with_port(client, responder, 0)
    }

    /// The same, from a port.
    pub(crate) fn with_port(client: &Namespace, responder: &Responder, port: u16) -> Self {
        let any = if responder.addresses()[0].is_ipv4() { "0.0.0.0" } else { "::" };
        let address: IpAddr = any.parse().unwrap();
        let socket = client.within(|| UdpSocket::bind((address, port)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Asks for an answer from somewhere; gives the own address as the service saw it.
    pub(crate) fn ask(&self, to: SocketAddr, from: From) -> Option<SocketAddr> {
        let question: &[u8] = match from {
            From::Here => b"here",
            From::OtherPort => b"port",
            From::OtherAddress => b"address",
        };
        self.socket.send_to(question, to).ok()?;
        // What nobody asked for may come before the answer.
        std::iter::from_fn(|| self.hear()).find_map(|(text, _)| text.parse().ok())
    }

    /// Where one destination sees this socket.
    pub(crate) fn seen_by(&self, to: SocketAddr) -> Option<SocketAddr> {
        self.ask(to, From::Here)
    }

    /// The next datagram and its source.
    pub(crate) fn hear(&self) -> Option<(String, SocketAddr)> {
        let mut buffer = [0; 64];
        let (length, source) = self.socket.recv_from(&mut buffer).ok()?;
        Some((String::from_utf8_lossy(&buffer[..length]).into_owned(), source))
    }
}
