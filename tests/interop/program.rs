//! The program itself: how it starts and ends, and what `wg` and `wg-quick` do with it.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use support::{Host, binary, eventually, run, run_ok};

use crate::lab::{Lab, Program, SOCKETS};

fn is_there(host: &Host, interface: &str) -> bool {
    run(Command::new("ip").args(["-n", &host.name, "link", "show", interface])).status.success()
}

#[test]
fn it_goes_to_the_background_once_wg_can_use_it_and_ends_with_the_interface() {
    let lab = Lab::new();
    let host = Host::new(&lab.bridge, 9);
    run_ok(host.command(binary("lacis-tunnel")).arg("wgbg"));
    let socket = Path::new(SOCKETS).join("wgbg.sock");
    assert_eq!(run_ok(Command::new("wg").args(["show", "wgbg", "peers"])), "");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(Path::new(SOCKETS))), (0o600, 0o700));
    assert!(host.ip(&["link", "show", "wgbg"]).contains("mtu 1420"));
    let again = run(host.command(binary("lacis-tunnel")).arg("wgbg"));
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("another program serves"));
    host.ip(&["link", "del", "wgbg"]);
    eventually("the socket is gone", || (!socket.exists()).then_some(()));
}

#[test]
fn it_ends_by_signal_or_when_its_socket_or_interface_is_removed() {
    for program in [Program::Lacis, Program::LacisOnTwoShards] {
        for way in ["signal", "socket", "interface"] {
            let lab = Lab::new();
            let mut side = lab.side(1, program);
            let code = match way {
                "signal" => side.process().terminate(),
                "socket" => {
                    std::fs::remove_file(side.socket()).unwrap();
                    side.process().exit_code()
                }
                _ => {
                    side.host.ip(&["link", "del", "wg1"]);
                    side.process().exit_code()
                }
            };
            assert_eq!(code, Some(0), "{program:?}, {way}: {}", side.process().log());
            assert!(!side.socket().exists() && !is_there(&side.host, "wg1"), "{program:?}, {way}");
        }
    }
}

