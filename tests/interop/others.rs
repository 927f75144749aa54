//! Sessions with other programs: both roles, preshared keys, new keys, moves, keepalives.

use std::process::Command;

use support::{eventually, run, run_ok};

use crate::lab::{Lab, Program, Side};

/// Runs a test with every other program that is installed, on one shard and on two, and with ourselves.
fn with_each(test: impl Fn(&Lab, Side, Side)) {
    let on_one = Program::all().into_iter().map(|other| (Program::Lacis, other));
    let on_two = Program::others().into_iter().map(|other| (Program::LacisOnTwoShards, other));
    for (one, two) in on_one.chain(on_two) {
        println!("{one:?} with {two:?}");
        let lab = Lab::new();
        let (ours, theirs) = lab.pair_of(one, two);
        test(&lab, ours, theirs);
    }
}

#[track_caller]
fn talk(one: &Side, two: &Side) {
    for (from, to) in [(one, two), (two, one)] {
        for size in ["0", "1300", "1392", "8000"] {
            let what = format!("{:?} sends {size} bytes to {:?}", from.program, to.program);
            eventually(&what, || from.reaches(to, size).then_some(()));
        }
    }
    // boringtun-cli tells the age of the handshake instead of its time.
    assert!([one, two].iter().all(|side| side.program == Program::Boringtun || side.last_handshake() > 0));
    assert!(one.received() > 16_000 && two.received() > 16_000);
}

#[test]
fn either_side_may_begin_and_packets_of_all_sizes_go_both_ways() {
    for ours_begins in [true, false] {
        with_each(|_, ours, theirs| {
            let (first, second) = if ours_begins { (&ours, &theirs) } else { (&theirs, &ours) };
            first.must_reach(second);
            talk(&ours, &theirs);
        });
    }
}

#[test]
fn streams_go_both_ways() {
    with_each(|_, ours, theirs| stream(&ours, &theirs));
}

/// One side without any offload of the kernel: each packet is a system call of its own there.
#[test]
fn without_offloads_everything_goes_as_well() {
    for other in [Program::Lacis, Program::LacisWithoutOffloads] {
        let lab = Lab::new();
        let (plain, other) = lab.pair_of(Program::LacisWithoutOffloads, other);
        plain.must_reach(&other);
        talk(&plain, &other);
        stream(&plain, &other);
        let names = ["device_frames_out", "device_packets_out", "trains_out", "datagrams_out"];
        let [frames, packets, trains, datagrams] = plain.counters(names);
        assert_eq!(frames, packets, "packets are written one by one");
        assert_eq!(trains, datagrams, "and sent one by one");
    }
}

