//! Hosts with one WireGuard interface each, made by any program and configured with `wg`.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Bridge, Host, Process, binary, eventually, run, run_ok};
use tempfile::TempDir;

/// A program that makes WireGuard interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Lacis,
    LacisOnBoringtun,
    LacisOnTwoShards,
    LacisWithoutOffloads,
    WireguardGo,
    Boringtun,
}

/// Where sockets of interfaces are.
pub(crate) const SOCKETS: &str = "/var/run/wireguard";

impl Program {
    /// Ourselves on either core, and the others that are installed.
    pub(crate) fn all() -> Vec<Self> {
        [vec![Self::Lacis, Self::LacisOnBoringtun], Self::others()].concat()
    }

    /// The others that are installed; what is missing is said aloud.
    pub(crate) fn others() -> Vec<Self> {
        let all = [Self::WireguardGo, Self::Boringtun];
        let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.path().is_some());
        for program in missing {
            println!("passed over, not installed: {program:?}");
        }
        found
    }

    fn path(self) -> Option<PathBuf> {
        let name = match self {
            Self::Lacis | Self::LacisOnBoringtun | Self::LacisOnTwoShards | Self::LacisWithoutOffloads => {
                return Some(binary("lacis-tunnel"));
            }
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
        };
        let found =
            run(Command::new("sh").args(["-c", "command -v \"$0\" || ls \"$HOME/.cargo/bin/$0\"", name]));
        let path = String::from_utf8(found.stdout).unwrap();
        found.status.success().then(|| PathBuf::from(path.trim()))
    }

    fn command(self, host: &Host, interface: &str) -> Command {
        let mut command = host.command("env");
        command.args(["WG_PROCESS_FOREGROUND=1", "LOG_LEVEL=error", "WG_LOG_LEVEL=error"]);
        command.arg(self.path().unwrap()).arg("--foreground");
        match self {
            Self::Lacis | Self::WireguardGo => {}
            Self::LacisOnBoringtun => drop(command.args(["--core", "boringtun"])),
            Self::LacisOnTwoShards => drop(command.args(["--shards", "2"])),
            Self::LacisWithoutOffloads => {
                let _ = command.args(["--without", "reads,sends,receives,writes"]);
            }
            // Its connected sockets would not follow anybody.
            Self::Boringtun => drop(command.args(["--disable-drop-privileges", "--disable-connected-udp"])),
        }
        command.arg(interface);
        command
    }
}

/// Two or more hosts on a switch.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) bridge: Bridge,
}

/// A host and its interface `wgN`, at 10.66.0.N.
pub(crate) struct Side {
    pub(crate) host: Host,
    pub(crate) interface: String,
    pub(crate) overlay: String,
    pub(crate) public: String,
    pub(crate) program: Program,
    dir: PathBuf,
    process: Option<Process>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), bridge: Bridge::new() }
    }

    /// Two sides that know each other, the first of them `lacis-tunnel`; nothing has been sent yet.
    pub(crate) fn pair(&self, other: Program) -> (Side, Side) {
        self.pair_of(Program::Lacis, other)
    }

    /// Two sides that know each other; nothing has been sent yet.
    pub(crate) fn pair_of(&self, one: Program, two: Program) -> (Side, Side) {
        let (ours, theirs) = (self.side(1, one), self.side(2, two));
        ours.knows(&theirs, &[]);
        theirs.knows(&ours, &[]);
        (ours, theirs)
    }

    /// A host whose interface is up and has a key.
    pub(crate) fn side(&self, number: u8, program: Program) -> Side {
        self.side_of_shard(number, program, 1)
    }

    /// A side that is a peer of shard `shard` wherever there are two: the public key says so.
    pub(crate) fn side_of_shard(&self, number: u8, program: Program, shard: u8) -> Side {
        let host = Host::new(&self.bridge, number);
        let (private, public) = loop {
            let private = run_ok(Command::new("wg").arg("genkey"));
            let public = run_ok(Command::new("sh").args(["-c", "echo \"$0\" | wg pubkey", private.trim()]));
            if first_byte(&public) % 2 == shard {
                break (private, public);
            }
        };
        let dir = self.dir.path().to_owned();
        std::fs::write(dir.join(format!("{number}.key")), &private).unwrap();
        let mut side = Side {
            host,
            interface: format!("wg{number}"),
            overlay: format!("10.66.0.{number}"),
            public: public.trim().to_owned(),
            program,
            dir,
            process: None,
        };
        side.start();
        side
    }
}

