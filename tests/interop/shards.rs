//! `lacis-tunnel` on two shards: peers of both at once, through a device with two queues.

use support::{Process, binary, eventually, run, run_ok};

use crate::lab::{Lab, Program, SOCKETS, Side};

/// A hub on two shards, and peers of both by turns.
fn star(lab: &Lab, peers: u8) -> (Side, Vec<Side>) {
    let hub = lab.side(1, Program::LacisOnTwoShards);
    let ends: Vec<_> =
        (0..peers).map(|n| lab.side_of_shard(10 + n, Program::LacisOnTwoShards, n % 2)).collect();
    for end in &ends {
        hub.knows(end, &[]);
        end.knows(&hub, &[]);
    }
    (hub, ends)
}

fn serve(lab: &Lab, end: &Side) -> Process {
    let path = lab.dir.path().join(format!("{}.iperf", end.interface));
    Process::start(end.host.command("iperf3").args(["-s", "--forceflush"]), &path)
}

/// One of the kernel's counts of TCP on a host.
fn tcp_count(side: &Side, name: &str) -> u64 {
    let text = run_ok(side.host.command("cat").arg("/proc/net/netstat"));
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(values).find(|(found, _)| *found == name).unwrap().1.parse().unwrap()
}

#[test]
fn peers_of_both_shards_are_reached_and_reach_us() {
    let lab = Lab::new();
    let (hub, ends) = star(&lab, 6);
    let queues = hub.host.command("ls").arg("/sys/class/net/wg1/queues").output().unwrap();
    assert!(String::from_utf8_lossy(&queues.stdout).contains("rx-1"), "{queues:?}");
    for (n, end) in ends.iter().enumerate() {
        if n % 4 < 2 {
            hub.must_reach(end)
        } else {
            end.must_reach(&hub)
        }
        for size in ["0", "1392", "8000"] {
            eventually("both ways", || (hub.reaches(end, size) && end.reaches(&hub, size)).then_some(()));
        }
    }
    assert_eq!(hub.counter("tunnels"), 6);
    assert_eq!(hub.counter("drop_unknown_index") + hub.counter("drop_authentication"), 0);
    assert!(hub.counter("parcels_out") > 0, "initiations reach the other shard");
}

#[test]
fn streams_of_both_shards_stay_in_order() {
    let lab = Lab::new();
    let (hub, ends) = star(&lab, 2);
    ends.iter().for_each(|end| hub.must_reach(end));
    let mut servers: Vec<_> = ends.iter().map(|end| serve(&lab, end)).collect();
    for server in &mut servers {
        while !server.line().contains("listening") {}
    }
    for way in [&[][..], &["-R"], &["--bidir"]] {
        let clients: Vec<_> = ends
            .iter()
            .map(|end| {
                let mut client = hub.host.command("iperf3");
                client.args(["-c", &end.overlay, "-t", "2", "-J"]).args(way);
                std::thread::spawn(move || run_ok(&mut client))
            })
            .collect();
        for client in clients {
            let result: serde_json::Value = serde_json::from_str(&client.join().unwrap()).unwrap();
            let bytes = result["end"]["sum_received"]["bytes"].as_u64().unwrap();
            assert!(bytes > 1_000_000, "{way:?}: {bytes}");
        }
    }
    for side in ends.iter().chain([&hub]) {
        assert_eq!(tcp_count(side, "TCPOFOQueue"), 0, "{} received out of order", side.interface);
    }
    assert_eq!(hub.counter("drop_parcels_full"), 0);
}

#[test]
fn streams_between_peers_of_different_shards_stay_in_order() {
    let lab = Lab::new();
    let (hub, ends) = star(&lab, 2);
    run_ok(hub.host.command("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]));
    for end in &ends {
        end.wg(&["peer", &hub.public, "allowed-ips", "10.66.0.0/24"]);
        hub.must_reach(end);
    }
    ends[0].must_reach(&ends[1]);
    let mut server = serve(&lab, &ends[1]);
    while !server.line().contains("listening") {}
    for way in [&[][..], &["-R"], &["--bidir"]] {
        let mut client = ends[0].host.command("iperf3");
        run_ok(client.args(["-c", &ends[1].overlay, "-t", "2", "-J"]).args(way));
    }
    for end in &ends {
        assert_eq!(tcp_count(end, "TCPOFOQueue"), 0, "{} received out of order", end.interface);
    }
}

#[test]
fn an_interface_of_several_queues_belongs_to_one_program() {
    let lab = Lab::new();
    let side = lab.side(1, Program::LacisOnTwoShards);
    // With a folder of sockets of its own, the second program finds only the interface in use.
    let apart = "mount -t tmpfs none \"$0\" && exec \"$@\"";
    for shards in ["1", "2"] {
        let mut again = side.host.command("unshare");
        again.args(["--mount", "sh", "-c", apart, SOCKETS]).arg(binary("lacis-tunnel"));
        let again = run(again.args(["-f", "--shards", shards, "wg1"]));
        let text = String::from_utf8_lossy(&again.stderr);
        assert!(!again.status.success() && text.contains("in use"), "{text}");
    }
    assert!(side.show("public-key").starts_with(&side.public));
}