#[test]
fn wrong_calls_are_explained() {
    let lab = Lab::new();
    let host = Host::new(&lab.bridge, 9);
    for (arguments, code, says) in [
        (&["--help"][..], 0, "usage"),
        (&["--version"], 0, "lacis-tunnel"),
        (&[], 2, "interface"),
        (&["-x", "wg0"], 2, "unknown option"),
        (&["-f", "a-name-much-too-long"], 1, "not a name for an interface"),
        (&["a-name-much-too-long"], 1, "not a name for an interface"),
    ] {
        let output = run(host.command(binary("lacis-tunnel")).args(arguments));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.code() == Some(code) && text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn a_configuration_goes_in_and_comes_out_unchanged() {
    let lab = Lab::new();
    let side = lab.side(1, Program::Lacis);
    let key = |what: &str| run_ok(Command::new("wg").arg(what)).trim().to_owned();
    let (private, preshared) = (key("genkey"), key("genpsk"));
    let peers = ["192.0.2.7:1", "[2001:db8::7]:2"].map(|at| (key("genkey"), at));
    let mut text = format!("[Interface]\nListenPort = 5555\nFwMark = 0x7\nPrivateKey = {private}\n");
    for (number, (peer, at)) in peers.iter().enumerate() {
        text += &format!(
            "\n[Peer]\nPublicKey = {peer}\nPresharedKey = {preshared}\n\
             AllowedIPs = 10.9.{number}.0/24, fd00:a{number}::/64\nEndpoint = {at}\nPersistentKeepalive = 25\n"
        );
    }
    let path = lab.dir.path().join("wg.conf");
    std::fs::write(&path, &text).unwrap();
    let sections = |text: &str| {
        let mut sections: Vec<Vec<String>> = text
            .split("\n\n")
            .map(|section| section.lines().map(|line| line.trim().to_owned()).collect())
            .collect();
        sections.iter_mut().for_each(|lines| lines.sort_unstable());
        sections.sort_unstable();
        sections
    };
    for way in ["setconf", "syncconf"] {
        run_ok(Command::new("wg").args([way, "wg1"]).arg(&path));
        let shown = run_ok(Command::new("wg").args(["showconf", "wg1"]));
        assert_eq!(sections(shown.trim()), sections(text.trim()), "{way}");
    }
    side.wg(&["peer", &peers[0].0, "remove", "peer", &peers[1].0, "allowed-ips", "10.8.0.0/16"]);
    let left = side.show("allowed-ips");
    assert_eq!(left, format!("{}\t10.8.0.0/16", peers[1].0));
    side.wg(&["private-key", "/dev/null", "fwmark", "0"]);
    assert_eq!((side.show("private-key"), side.show("fwmark")), ("(none)".into(), "off".into()));
}

#[test]
fn syncconf_leaves_the_session_alone() {
    let lab = Lab::new();
    let (one, two) = lab.pair(Program::Lacis);
    one.must_reach(&two);
    let handshakes = one.counter("handshakes");
    let path = lab.dir.path().join("wg.conf");
    std::fs::write(&path, run_ok(Command::new("wg").args(["showconf", "wg1"]))).unwrap();
    run_ok(Command::new("wg").args(["syncconf", "wg1"]).arg(&path));
    one.must_reach(&two);
    assert_eq!(one.counter("handshakes"), handshakes);
}

#[test]
fn wg_quick_brings_a_tunnel_up_and_down() {
    let lab = Lab::new();
    let far = lab.side(2, Program::Lacis);
    let near = Host::new(&lab.bridge, 3);
    let key = |what: &str| run_ok(Command::new("wg").arg(what)).trim().to_owned();
    let private = key("genkey");
    let public = run_ok(Command::new("sh").args(["-c", "echo \"$0\" | wg pubkey", &private]));
    far.wg(&["peer", public.trim(), "allowed-ips", "10.66.0.3/32"]);
    let path = lab.dir.path().join("wgq.conf");
    let text = format!(
        "[Interface]\nPrivateKey = {private}\nAddress = 10.66.0.3/24\nMTU = 1400\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.66.0.0/24\nEndpoint = {}:51820\n",
        far.public,
        far.host.v4()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let quick = |what: &str| {
        let mut command = near.command("env");
        let ours = format!("WG_QUICK_USERSPACE_IMPLEMENTATION={}", binary("lacis-tunnel").display());
        run_ok(command.arg(ours).args(["wg-quick", what]).arg(&path))
    };
    quick("up");
    assert!(near.ip(&["link", "show", "wgq"]).contains("mtu 1400"));
    let ping = ["-c", "1", "-W", "1", &far.overlay];
    eventually("the far side answers", || {
        run(near.command("ping").args(ping)).status.success().then_some(())
    });
    quick("down");
    eventually("the interface is gone", || (!is_there(&near, "wgq")).then_some(()));
    assert!(!Path::new(SOCKETS).join("wgq.sock").exists());
}

#[test]
fn all_traffic_can_be_allowed_and_sources_are_still_checked() {
    let lab = Lab::new();
    let (one, two) = lab.pair(Program::Lacis);
    one.wg(&["peer", &two.public, "allowed-ips", "0.0.0.0/0,::/0"]);
    two.host.ip(&["addr", "add", "198.51.100.7/32", "dev", "lo"]);
    one.host.ip(&["route", "add", "198.51.100.0/24", "dev", "wg1"]);
    let reaches = || {
        let ping = ["-c", "1", "-W", "1", "198.51.100.7"];
        run(one.host.command("ping").args(ping)).status.success()
    };
    eventually("an address behind the peer answers", || reaches().then_some(()));
    one.wg(&["peer", &two.public, "allowed-ips", "198.51.100.0/25"]);
    eventually("a narrower prefix is enough", || reaches().then_some(()));
    let dropped = one.counter("drop_source");
    two.reaches(&one, "0");
    assert!(one.counter("drop_source") > dropped, "10.66.0.2 is no longer the peer's");
}
