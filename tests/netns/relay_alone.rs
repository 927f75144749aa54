//! A relay alone: over TLS as well as over datagrams, killed and started again, and those whom control has put out.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use support::{Host, Process, binary, eventually, eventually_within, run, run_ok};

use crate::{
    degraded::Disk,
    full_disk::fill,
    lab::{Lab, Node},
    relayed::{UNREFRESHED, assert_over_tls, block_udp, part},
};

/// A relay alone on a host of its own, of which nodes are told.
pub(crate) struct Alone {
    pub(crate) host: Host,
    pub(crate) label: String,
    state: PathBuf,
    log: PathBuf,
    /// Further arguments of `lacis-control relay`.
    options: Vec<String>,
    control_key: String,
    process: Option<Process>,
}

impl Alone {
    pub(crate) fn new(lab: &Lab, number: u8) -> Self {
        Self::make(lab, number, Vec::new(), |tell| tell)
    }

    /// One that shows a certificate of an authority of this host; gives the authority's, in PEM.
    fn certified(lab: &Lab, number: u8) -> (Self, PathBuf) {
        let path = |name: &str| lab.dir.path().join(format!("{name}.pem"));
        let [certificate, key, authority] = ["relay", "relay-key", "authority"].map(path);
        let mut of_ca = CertificateParams::new(Vec::new()).unwrap();
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        fs::write(&authority, of_ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![format!("192.0.2.{number}")]).unwrap();
        let own = own.signed_by(&own_key, &Issuer::new(of_ca, ca_key)).unwrap();
        fs::write(&certificate, own.pem()).unwrap();
        fs::write(&key, own_key.serialize_pem()).unwrap();
        let shown = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        (Self::make(lab, number, shown.map(str::to_owned).into(), |tell| tell), authority)
    }

    /// One whose members find it at another port, where somebody passes datagrams on, and not over TLS.
    pub(crate) fn behind(lab: &Lab, number: u8, port: u16) -> Self {
        Self::make(lab, number, Vec::new(), |tell| {
            tell.split(" --tls").next().unwrap().replace(":3478", &format!(":{port}"))
        })
    }

    fn make(lab: &Lab, number: u8, options: Vec<String>, told: impl FnOnce(String) -> String) -> Self {
        let status = run_ok(&mut lab.control(&["status", "--format", "json"]));
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let label = format!("relay-{number}");
        let mut alone = Self {
            host: Host::new(&lab.bridge, number),
            state: lab.dir.path().join(&label),
            log: lab.dir.path().join(format!("{label}.log")),
            options,
            control_key: status["key"].as_str().unwrap().to_owned(),
            process: None,
            label,
        };
        let tell = told(alone.start());
        let named = ["relay-map", "add", "--label", &alone.label];
        let tell: Vec<&str> = named.into_iter().chain(tell.split(' ')).collect();
        run_ok(&mut lab.control(&tell));
        alone
    }

    /// Starts it, and gives the arguments by which control is told of it.
    pub(crate) fn start(&mut self) -> String {
        let mut command: Command = self.host.command(binary("lacis-control"));
        command.arg("relay").args(["--control-key", &self.control_key, "--metrics", "127.0.0.1:9478"]);
        command.arg("--state").arg(&self.state).args(&self.options);
        let mut process = Process::start(&mut command, &self.log);
        let tell = loop {
            if let Some((_, tell)) = process.line().split_once("relay-map add ") {
                break tell.trim_end().replace("ADDR", &self.host.v4());
            }
        };
        self.process = Some(process);
        tell
    }

    /// Kills it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// What it answers on its inner address.
    fn ask(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:9478{path}");
        run_ok(self.host.command("curl").args(["-sSf", "--max-time", "5", &url]))
    }

    fn figure(&self, name: &str) -> u64 {
        let text = self.ask("/metrics");
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.trim().parse().unwrap()
    }

    fn refused(&self) -> u64 {
        self.figure("lacis_relay_dropped_total{reason=\"forged\"} ")
    }

    fn leases(&self) -> u64 {
        self.figure("lacis_relay_leases ")
    }
}

/// A control without a relay.
pub(crate) fn without_a_relay() -> Lab {
    let mut lab = Lab::new();
    let ready = lab.ready.clone();
    lab.stop_control();
    lab.start_control_with(&["--no-relay"]);
    lab.ready = ready;
    lab
}

/// A control without a relay, one alone, and two nodes that are kept apart.
fn alone_with_two_nodes() -> (Lab, Alone, Node, Node) {
    let lab = without_a_relay();
    let alone = Alone::new(&lab, 21);
    let (web, db) = parted(&lab);
    (lab, alone, web, db)
}

fn parted(lab: &Lab) -> (Node, Node) {
    let (web, db) = (lab.node(2, "web"), lab.node(3, "db"));
    part(&web, &db);
    (web, db)
}

/// Keeps a node from control, which can tell it nothing then, on a stream that is open either.
fn keep_from_control(lab: &Lab, node: &Node) {
    let (v4, v6) = (lab.host.v4(), lab.host.v6());
    let rules = format!(
        "table inet no_control {{ chain c_out {{ type filter hook output priority filter; policy accept; \
         ip daddr {v4} reject; ip6 daddr {v6} reject; }}; \
         chain c_in {{ type filter hook input priority filter; policy accept; \
         ip saddr {v4} drop; ip6 saddr {v6} drop; }}; }}"
    );
    run_ok(node.host.command("nft").arg(rules));
}

