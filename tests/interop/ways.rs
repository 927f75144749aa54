//! The underlay: both families, several addresses of a host, interfaces that go down, wide and narrow ways.

use std::process::Command;

use support::{Host, Process, eventually, run, run_ok};

use crate::lab::{Lab, Program, Side};

/// Makes each family carry the tunnels once: `of` tells the address of a host in it.
fn in_each_family(test: impl Fn(&Lab, &Side, &Side, &dyn Fn(&Host) -> String)) {
    for of in [&Host::v4 as &dyn Fn(&Host) -> String, &Host::v6] {
        let lab = Lab::new();
        let (one, two) = (lab.side(1, Program::Lacis), lab.side(2, Program::Lacis));
        for (side, other) in [(&one, &two), (&two, &one)] {
            side.knows_at(other, &of(&other.host), &[]);
        }
        test(&lab, &one, &two, of);
    }
}

/// The endpoint under which `side` knows its only peer, without the port.
fn endpoint(side: &Side) -> String {
    let shown = side.show("endpoints");
    let socket = shown.split('\t').nth(1).unwrap();
    socket.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).to_owned()
}

#[track_caller]
fn stream(from: &Side, to: &Side, arguments: &[&str]) -> serde_json::Value {
    let log = std::env::temp_dir().join(format!("iperf-{}.log", from.host.name));
    let mut server = Process::start(to.host.command("iperf3").args(["-s", "-1", "--forceflush"]), &log);
    while !server.line().contains("listening") {}
    let mut client = from.host.command("iperf3");
    let result = run_ok(client.args(["-c", &to.overlay, "-J"]).args(arguments));
    let _ = std::fs::remove_file(log);
    serde_json::from_str(&result).unwrap()
}

#[test]
fn both_families_go_inside_both_families() {
    in_each_family(|_, one, two, of| {
        one.must_reach(two);
        assert_eq!(endpoint(one), of(&two.host));
        for side in [one, two] {
            let address = format!("fd66::{}/64", side.host.number);
            side.host.ip(&["addr", "add", &address, "dev", &side.interface, "nodad"]);
        }
        for (side, other) in [(one, two), (two, one)] {
            let allowed = format!("{}/32,fd66::{}/128", other.overlay, other.host.number);
            side.wg(&["peer", &other.public, "allowed-ips", &allowed]);
        }
        for size in ["0", "1372", "8000"] {
            let ping = ["-6", "-c", "1", "-W", "5", "-s", size, "fd66::2"];
            run_ok(one.host.command("ping").args(ping));
        }
    });
}

#[test]
fn answers_leave_from_the_address_that_was_spoken_to() {
    in_each_family(|_, one, two, of| {
        let (second, prefix) = second_address(&one.host, of);
        one.host.ip(&["addr", "add", &prefix, "dev", "eth0"]);
        two.knows_at(one, &second, &[]);
        // Answers from elsewhere would move the endpoint there.
        for _ in 0..3 {
            two.must_reach(one);
            assert_eq!(endpoint(two), second);
        }
        one.must_reach(two);
        assert_eq!(endpoint(two), second);
    });
}

#[test]
fn traffic_moves_at_once_when_the_address_in_use_goes_away() {
    in_each_family(|_, one, two, of| {
        let (second, prefix) = second_address(&one.host, of);
        one.host.ip(&["addr", "add", &prefix, "dev", "eth0"]);
        two.knows_at(one, &second, &[]);
        two.must_reach(one);
        assert_eq!(endpoint(two), second);
        one.host.ip(&["addr", "del", &prefix, "dev", "eth0"]);
        // Fifty echoes in a second: one may be on its way when the address goes.
        let ping = ["-c", "50", "-i", "0.02", "-W", "1", &two.overlay];
        let printed = String::from_utf8(run(one.host.command("ping").args(ping)).stdout).unwrap();
        let answered = printed.lines().filter(|line| line.contains("time=")).count();
        assert!(answered >= 49, "{printed}");
        assert_eq!(endpoint(two), of(&one.host));
    });
}

/// One more address of a host in the family of `of`: alone, and with its prefix length and flags.
fn second_address(host: &Host, of: &dyn Fn(&Host) -> String) -> (String, String) {
    let first = of(host);
    let (head, separator) =
        first.rsplit_once(['.', ':']).map(|(head, _)| (head, &first[head.len()..])).unwrap();
    let (alone, length) =
        if separator.starts_with('.') { (format!("{head}.201"), 24) } else { (format!("{head}:c9"), 64) };
    (alone.clone(), format!("{alone}/{length}"))
}

#[test]
fn an_interface_that_was_down_goes_on_when_it_is_up_again() {
    in_each_family(|_, one, two, _| {
        one.must_reach(two);
        for link in [&one.interface[..], "eth0"] {
            one.host.ip(&["link", "set", link, "down"]);
            assert!(!one.reaches(two, "0"));
            one.host.ip(&["link", "set", link, "up"]);
            if link == "eth0" {
                // The kernel drops the global IPv6 addresses of a link that goes down.
                let address = format!("{}/64", one.host.v6());
                run(Command::new("ip").args([
                    "-n",
                    &one.host.name,
                    "addr",
                    "add",
                    &address,
                    "dev",
                    "eth0",
                    "nodad",
                ]));
            }
            one.must_reach(two);
            two.must_reach(one);
        }
    });
}

#[test]
fn jumbo_packets_pass_where_all_agree() {
    in_each_family(|lab, one, two, _| {
        lab.bridge.widen(9000);
        for side in [one, two] {
            side.host.ip(&["link", "set", "eth0", "mtu", "9000"]);
            side.host.ip(&["link", "set", &side.interface, "mtu", "8920"]);
        }
        one.must_reach(two);
        let whole = ["-c", "1", "-W", "5", "-M", "do", "-s", "8892", &two.overlay];
        eventually("a jumbo packet passes whole", || {
            run(one.host.command("ping").args(whole)).status.success().then_some(())
        });
        let result = stream(one, two, &["-t", "1"]);
        let bytes = result["end"]["sum_received"]["bytes"].as_u64().unwrap();
        assert!(bytes > 1_000_000, "{bytes}");
    });
}

#[test]
fn a_narrow_way_is_found_by_its_error_without_stalling_a_stream() {
    in_each_family(|lab, one, two, of| {
        let router = Host::new(&lab.bridge, 3);
        let (far, via) = (of(&two.host), of(&router));
        for setting in [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.send_redirects=0",
            "net.ipv4.conf.eth0.send_redirects=0",
        ] {
            run_ok(router.command("sysctl").args(["-qw", setting]));
        }
        run_ok(one.host.command("sysctl").args(["-qw", "net.ipv6.conf.eth0.accept_redirects=0"]));
        router.ip(&["route", "add", &far, "dev", "eth0", "mtu", "1300"]);
        one.host.ip(&["route", "add", &far, "via", &via]);
        one.must_reach(two);
        let result = stream(one, two, &["-t", "2", "-i", "0.5"]);
        let intervals = result["intervals"].as_array().unwrap();
        assert!(intervals.len() >= 4, "{}", intervals.len());
        for interval in intervals {
            let bytes = interval["sum"]["bytes"].as_u64().unwrap();
            assert!(bytes > 200_000, "the stream stalls: {interval}");
        }
        // Routers of IPv4 may cut packets instead of refusing them, and then there is no error.
        let route = one.host.ip(&["route", "get", &far]);
        assert!(far.contains('.') || route.contains("mtu 1300"), "no error came: {route}");
    });
}