/// The first byte of a key in base64.
fn first_byte(key: &str) -> u8 {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |at: usize| DIGITS.iter().position(|digit| *digit == key.as_bytes()[at]).unwrap();
    u8::try_from(digit(0) << 2 | digit(1) >> 4).unwrap()
}

impl Side {
    /// Starts the program and gives the interface its key, address and MTU. Peers are the caller's affair.
    pub(crate) fn start(&mut self) {
        let log = self.dir.join(format!("{}.log", self.interface));
        // A program that was killed leaves its socket behind.
        let _ = std::fs::remove_file(self.socket());
        let mut process = Process::start(&mut self.program.command(&self.host, &self.interface), &log);
        eventually(&format!("{:?} makes {}", self.program, self.interface), || {
            assert!(process.is_running(), "{:?} ended: {}", self.program, process.log());
            // `wg` removes a socket that is bound and does not listen yet, as those of other programs may be.
            let listens = UnixStream::connect(self.socket()).is_ok();
            let is_shown = || run(Command::new("wg").args(["show", &self.interface])).status.success();
            (listens && is_shown()).then_some(())
        });
        self.process = Some(process);
        self.wg(&["listen-port", "51820", "private-key", self.key().to_str().unwrap()]);
        self.host.ip(&["addr", "replace", &format!("{}/24", self.overlay), "dev", &self.interface]);
        self.host.ip(&["link", "set", &self.interface, "mtu", "1420", "up"]);
    }

    /// Kills the program; what it knew is gone.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        let _ = std::fs::remove_file(self.socket());
        eventually("the interface is gone", || {
            let link = ["-n", &self.host.name, "link", "show", &self.interface];
            (!run(Command::new("ip").args(link)).status.success()).then_some(())
        });
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join(format!("{}.key", self.host.number))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(SOCKETS).join(format!("{}.sock", self.interface))
    }

    /// `wg set` on the interface.
    #[track_caller]
    pub(crate) fn wg(&self, arguments: &[&str]) {
        run_ok(Command::new("wg").args(["set", &self.interface]).args(arguments));
    }

    /// `wg show` of one thing on the interface.
    #[track_caller]
    pub(crate) fn show(&self, what: &str) -> String {
        run_ok(Command::new("wg").args(["show", &self.interface, what])).trim().to_owned()
    }

    /// Makes `other` a peer, with further arguments of `wg set`.
    #[track_caller]
    pub(crate) fn knows(&self, other: &Self, more: &[&str]) {
        self.knows_at(other, &other.host.v4(), more);
    }

    /// Does the same, and says at which address `other` is.
    #[track_caller]
    pub(crate) fn knows_at(&self, other: &Self, address: &str, more: &[&str]) {
        let endpoint =
            if address.contains(':') { format!("[{address}]:51820") } else { format!("{address}:51820") };
        let allowed = format!("{}/32", other.overlay);
        let peer = ["peer", &other.public, "endpoint", &endpoint, "allowed-ips", &allowed];
        self.wg(&[&peer[..], more].concat());
    }

    #[track_caller]
    pub(crate) fn forgets(&self, other: &Self) {
        self.wg(&["peer", &other.public, "remove"]);
    }

    /// Whether one echo of `size` bytes comes back.
    pub(crate) fn reaches(&self, other: &Self, size: &str) -> bool {
        let ping = ["-c", "1", "-W", "1", "-s", size, &other.overlay];
        run(self.host.command("ping").args(ping)).status.success()
    }

    /// Waits until an echo comes back.
    #[track_caller]
    pub(crate) fn must_reach(&self, other: &Self) {
        let what = format!("{:?} reaches {:?}", self.program, other.program);
        eventually(&what, || self.reaches(other, "56").then_some(()));
    }

    /// Moment of the last handshake with the only peer; 0 when there was none.
    #[track_caller]
    pub(crate) fn last_handshake(&self) -> u64 {
        self.show("latest-handshakes").split('\t').nth(1).unwrap().parse().unwrap()
    }

    /// Bytes received from the only peer.
    #[track_caller]
    pub(crate) fn received(&self) -> u64 {
        self.show("transfer").split('\t').nth(1).unwrap().parse().unwrap()
    }

    /// One counter of `lacis-tunnel`.
    #[track_caller]
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let [count] = self.counters([name]);
        count
    }

    /// Counters of one moment.
    pub(crate) fn counters<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(b"counters=1\n\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        names.map(|name| {
            let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
        })
    }
}