#[track_caller]
fn stream(ours: &Side, theirs: &Side) {
    let path = std::env::temp_dir().join(format!("iperf-{}.log", ours.host.name));
    let mut server = theirs.host.command("iperf3");
    let mut serving = support::Process::start(server.args(["-s", "--forceflush"]), &path);
    while !serving.line().contains("listening") {}
    for way in [&["-P", "2"][..], &["-R"], &["--bidir"]] {
        // On a busy machine iperf3 sometimes ends without a result.
        let bytes = eventually(&format!("a stream, {:?} {way:?}", theirs.program), || {
            let mut client = ours.host.command("iperf3");
            let output = run(client.args(["-c", &theirs.overlay, "-t", "1", "-J"]).args(way));
            let result: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            result["end"]["sum_received"]["bytes"].as_u64()
        });
        assert!(bytes > 1_000_000, "{:?} {way:?}: {bytes}", theirs.program);
    }
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_preshared_key_is_needed_on_both_sides() {
    with_each(|lab, ours, theirs| {
        let path = lab.dir.path().join("psk");
        std::fs::write(&path, run_ok(Command::new("wg").arg("genpsk"))).unwrap();
        let key = ["preshared-key", path.to_str().unwrap()];
        ours.knows(&theirs, &key);
        assert!(!ours.reaches(&theirs, "0") && !theirs.reaches(&ours, "0"));
        // Some programs take a key for a peer that is new alone.
        theirs.forgets(&ours);
        theirs.knows(&ours, &key);
        theirs.must_reach(&ours);
        talk(&ours, &theirs);
        let shown = ours.show("preshared-keys");
        assert!(shown.contains(std::fs::read_to_string(&path).unwrap().trim()), "{shown}");
    });
}

#[test]
fn new_sessions_are_made_when_either_side_forgot_the_old_one() {
    with_each(|_, ours, theirs| {
        ours.must_reach(&theirs);
        for round in 0..3 {
            let (forgetful, other) = if round == 1 { (&theirs, &ours) } else { (&ours, &theirs) };
            let before = ours.counter("handshakes");
            forgetful.forgets(other);
            forgetful.knows(other, &[]);
            // Once the forgetful side begins, once the side that still has a session.
            if round == 2 {
                other.must_reach(forgetful)
            } else {
                forgetful.must_reach(other)
            }
            talk(&ours, &theirs);
            assert!(ours.counter("handshakes") > before);
        }
    });
}

#[test]
fn a_program_that_was_killed_and_started_again_is_reached() {
    with_each(|_, mut ours, mut theirs| {
        ours.must_reach(&theirs);
        theirs.kill();
        theirs.start();
        theirs.knows(&ours, &[]);
        ours.must_reach(&theirs);
        ours.kill();
        ours.start();
        ours.knows(&theirs, &[]);
        theirs.must_reach(&ours);
        talk(&ours, &theirs);
    });
}

#[test]
fn another_private_key_takes_effect_at_once() {
    with_each(|lab, mut ours, theirs| {
        ours.must_reach(&theirs);
        let private = run_ok(Command::new("wg").arg("genkey"));
        let path = lab.dir.path().join("new.key");
        std::fs::write(&path, &private).unwrap();
        theirs.forgets(&ours);
        ours.wg(&["private-key", path.to_str().unwrap()]);
        ours.public = ours.show("public-key");
        theirs.knows(&ours, &[]);
        ours.must_reach(&theirs);
        talk(&ours, &theirs);
    });
}

#[test]
fn whoever_moves_is_followed() {
    with_each(|_, ours, theirs| {
        ours.must_reach(&theirs);
        for (moving, staying, new) in [(&theirs, &ours, "192.0.2.102"), (&ours, &theirs, "192.0.2.101")] {
            moving.host.ip(&["addr", "del", &format!("{}/24", moving.host.v4()), "dev", "eth0"]);
            moving.host.ip(&["addr", "add", &format!("{new}/24"), "dev", "eth0"]);
            moving.must_reach(staying);
            let expected = format!("{new}:51820");
            eventually(&format!("{:?} is at {expected}", moving.program), || {
                moving.reaches(staying, "0");
                staying.show("endpoints").ends_with(&expected).then_some(())
            });
            staying.must_reach(moving);
        }
    });
}

#[test]
fn another_port_is_followed() {
    with_each(|_, ours, theirs| {
        ours.must_reach(&theirs);
        ours.wg(&["listen-port", "51999"]);
        assert_eq!(ours.show("listen-port"), "51999");
        ours.must_reach(&theirs);
        eventually("the other side follows", || {
            ours.reaches(&theirs, "0");
            theirs.show("endpoints").ends_with(":51999").then_some(())
        });
        theirs.must_reach(&ours);
    });
}

#[test]
fn a_peer_is_sought_where_wg_says() {
    with_each(|_, ours, theirs| {
        let wrong = format!("{}:9", theirs.host.v4());
        ours.wg(&["peer", &theirs.public, "endpoint", &wrong]);
        theirs.forgets(&ours);
        assert!(!ours.reaches(&theirs, "0"));
        theirs.knows(&ours, &[]);
        ours.wg(&["peer", &theirs.public, "endpoint", &format!("{}:51820", theirs.host.v4())]);
        ours.must_reach(&theirs);
    });
}

#[test]
fn keepalives_go_out_without_traffic() {
    with_each(|_, ours, theirs| {
        ours.wg(&["peer", &theirs.public, "persistent-keepalive", "1"]);
        eventually("the handshake comes by itself", || (ours.last_handshake() > 0).then_some(()));
        // Not every program counts keepalives, the cable does.
        let heard = || {
            let text = theirs.host.ip(&["-s", "-j", "link", "show", "eth0"]);
            let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
            shown[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
        };
        let before = heard();
        eventually("keepalives come in", || (heard() >= before + 5).then_some(()));
        assert!(ours.show("persistent-keepalive").ends_with("\t1"));
    });
}

#[test]
fn keepalives_of_others_are_taken_in() {
    with_each(|_, ours, theirs| {
        // boringtun-cli cannot change a peer that it has.
        theirs.forgets(&ours);
        theirs.knows(&ours, &["persistent-keepalive", "1"]);
        eventually("the handshake comes by itself", || (ours.last_handshake() > 0).then_some(()));
        let before = ours.counter("datagrams_in");
        eventually("keepalives come in", || (ours.counter("datagrams_in") >= before + 3).then_some(()));
        assert_eq!(ours.counter("drop_authentication") + ours.counter("drop_replay"), 0);
    });
}