#[test]
fn a_node_without_udp_goes_through_the_tls_of_a_relay_alone_and_again_after_it_was_killed() {
    let (lab, mut alone, mut web, mut db) = alone_with_two_nodes();
    block_udp(&web);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    assert_over_tls(&web);
    assert_eq!(alone.figure("lacis_relay_streams "), 1);
    for (path, answer) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        assert_eq!(alone.ask(path), answer);
    }
    for file in ["relay.key", "ca.key", "revoked"] {
        let mode = fs::metadata(alone.state.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    alone.kill();
    alone.start();
    eventually_within(UNREFRESHED, "web reaches db again", || web.reaches("db").then_some(()));
    assert_over_tls(&web);
}

#[test]
fn a_relay_whose_certificate_is_of_a_public_authority_is_believed_by_hosts_that_know_it_alone() {
    let lab = without_a_relay();
    let (alone, authority) = Alone::certified(&lab, 21);
    let (mut web, mut db) = parted(&lab);
    db.up(Some(&lab.token()));
    block_udp(&web);
    web.up(Some(&lab.token()));
    let shown = || web.lacis(&["netcheck", "--format", "json"]);
    let told = |shown: &mut Command| String::from_utf8_lossy(&run(shown).stdout).into_owned();
    eventually("the stranger's certificate is refused", || {
        told(&mut shown()).contains("UnknownIssuer").then_some(())
    });
    assert_eq!(alone.figure("lacis_relay_streams "), 0);
    web.kill();
    web.env = vec![("SSL_CERT_FILE", authority.display().to_string())];
    web.up(None);
    web.wait("db");
    assert_over_tls(&web);
}

#[test]
fn a_relay_whose_disk_is_full_refuses_all_the_same_and_says_that_it_may_forget() {
    let lab = without_a_relay();
    let folder = lab.dir.path().join("relay-21");
    let _disk = Disk::mount(&folder);
    let mut alone = Alone::new(&lab, 21);
    let (mut web, mut db) = parted(&lab);
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    assert_eq!(alone.leases(), 2);
    keep_from_control(&lab, &db);
    fill(&folder.join("fill"));
    run_ok(&mut lab.control(&["node", "revoke", "db"]));
    eventually("its lease ends", || (alone.leases() == 1).then_some(()));
    eventually("the relay says so", || {
        alone.ask("/readyz").contains("degraded: revocations_not_written").then_some(())
    });
    fs::remove_file(folder.join("fill")).unwrap();
    eventually("control tells it again until it is written", || {
        (fs::metadata(folder.join("revoked")).unwrap().len() == 144).then_some(())
    });
    eventually("all is well", || (alone.ask("/readyz") == "ready\n").then_some(()));
    alone.kill();
    alone.start();
    assert_refused(&alone, &mut db);
}

#[test]
fn a_node_that_was_revoked_is_refused_by_a_relay_that_was_killed_and_started_again_without_control() {
    let (mut lab, mut alone, mut web, mut db) = alone_with_two_nodes();
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    assert_eq!(alone.leases(), 2);
    keep_from_control(&lab, &db);
    run_ok(&mut lab.control(&["node", "revoke", "db"]));
    eventually("its lease ends", || (alone.leases() == 1).then_some(()));
    // It may have been told in answer to what was under way; what counts is the disk.
    lab.kill_control();
    alone.kill();
    alone.start();
    assert_refused(&alone, &mut db);
    // Whoever damages what is kept is told of, and the relay goes on.
    alone.kill();
    fs::write(alone.state.join("revoked"), "garbage").unwrap();
    alone.start();
    let told = alone.ask("/readyz");
    assert!(told.contains("degraded: revocations_damaged"), "{told}");
    lab.start_control_with(&["--no-relay"]);
    eventually("control tells it again", || {
        fs::metadata(alone.state.join("revoked")).is_ok_and(|kept| kept.len() == 144).then_some(())
    });
    assert_refused(&alone, &mut db);
}

#[test]
fn a_revocation_that_nobody_has_taken_outlives_a_control_that_is_killed() {
    let (mut lab, mut alone, mut web, mut db) = alone_with_two_nodes();
    web.up(Some(&lab.token()));
    db.up(Some(&lab.token()));
    web.wait("db");
    keep_from_control(&lab, &db);
    alone.kill();
    run_ok(&mut lab.control(&["node", "revoke", "db"]));
    lab.kill_control();
    alone.start();
    eventually_within(UNREFRESHED, "both come back, for all that the relay knows", || {
        (alone.leases() == 2).then_some(())
    });
    lab.start_control_with(&["--no-relay"]);
    eventually("its lease ends", || (alone.leases() == 1).then_some(()));
    assert_refused(&alone, &mut db);
}

/// Has a node that is out start anew with what it has on disk, and sees the relay refuse it.
#[track_caller]
fn assert_refused(alone: &Alone, out: &mut Node) {
    eventually_within(UNREFRESHED, "the other one is there", || (alone.leases() == 1).then_some(()));
    let before = alone.refused();
    out.kill();
    out.start_again();
    eventually("it asks and is refused", || (alone.refused() > before).then_some(()));
    assert_eq!(alone.leases(), 1);
    let shown = run(&mut out.lacis(&["status", "--format", "json"]));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(!shown.contains("\"transport\":\"udp\""), "{shown}");
}
