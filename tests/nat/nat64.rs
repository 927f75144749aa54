//! A network of IPv6 alone with a NAT64 (tayga) and its resolver (dnsmasq): control, relay and peer have IPv4 alone.

use std::{fs, path::Path, process::Command};

use support::{Process, eventually, run, run_ok};

use crate::{
    kind::Kind,
    matrix::{DIRECT_WITHIN, HALF},
    mesh::Mesh,
    pair::{Class, meet},
    site::Site,
};

/// Its prefix. The well-known one may not lead to addresses of documentation (RFC 6052 §3.1), which the laboratory has.
const PREFIX: &str = "2001:db8:64::/96";

/// What the resolver says that the known name has: 192.0.0.170 behind the prefix.
const KNOWN: &str = "2001:db8:64::c000:aa";

/// A NAT64 in a site's router, and the resolver that knows of it.
struct Nat64 {
    _daemons: [Process; 2],
}

impl Nat64 {
    /// Whether there are the programs for it; said aloud where not.
    fn is_installed() -> bool {
        let found =
            run(Command::new("sh").args(["-c", "command -v tayga && command -v dnsmasq"])).status.success();
        if !found {
            println!("passed over, not installed: tayga or dnsmasq");
        }
        found
    }

    /// Starts both in the router of a site with IPv6, and takes IPv4 from its first client. What comes out of the NAT64
    /// meets the router's own NAT.
    fn start(site: &Site, folder: &Path) -> Self {
        let config = folder.join("tayga.conf");
        let text = format!(
            "tun-device nat64\nipv4-addr 192.168.255.1\nipv6-addr 2001:db8:1::64\nprefix {PREFIX}\n\
             dynamic-pool 192.168.255.0/24\ndata-dir {}\n",
            folder.display()
        );
        fs::write(&config, text).unwrap();
        let router = &site.router;
        run_ok(router.command("tayga").arg("--mktun").arg("-c").arg(&config));
        router.sh(&format!(
            "ip link set nat64 up
             ip addr add 192.168.255.254 dev nat64
             ip route add 192.168.255.0/24 dev nat64
             ip route add {PREFIX} dev nat64"
        ));
        let mut translator = router.command("tayga");
        translator.arg("-d").arg("-c").arg(&config);
        let translator = Process::start(&mut translator, &folder.join("tayga.log"));
        let mut resolver = router.command("dnsmasq");
        resolver.args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
        ]);
        resolver.args([
            "--pid-file=",
            "--port=53",
            &format!("--host-record=ipv4only.arpa,192.0.0.170,{KNOWN}"),
        ]);
        let resolver = Process::start(&mut resolver, &folder.join("dnsmasq.log"));
        let client = site.client();
        client.ip(&["-4", "addr", "flush", "dev", "eth0"]);
        fs::write(client.resolv_conf(), "nameserver 2001:db8:1::1\n").unwrap();
        eventually("the resolver tells of the NAT64", || {
            run(client.command("getent").args(["ahostsv6", "ipv4only.arpa"])).status.success().then_some(())
        });
        Self { _daemons: [translator, resolver] }
    }
}

#[test]
fn a_node_without_ipv4_joins_and_meets_one_that_has_nothing_else_by_the_nat64_of_its_network() {
    if !Nat64::is_installed() {
        return;
    }
    let mut mesh = Mesh::new(HALF);
    let mut sites = [1, 2].map(|number| Site::new(&mut mesh.internet, number, Kind::PortRestricted));
    sites[0].add_v6(&mesh.server);
    let _nat64 = Nat64::start(&sites[0], mesh.dir.path());
    let nodes = [(0, "one"), (1, "two")]
        .map(|(at, name): (usize, _)| mesh.joined(sites[at].client(), name, &["--no-portmap"]));
    nodes[0].knows("two");
    nodes[1].knows("one");
    nodes.iter().for_each(|node| node.has_a_relay());
    let netcheck = run_ok(&mut nodes[0].lacis(&["netcheck", "--format", "json"]));
    let netcheck: serde_json::Value = serde_json::from_str(&netcheck).unwrap();
    assert_eq!(netcheck["nat64"], PREFIX, "{netcheck}");
    // The agent answers the host's names by now, and asks the former resolver about those of others.
    let known = run_ok(sites[0].client().command("getent").args(["ahostsv6", "ipv4only.arpa"]));
    assert!(known.contains(KNOWN), "{known}");
    let seen = meet(&mesh, &nodes[0], &[sites[0].outer(0)], &nodes[1], DIRECT_WITHIN);
    println!("IPv6 alone behind a NAT64, IPv4 alone: {seen}");
    assert_eq!(seen.class, Class::Direct, "{seen}");
}
