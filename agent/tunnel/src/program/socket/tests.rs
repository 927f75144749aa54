//! The control socket over a data plane on 127.0.0.1, with a device in memory.

use std::io::Read;
use std::net::Shutdown;
use std::sync::Mutex;

use super::*;
use crate::mailbox::NetworkId;
use crate::program::interface::Interface;
use crate::program::network;
use crate::start::{Config, Port, Tunnel};
use crate::tun::device::{Device, MemoryTun};

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

struct Lab {
    shared: Arc<Shared>,
    socket: ControlSocket,
    _host: MemoryTun,
    folder: tempfolder::Folder,
}

/// A folder that goes with the test.
mod tempfolder {
    use std::path::PathBuf;

    pub(super) struct Folder(pub(super) PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn lab(name: &str) -> Lab {
    let folder = std::env::temp_dir().join(format!("lacis-wg-{}-{name}", std::process::id()));
    let socket = ControlSocket::bind_in(&folder, "wg0").unwrap();
    let config = Config::new(Port::Prefer(0), Box::new(|_| {}));
    let tunnel = Tunnel::start(config).unwrap();
    let (device, host) = Device::memory().unwrap();
    tunnel.deliver(Command::AddNetwork(Box::new(network(device)))).unwrap();
    let shared = Arc::new(Shared { tunnel, interface: Mutex::new(Interface::default()) });
    socket.serve(&shared).unwrap();
    Lab { shared, socket, _host: host, folder: tempfolder::Folder(folder) }
}

impl Lab {
    /// Sends text as a client and gives all that comes back.
    fn ask(&self, text: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.0.join("wg0.sock")).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn what_is_set_is_told_to_whoever_asks() {
    let lab = lab("set");
    let text = format!(
        "set=1\nprivate_key={KEY}\npublic_key={}\nendpoint=127.0.0.1:9\nallowed_ip=0.0.0.0/0\n\n",
        "03".repeat(32)
    );
    assert_eq!(lab.ask(&text), "errno=0\n\n");
    let answer = lab.ask("get=1\n\n");
    let port = lab.shared.tunnel.port();
    assert!(
        answer.starts_with(&format!("private_key={KEY}\nlisten_port={port}\npublic_key=0303")),
        "{answer}"
    );
    assert!(
        answer.contains("endpoint=127.0.0.1:9\n") && answer.ends_with("allowed_ip=0.0.0.0/0\nerrno=0\n\n")
    );
    let peers = &lab.shared.tunnel.stats().unwrap().networks[0].peers;
    assert!(peers.len() == 1 && peers[0].key == [3; 32], "{peers:?}");
    assert!(lab.ask("counters=1\n\n").contains("initiations_out=0\n"));
}

#[test]
fn a_request_that_is_not_understood_changes_nothing() {
    let lab = lab("malformed");
    let port = lab.shared.tunnel.port();
    assert_eq!(lab.ask(&format!("set=1\nprivate_key={KEY}\nnonsense=1\n\n")), "errno=-22\n\n");
    assert_eq!(lab.ask("get=1\n\n"), format!("listen_port={port}\nerrno=0\n\n"));
    assert_eq!(lab.ask("set=1\n\nget=1\n\n"), format!("errno=0\n\nlisten_port={port}\nerrno=0\n\n"));
    assert_eq!(lab.ask("set=1\nprivate_key"), "");
}

#[test]
fn the_port_changes_or_is_refused_whole() {
    let lab = lab("port");
    let before = lab.shared.tunnel.port();
    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = lab.ask(&format!("set=1\nprivate_key={KEY}\nlisten_port={port}\n\n"));
    assert_eq!(refused, format!("errno=-{}\n\n", libc::EADDRINUSE));
    assert_eq!(lab.ask("get=1\n\n"), format!("listen_port={before}\nerrno=0\n\n"));
    drop(taken);
    assert_eq!(lab.ask(&format!("set=1\nlisten_port={port}\n\n")), "errno=0\n\n");
    assert_eq!(lab.shared.tunnel.port(), port);
    // The former port is free once the shard has taken the new sockets.
    lab.shared.tunnel.stats().unwrap();
    assert!(std::net::UdpSocket::bind(("0.0.0.0", before)).is_ok());
    assert_eq!(lab.shared.tunnel.stats().unwrap().networks[0].id, NetworkId(1));
}

#[test]
fn the_socket_is_private_and_goes_with_its_owner() {
    let lab = lab("file");
    let path = lab.folder.0.join("wg0.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&lab.folder.0), mode(&path)), (0o700, 0o600));
    assert!(matches!(ControlSocket::bind_in(&lab.folder.0, "wg0"), Err(SocketError::InUse { .. })));
    assert!(matches!(ControlSocket::bind_in(&lab.folder.0, "../wg0"), Err(SocketError::Make { .. })));
    assert!(lab.socket.is_there());
    fs::remove_file(&path).unwrap();
    assert!(!lab.socket.is_there());
    // A file that nobody serves is in nobody's way.
    drop(UnixListener::bind(&path).unwrap());
    let next = ControlSocket::bind_in(&lab.folder.0, "wg0").unwrap();
    assert!(next.is_there() && !lab.socket.is_there());
    drop(next);
    assert!(!path.exists());
}

#[test]
fn whoever_looks_all_the_time_is_never_refused() {
    let folder =
        tempfolder::Folder(std::env::temp_dir().join(format!("lacis-wg-{}-looks", std::process::id())));
    let path = folder.0.join("wg0.sock");
    let [is_over, looks, refused] = [const { AtomicUsize::new(0) }; 3];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while is_over.load(Ordering::Relaxed) == 0 {
                // What `wg` takes for a file that nobody serves any more, and removes.
                let is_refused = UnixStream::connect(&path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                refused.fetch_add(usize::from(is_refused), Ordering::Relaxed);
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Each is made while somebody looks. Who found a name just before it went is still heard: ends are not looked at.
        let mut ended = Vec::new();
        for _ in 0..200 {
            let before = looks.load(Ordering::Relaxed);
            let socket = ControlSocket::bind_in(&folder.0, "wg0").unwrap();
            ended.push(socket.listener.try_clone().unwrap());
            drop(socket);
            while looks.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        is_over.store(1, Ordering::Relaxed);
    });
    assert_eq!(refused.into_inner(), 0);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "something is left in the folder");
}

#[test]
fn so_many_clients_are_served_at_once_and_another_is_let_go() {
    let lab = lab("clients");
    let path = lab.folder.0.join("wg0.sock");
    let mut clients: Vec<UnixStream> = Vec::new();
    for _ in 0..limits::UAPI_CLIENTS {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"get=1\n\n").unwrap();
        // An answer tells that the client is counted.
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
        clients.push(client);
    }
    let mut one_more = UnixStream::connect(&path).unwrap();
    assert!(matches!(one_more.read(&mut [0; 1]), Ok(0) | Err(_)));
    drop(clients);
    // A place is free once the thread of a client has seen that it is gone.
    let is_served = || {
        let mut client = UnixStream::connect(&path).unwrap();
        let asked = client.write_all(b"get=1\n\n");
        asked.is_ok() && client.read(&mut [0; 1]).is_ok_and(|read| read == 1)
    };
    while !is_served() {
        std::thread::yield_now();
    }
}
