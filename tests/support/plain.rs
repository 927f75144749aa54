//! Plain WireGuard clients: programs of somebody else, set up from the text that control makes with nothing but `wg`
//! and `ip`.

use std::{
    path::Path,
    process::{self, Command},
};

use crate::{eventually, namespace::Namespace, process::Process, run, run_ok};

/// A WireGuard program of somebody else.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// <https://git.zx2c4.com/wireguard-go>
    WireguardGo,
    /// <https://github.com/cloudflare/boringtun>
    Boringtun,
}

impl Program {
    /// Those that are installed; what is missing is said aloud.
    #[must_use]
    #[expect(clippy::print_stdout, reason = "whoever runs the tests is told what they could not do")]
    pub fn installed() -> Vec<Self> {
        let there = |program: &str| {
            let found = run(Command::new("sh").args([
                "-c",
                "command -v \"$0\" || ls \"$HOME/.cargo/bin/$0\"",
                program,
            ]));
            found.status.success()
        };
        if !there("wg") {
            println!("passed over, not installed: wg");
            return Vec::new();
        }
        let all = [(Self::WireguardGo, "wireguard-go"), (Self::Boringtun, "boringtun-cli")];
        let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, name)| there(name));
        missing.iter().for_each(|(_, name)| println!("passed over, not installed: {name}"));
        found.into_iter().map(|(program, _)| program).collect()
    }

    fn command(self, space: &Namespace, interface: &str) -> Command {
        let mut command = space.command("sh");
        // Both leave for the background unless told otherwise.
        let line = match self {
            Self::WireguardGo => "WG_PROCESS_FOREGROUND=1 exec wireguard-go \"$0\"",
            Self::Boringtun => {
                "PATH=$PATH:$HOME/.cargo/bin exec boringtun-cli --foreground --disable-drop-privileges \"$0\""
            }
        };
        command.args(["-c", line, interface]);
        command
    }
}

/// A client that runs in a network namespace; gone when dropped.
#[derive(Debug)]
pub struct PlainClient {
    /// Its overlay addresses.
    pub addresses: Vec<String>,
    /// The resolvers that its text names.
    pub resolvers: Vec<String>,
    /// What `wg` calls it.
    pub interface: String,
    _program: Process,
}

impl PlainClient {
    /// Starts a program in a namespace and sets it up from the text in `conf`; `number` tells it from others of this process.
    pub fn start(space: &Namespace, number: u8, program: Program, conf: &Path) -> Self {
        let interface = format!("pl{}{number}", process::id() % 1_000);
        let log = conf.with_file_name(format!("{interface}.log"));
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{interface}.sock"));
        let running = Process::start(&mut program.command(space, &interface), &log);
        eventually(&format!("{program:?} makes {interface}"), || {
            run(Command::new("wg").args(["show", &interface])).status.success().then_some(())
        });
        let said = std::fs::read_to_string(conf).unwrap();
        let values = |name: &str| -> Vec<String> {
            let lines =
                said.lines().filter_map(|line| line.split_once(" = ").filter(|(key, _)| *key == name));
            lines.flat_map(|(_, list)| list.split(", ")).map(str::to_owned).collect()
        };
        let stripped = conf.with_extension("stripped");
        std::fs::write(&stripped, run_ok(Command::new("wg-quick").arg("strip").arg(conf))).unwrap();
        run_ok(Command::new("wg").args(["setconf", &interface]).arg(&stripped));
        let addresses = values("Address");
        for address in &addresses {
            space.ip(&["addr", "add", address, "dev", &interface, "nodad"]);
        }
        space.ip(&["link", "set", &interface, "mtu", &values("MTU")[0], "up"]);
        let addresses = addresses.iter().map(|one| one.split('/').next().unwrap().to_owned()).collect();
        Self { addresses, resolvers: values("DNS"), interface, _program: running }
    }
}

/// Whether a host gets an answer from an address within a second.
#[must_use]
pub fn reaches(space: &Namespace, address: &str) -> bool {
    run(space.command("ping").args(["-c", "1", "-W", "1", address])).status.success()
}

/// What a resolver tells a host of a name; nothing where it tells nothing.
#[must_use]
pub fn looks_up(space: &Namespace, resolver: &str, name: &str, kind: &str) -> String {
    let mut dig = space.command("dig");
    let output = run(dig.args([&format!("@{resolver}"), "+short", "+time=2", "+tries=2", name, kind]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
