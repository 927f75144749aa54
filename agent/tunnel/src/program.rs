//! The program `lacis-tunnel`: one WireGuard interface in user space, configured with the stock `wg`.
//!
//! It stands where `wireguard-go` does: it makes the interface, listens on `/var/run/wireguard/IFNAME.sock`, and ends
//! when the interface or the socket is removed, or by SIGTERM or SIGINT. Nothing here is a matter of the control plane,
//! and the rules are plain WireGuard's: any destination is taken in, a source must be among its peer's allowed IPs.
//!
//! Life-cycle: arguments; in the background, the same program once more (`background`); signals blocked (`watch`);
//! control socket, interface and data plane made; then the main thread waits for the end while each client of the
//! socket (`socket`) has a thread of its own that changes the one interface.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use crate::mailbox::{Command, Event, NetworkConfig, NetworkId, SendError};
use crate::start::{Config, Port, StartError, Tunnel};
use crate::tun::device::{Device, DeviceError};
use crate::tunnel::PrivateKey;

mod arguments;
mod background;
mod interface;
mod link;
mod log;
mod socket;
mod watch;

use arguments::{Arguments, Carriers, Mode};
use interface::Interface;
use socket::{ControlSocket, SocketError};
use watch::{Happening, Watch};

/// The one network of this program.
const NETWORK: NetworkId = NetworkId(1);

/// What fits an outer packet of 1500 over IPv6, as every WireGuard sets it at first.
const MTU: u16 = 1420;

const HELP: &str = "\
lacis-tunnel: a WireGuard interface in user space

usage: lacis-tunnel [-f|--foreground] [--core NAME] [--shards N] [--without LIST] IFNAME

Makes the interface IFNAME and carries its packets; `wg set IFNAME …` configures it over
/var/run/wireguard/IFNAME.sock. Ends when the interface or that socket is removed (ip link del IFNAME).

  -f, --foreground   do not go to the background
      --core NAME    what carries the tunnels: own (the default) or boringtun
      --shards N     threads that share the peers: 1 to 16, or auto (the default)
      --without LIST offloads of the kernel not to use: reads, sends, receives, writes, with commas between
  -h, --help         print this text
  -V, --version      print the version

LOG_LEVEL in the environment: silent, error (the default), info or verbose; in the background nothing is logged.
The figures of the data plane: printf 'counters=1\\n\\n' to the socket.
";

/// What every client's thread works on.
#[derive(Debug)]
struct Shared {
    tunnel: Tunnel,
    interface: Mutex<Interface>,
}

/// Why the program could not do its work.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot wait for signals")]
    Watch { source: io::Error },
    #[error("cannot listen for wg")]
    Socket { source: SocketError },
    #[error("cannot make the interface")]
    Device { source: DeviceError },
    #[error("cannot start")]
    Tunnel { source: StartError },
    #[error("cannot hand the interface to the data plane")]
    Deliver { source: SendError },
    #[error("cannot go to the background")]
    Background { source: io::Error },
    #[error("the data plane ended")]
    Ended,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match Arguments::parse(&arguments) {
        Ok(Arguments::Help) => say(HELP),
        Ok(Arguments::Version) => say(concat!("lacis-tunnel ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Arguments::Run { name, mode: Mode::Background, carriers }) => {
            match background::start(&name, carriers) {
                Ok(code) => return code,
                Err(source) => Err(RunError::Background { source }),
            }
        }
        Ok(Arguments::Run { name, mode: Mode::Foreground, carriers }) => {
            log::start();
            run(&name, carriers, || Ok(()))
        }
        Ok(Arguments::Run { name, mode: Mode::Detached, carriers }) => {
            run(&name, carriers, background::ready)
        }
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Makes the interface and carries its packets until told to stop. `ready` is called once `wg` can be used.
fn run(name: &str, carriers: Carriers, ready: impl FnOnce() -> io::Result<()>) -> Result<(), RunError> {
    let (ended, end) = UnixStream::pair().map_err(|source| RunError::Watch { source })?;
    // Signals are blocked before there is a second thread, so that none of them ends the process halfway.
    let mut watch = Watch::new(end).map_err(|source| RunError::Watch { source })?;
    let socket = ControlSocket::bind(name).map_err(|source| RunError::Socket { source })?;
    watch.files_in(socket.folder()).map_err(|source| RunError::Watch { source })?;
    let events = Box::new(move |event| {
        if matches!(event, Event::DeviceGone { .. } | Event::Fatal { .. }) {
            // A byte that finds nobody is not missed: the process is ending.
            let _ = (&ended).write_all(&[1]);
        }
    });
    let Carriers { core, shards, offloads } = carriers;
    let config = Config { core, shards, offloads, ..Config::new(Port::Prefer(0), events) };
    let tunnel = Tunnel::start(config).map_err(|source| RunError::Tunnel { source })?;
    let device = tunnel.open_tun(name, MTU).map_err(|source| RunError::Device { source })?;
    if let Err(error) = link::set_mtu(name, MTU) {
        tracing::warn!(%error, "the interface keeps the MTU it has");
    }
    let deliver = |command| tunnel.deliver(command).map_err(|source| RunError::Deliver { source });
    deliver(Command::AddNetwork(Box::new(network(device))))?;
    let shared = Arc::new(Shared { tunnel, interface: Mutex::new(Interface::default()) });
    socket.serve(&shared).map_err(|source| RunError::Socket { source })?;
    ready().map_err(|source| RunError::Background { source })?;
    tracing::info!(interface = name, port = shared.tunnel.port(), "ready");
    wait_for_the_end(name, &watch, &socket, &shared)
}

/// The network before it is configured: a key that nobody knows, and any address is this node's.
fn network(device: Device) -> NetworkConfig {
    NetworkConfig {
        id: NETWORK,
        device,
        private_key: PrivateKey::generate(),
        addresses: Vec::new(),
        accepted: interface::everything(),
        pools: Vec::new(),
        mtu: MTU,
    }
}

fn wait_for_the_end(
    name: &str,
    watch: &Watch,
    socket: &ControlSocket,
    shared: &Shared,
) -> Result<(), RunError> {
    let mut mtu = MTU;
    loop {
        match watch.next().map_err(|source| RunError::Watch { source })? {
            Happening::Stop => return Ok(()),
            Happening::Ended => {
                // Removing the interface is a way to end the program; anything else is a fault.
                return if link::exists(name) { Err(RunError::Ended) } else { Ok(()) };
            }
            Happening::Files if socket.is_there() => {}
            Happening::Files => return Ok(()),
            Happening::Links => {
                if let Some(found) = link::mtu(name).filter(|found| *found != mtu) {
                    mtu = found;
                    let command = Command::SetMtu { network: NETWORK, mtu };
                    shared.tunnel.deliver(command).map_err(|source| RunError::Deliver { source })?;
                }
            }
        }
    }
}

/// Prints what was asked for. A reader that has gone is no failure.
#[expect(clippy::unnecessary_wraps, reason = "stands beside what can fail")]
fn say(text: &str) -> Result<(), RunError> {
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Prints an error and its causes on standard error.
fn complain(error: &dyn std::error::Error) {
    let mut text = format!("lacis-tunnel: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{text}");
}
