//! A stream that takes most of what its path carries, while the path becomes direct: nothing more is lost than without that.

use std::time::Duration;

use support::{pause, setting};

use crate::{
    bars::PATIENCE,
    kind::Kind,
    matrix::Arena,
    pair::{Class, Watch},
    stream::{Flow, Report, Stream},
};

/// Bytes of a packet's payload: with its header as long as the tunnel takes in whole blocks.
const LENGTH: usize = 1_172;

/// As long as such a packet is on the wire, through the relay: overlay header, sealed, the relay's header, framed.
const ON_THE_WIRE: u64 = 1_172 + 28 + 32 + 16 + 28 + 14;

/// Of what the uplink carries, so many in a hundred are used.
const SHARE: u64 = 70;

/// How long the stream goes on behind the switch, or without one.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// What the sender's uplink carries, in megabits a second. A machine with time to spare takes far more.
fn mbit() -> u64 {
    setting("LACIS_NAT_MBIT").unwrap_or(5)
}

/// What became of a stream.
struct Outcome {
    report: Report,
    /// Dropped by the receiver as seen before, though no copy of a packet accounts for it.
    replays: u64,
    too_old: u64,
}

fn run(arena: &mut Arena, switches: bool) -> Outcome {
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let (sea, [one, other]) = (arena.mesh.internet.sea(), arena.outer());
    sea.cut(one, other, true);
    let rate = u32::try_from(mbit() * 1_000_000 * SHARE / 100 / 8 / ON_THE_WIRE).unwrap();
    let flow = Flow { rate, length: LENGTH };
    let stream = Stream::start(&arena.nodes[0], &arena.nodes[1], flow);
    let mut watch = Watch::on(&arena.mesh, &[one], stream, flow);
    watch.until(Class::Relayed, PATIENCE).expect("the relay carries it");
    if switches {
        sea.cut(one, other, false);
        watch.until(Class::Direct, 4 * PATIENCE).expect("the path becomes direct");
    }
    pause(AFTERWARDS);
    let report = watch.end();
    let [sender, receiver] = &arena.nodes;
    let replays = receiver.figure("drop_replay").saturating_sub(sender.figure("copies_out"));
    Outcome { report, replays, too_old: receiver.figure("drop_too_old") }
}

#[test]
#[ignore = "takes half a minute, and a machine with time to spare: tests/nat-matrix runs it"]
fn a_switch_at_seventy_percent_of_the_paths_capacity_loses_no_more_than_none() {
    let mut arena = Arena::new();
    let uplink = format!("tc qdisc add dev wan root tbf rate {}mbit burst 10kb limit 100kb", mbit());
    arena.sites[0].router.sh(&uplink);
    let [without, with] = [false, true].map(|switches| run(&mut arena, switches));
    let lost = |outcome: &Outcome| outcome.report.lost_later();
    println!(
        "switch at {SHARE} % of {} Mbit/s: lost {} of {}, without a switch {} of {}; replays {}, too old {}; the bar is 0",
        mbit(),
        lost(&with),
        with.report.sent,
        lost(&without),
        without.report.sent,
        with.replays,
        with.too_old,
    );
    assert!(lost(&with) <= lost(&without), "{:?}, without a switch {:?}", with.report, without.report);
    assert_eq!((with.replays, with.too_old), (0, 0), "dropped as replayed or too old");
}
