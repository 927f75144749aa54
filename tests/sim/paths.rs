//! Path agents against a modelled network: every pair of NAT kinds, bad luck, and how long things take, by seed.
//!
//! ```text
//! cargo test -p lacis-tests --test sim -- --paths 17     this seed, and what is sent in it
//! ```
//! The tunnel of the model refuses ways whose address nothing authentic ever came from, so that every run also checks
//! that data never goes to an address that is not proven.

mod birthday;
mod nat;
mod node;
mod world;

use std::time::Duration;

use lacis_agent_core::{PathEvent, Way};
use support::MEETINGS;

pub(crate) use self::birthday::share as birthday_share;
use self::{
    nat::Kind,
    world::{Weather, World},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Kinds that keep one outside address for all destinations and let answers in.
const CONES: [Kind; 5] = [Kind::P, Kind::F, Kind::Fc, Kind::Ar, Kind::Pr];

/// Long enough for every round that a clashed mapping may need.
const SETTLED: Duration = Duration::from_secs(60);

/// 20 ms one way between sites and between each site and the first relay: `R` is 80 ms, `d` 40 ms.
const FAIR: Weather = Weather { delay: Duration::from_millis(20), jitter_us: 2_000, loss_percent: 0 };

/// Losses, copies, and datagrams that overtake others by far.
const FOUL: Weather = Weather { delay: Duration::from_millis(20), jitter_us: 30_000, loss_percent: 5 };

/// The round trip through the first relay in fair weather.
const R: Duration = Duration::from_millis(80);

/// The bar of an upgrade for half of the pairs: R/2 + 2d + 50 ms.
const DIRECT_P50: Duration = Duration::from_millis(170);

/// The same for all but one in a hundred.
const DIRECT_P99: Duration = Duration::from_secs(1);

/// Where nothing is late: R in which both learn where the other is, d for a probe and its answer, and 20 ms for the second
/// probe that data waits for. One direct round trip more is 40 ms more.
const DIRECT_AT_BEST: Duration = Duration::from_millis(140);

/// A dead path is left within this.
const CUT_BAR: Duration = Duration::from_millis(2_500);

/// Tenths of a second between two heartbeats, at most.
const HEARTBEAT_PHASES: u64 = 34;

/// What is too long for a path that became narrow is cut to its size within this.
const NARROW_BAR: Duration = Duration::from_secs(3);

/// A peer that becomes reachable is reached within this: a round, and the shortest pause before it.
const REACHED_WITHIN: Duration = Duration::from_secs(3);

/// Data flows again within this after a restart.
const RESTART_BAR: Duration = Duration::from_secs(2);

/// A dead relay is left within this.
const RELAY_BAR: Duration = Duration::from_secs(3);

/// Probes that a stranger may draw beside the answers to what it plays again: those of some rounds.
const PROBES_OF_A_STRANGER: u64 = 100;

/// Frames of a relayed pair in twenty seconds in which somebody speaks against its relays: heartbeats of both, their answers,
/// four looks at each relay, and the later rounds of a pair that looks for something better.
const FRAMES_OF_A_LIAR: u64 = 80;

/// Of so many seeds one also meets by birthday probing: each is three pairs that talk for minutes.
const BIRTHDAY_EVERY: u64 = 8;

/// Bad luck, one kind for each seed in turn.
const MISFORTUNES: [fn(u64, bool); 22] = [
    foul_weather,
    cut,
    cut_one_way,
    becomes_narrow,
    nat_reboots,
    relay_dies,
    becomes_reachable,
    roams,
    both_roam,
    restarts,
    says_goodbye,
    sleeps,
    idles,
    one_speaks_after_a_rest,
    without_control,
    without_relay,
    replayed,
    neighbours,
    comes_late,
    relay_drops,
    relay_lies,
    without_ipv4,
];

/// Runs one seed: a pair of the matrix, one kind of bad luck, and now and then birthday probing.
pub(crate) fn run(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    pair(seed, index / 10 % 10, index % 10, is_told);
    MISFORTUNES[index % MISFORTUNES.len()](seed, is_told);
    if seed.is_multiple_of(BIRTHDAY_EVERY) {
        birthday::run(seed / BIRTHDAY_EVERY, is_told);
    }
}

/// How long `count` pairs behind cones take until data of both ends goes straight to the other: half of them, and all
/// but one in a hundred. Panics where a bar is missed.
pub(crate) fn bars(count: usize) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..count)
        .map(|run| {
            let kinds = [CONES[run % 5], CONES[run / 5 % 5]];
            let mut world = met(u64::try_from(run).unwrap(), kinds, FAIR, false);
            let begins = world.now;
            world.run_for(5 * S);
            let at = |from: usize, to: usize| world.nodes[from].tunnels[&to].direct_at;
            let both = at(0, 1).zip(at(1, 0)).map(|(one, other)| one.max(other));
            both.unwrap_or_else(|| panic!("{kinds:?} never met directly, run {run}")) - begins
        })
        .collect();
    times.sort();
    let (half, most) = (times[count / 2], times[count * 99 / 100]);
    check_exchange();
    assert!(half <= DIRECT_P50 && most <= DIRECT_P99, "direct after {half:?}, {most:?}");
    (half, most)
}

/// A direct path is in use after the least exchange that brings it about, whoever calls first and whoever's key is lesser.
/// The one that is called leads as well, as soon as it hears of it: what it proposes must not count for more.
fn check_exchange() {
    let still = Weather { jitter_us: 0, ..FAIR };
    for (caller, answers_after) in
        [0, 1].into_iter().flat_map(|caller| (0..8).map(move |n| (caller, n * 5 * MS)))
    {
        let mut world = World::new(1, &[(Kind::Pr, 1), (Kind::Pr, 2)], still, false);
        let begins = world.now;
        world.talk(caller, 1 - caller, 5 * MS, 5 * S);
        if answers_after < R / 2 - 5 * MS {
            world.run_for(answers_after);
            world.talk(1 - caller, caller, 5 * MS, 5 * S);
        }
        world.run_for(S);
        let direct = world.nodes[caller].tunnels[&(1 - caller)].direct_at.map(|at| at - begins);
        assert!(
            direct.is_some_and(|direct| direct <= DIRECT_AT_BEST),
            "{caller} calls, the other one does {answers_after:?} later: direct after {direct:?}"
        );
    }
}

/// Two nodes that begin to talk to each other.
fn met(seed: u64, kinds: [Kind; 2], weather: Weather, is_told: bool) -> World {
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], weather, is_told);
    chat(&mut world, SETTLED * 5);
    world
}

fn chat(world: &mut World, lasts: Duration) {
    world.talk(0, 1, 40 * MS, lasts);
    world.talk(1, 0, 40 * MS, lasts);
}

/// Two cones, reached directly after some seconds.
fn direct(seed: u64, is_told: bool) -> World {
    let index = usize::try_from(seed).unwrap();
    let mut world = met(seed, [CONES[index % 5], CONES[index / 5 % 5]], FAIR, is_told);
    world.run_for(10 * S);
    assert!(world.is_direct(0, 1), "not direct before anything happened");
    world
}

/// Nothing that was sent from `since` until a second ago was lost, but for what was sent within `within` of it.
#[track_caller]
fn check_flow(world: &World, since: Duration, within: Duration) {
    for (from, to) in [(0, 1), (1, 0)] {
        let lost = world.lost(from, to, since + within, world.now - S);
        assert!(lost.is_empty(), "{from} lost what it sent at {lost:?}; it happened at {since:?}");
    }
}

/// Two kinds meet in fair weather: as the matrix says, and nothing is lost on the way there.
fn pair(seed: u64, one: usize, other: usize, is_told: bool) {
    let kinds = [Kind::ALL[one], Kind::ALL[other]];
    let mut world = met(seed, kinds, FAIR, is_told);
    let begins = world.now;
    world.run_for(SETTLED);
    let expected = MEETINGS[one].as_bytes()[other] == b'D';
    assert_eq!(world.is_direct(0, 1), expected, "{kinds:?}: direct {}", !expected);
    check_flow(&world, begins, Duration::ZERO);
}

/// Losses and overtaking change nothing but the time that it takes.
fn foul_weather(seed: u64, is_told: bool) {
    let mut random = support::Random::new(seed);
    let (one, other) = (random.below(10), random.below(10));
    let mut world = met(seed, [Kind::ALL[one], Kind::ALL[other]], FOUL, is_told);
    // A clashed mapping may need one of the later rounds.
    world.run_for(SETTLED * 2);
    let expected = MEETINGS[one].as_bytes()[other] == b'D';
    let kinds = [Kind::ALL[one], Kind::ALL[other]];
    assert_eq!(world.is_direct(0, 1), expected, "{kinds:?} in foul weather");
}

/// The direct path dies, and comes back.
fn cut(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    let happens = world.now;
    world.cut = true;
    world.run_for(30 * S);
    assert!(!world.is_direct(0, 1));
    check_flow(&world, happens, CUT_BAR);
    world.cut = false;
    world.run_for(120 * S);
    assert!(world.is_direct(0, 1), "the path that came back is not used");
    check_flow(&world, happens, CUT_BAR);
}

/// The direct path under a stream that nobody answers dies, at any moment between two heartbeats.
fn cut_one_way(seed: u64, is_told: bool) {
    one_way_gap(seed, is_told);
}

/// For how long a stream that nobody answers comes to nothing when its direct path dies.
fn one_way_gap(seed: u64, is_told: bool) -> Duration {
    let index = usize::try_from(seed).unwrap();
    let kinds = [CONES[index % 5], CONES[index / 5 % 5]];
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, is_told);
    world.talk(0, 1, 20 * MS, SETTLED * 5);
    world.run_for(15 * S + 100 * MS * u32::try_from(seed % HEARTBEAT_PHASES).unwrap());
    let primary = world.nodes[0].tunnels[&1].ways.primary;
    assert!(primary.is_some_and(|way| way.is_direct()), "not direct before anything happened");
    let happens = world.now;
    world.cut = true;
    world.run_for(10 * S);
    let gap = world.gap(0, 1, happens);
    assert!(gap <= CUT_BAR, "{kinds:?}: a stream that nobody answers stood still for {gap:?}");
    gap
}

/// Lets `count` pairs of each kind meet with a NAT that counts on one side, behind which others open flows as well. Gives
/// how many of a kind go directly after ten seconds, of the kind of which fewest do.
pub(crate) fn counting_bar(count: u64) -> u64 {
    let kinds = [Kind::F, Kind::Pr, Kind::Lk].map(|other| [0, 5, 20, 50].map(|bustle| (other, bustle)));
    let direct = kinds.as_flattened().iter().map(|(other, bustle)| {
        let direct =
            (0..count).filter(|seed| meets_while_others_open_flows(*seed, *other, *bustle)).count() as u64;
        assert!(direct * 100 >= count * 95, "{other:?}, {bustle} flows a second: {direct} of {count}");
        direct
    });
    direct.min().unwrap_or_default()
}

/// Whether a NAT that counts, and gives ports to so many other flows a second, is met by one of this kind.
fn meets_while_others_open_flows(seed: u64, other: Kind, bustle: usize) -> bool {
    let kinds = if seed.is_multiple_of(2) { [Kind::Ss, other] } else { [other, Kind::Ss] };
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, false);
    world.nodes.iter_mut().for_each(|node| node.nat.bustle = bustle);
    // Observers were asked when the node started; others have been given ports since.
    world.run_for(MS * u32::try_from(500 + 37 * seed % 5_000).unwrap());
    chat(&mut world, SETTLED);
    world.run_for(10 * S);
    world.is_direct(0, 1)
}

/// The longest that a stream which nobody answers stands still, over all moments at which its direct path may die.
pub(crate) fn one_way_bar() -> Duration {
    (0..HEARTBEAT_PHASES * 3).map(|seed| one_way_gap(seed, false)).max().unwrap_or_default()
}

/// The direct path drops long datagrams without a word, from the beginning or from some moment on.
fn becomes_narrow(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let mut world = met(seed, [CONES[index % 5], CONES[index / 5 % 5]], FAIR, is_told);
    let begins = world.now;
    if seed.is_multiple_of(2) {
        world.widest = 1_400;
        world.run_for(20 * S);
        check_flow(&world, begins, Duration::ZERO);
    } else {
        world.run_for(20 * S);
        let happens = world.now;
        world.widest = 1_400;
        world.run_for(20 * S);
        check_flow(&world, happens, NARROW_BAR);
    }
    assert!(world.is_direct(0, 1), "a narrow path is better than a relay");
    let packet = world.nodes[0].tunnels[&1].ways.packet;
    assert!(packet.is_some_and(|packet| (1_280..=1_340).contains(&packet)), "{packet:?}");
}

fn nat_reboots(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    let happens = world.now;
    world.reboot(usize::try_from(seed % 2).unwrap());
    world.run_for(SETTLED * 2);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, CUT_BAR);
}

/// Two that only a relay joins, and it dies without a word; much later they are told.
fn relay_dies(seed: u64, is_told: bool) {
    let mut world = met(seed, [Kind::Sr, Kind::Sr], FAIR, is_told);
    world.run_for(10 * S);
    let happens = world.now;
    world.relays[0].forwards = false;
    world.run_for(30 * S);
    check_flow(&world, happens, RELAY_BAR);
    world.relays[0].is_up = false;
    world.tell_relays();
    world.run_for(30 * S);
    check_flow(&world, happens, RELAY_BAR);
}

/// A relay that drops every third datagram is left for one that does not, though that is farther.
fn relay_drops(seed: u64, is_told: bool) {
    let mut world = met(seed, [Kind::Sr, Kind::Sr], FAIR, is_told);
    world.relays[0].drops_percent = 33;
    world.run_for(SETTLED * 3);
    for (from, to) in [(0, 1), (1, 0)] {
        let primary = world.nodes[from].tunnels[&to].ways.primary.unwrap();
        assert_eq!(primary.remote, world.relays[1].addr, "{from} stays with a relay that drops");
    }
}

/// Somebody says a hundred times a second, in the name of relays, that they do not know a peer which is there: it answers
/// through them, and so nothing is lost, data stays where it is, and little more is sent.
fn relay_lies(seed: u64, is_told: bool) {
    let mut world = met(seed, [Kind::Sr, Kind::Sr], FAIR, is_told);
    world.run_for(10 * S);
    let (happens, primary) = (world.now, world.nodes[0].tunnels[&1].ways.primary);
    let before = world.nodes[0].frames;
    let ways = [0, 1].map(|relay: usize| Way::relayed(world.relays[relay].addr, 0, 1));
    for _ in 0..2_000 {
        ways.iter().for_each(|way| world.tell(0, PathEvent::PeerUnknown { way: *way }));
        world.run_for(10 * MS);
        assert_eq!(world.nodes[0].tunnels[&1].ways.primary, primary, "moved by a word");
    }
    check_flow(&world, happens, Duration::ZERO);
    let sent = world.nodes[0].frames - before;
    assert!(sent <= FRAMES_OF_A_LIAR, "{sent} frames because somebody lies");
}

/// Two that only a relay joins: after a while one of them becomes reachable, because a port is mapped or because its NAT
/// is another. Both of them may talk, or only one, and either may be the one that it happens to.
fn becomes_reachable(seed: u64, is_told: bool) {
    let mut world = World::new(seed, &[(Kind::Sr, 1), (Kind::Sr, 2)], FAIR, is_told);
    world.talk(0, 1, 40 * MS, SETTLED * 10);
    if seed.is_multiple_of(2) {
        world.talk(1, 0, 40 * MS, SETTLED * 10);
    }
    world.run_for(Duration::from_secs(100 + seed % 100));
    let is_direct =
        |world: &World| world.nodes[0].tunnels[&1].ways.primary.is_some_and(|way| way.is_direct());
    assert!(!is_direct(&world));
    let (who, is_mapped) = (usize::try_from(seed / 2 % 2).unwrap(), (seed / 4).is_multiple_of(2));
    match is_mapped {
        true => world.nodes[who].nat.mapped = Some(7_777),
        false => world.nodes[who].nat.kind = Kind::Fc,
    }
    world.observe(who);
    world.run_for(REACHED_WITHIN);
    assert!(is_direct(&world), "node {who}, mapped {is_mapped}: nobody noticed");
}

fn roams(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    let happens = world.now;
    world.roam(1, Kind::Pr, 9);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, 300 * MS + R);
}

fn both_roam(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    let happens = world.now;
    world.roam(0, Kind::Pr, 8);
    world.roam(1, Kind::Ar, 9);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, 300 * MS + R);
}

/// A program dies and comes back with a later start; its peer notices by the first answer.
fn restarts(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    let happens = world.now;
    world.restart(1);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, 5 * S);
}

/// A program says goodbye and ends: nobody probes for it. It comes back, and a goodbye that is played again means nothing.
fn says_goodbye(seed: u64, is_told: bool) {
    let mut world = met(seed, [Kind::P, CONES[usize::try_from(seed).unwrap() % 5]], FAIR, is_told);
    world.has_replayer = true;
    world.run_for(10 * S);
    world.tell(1, PathEvent::Leaving { group: node::group() });
    world.nodes[1].is_away = true;
    world.run_for(S);
    assert_eq!(world.nodes[0].tunnels[&1].ways.primary, None, "a way to a peer that said goodbye");
    let (before, replays) = (world.nodes[0].frames, world.replays);
    world.run_for(Duration::from_secs(1 + seed % 40));
    let (sent, answers) = (world.nodes[0].frames - before, world.to_stranger);
    assert!(sent <= answers, "{sent} frames for a peer that said goodbye, {answers} to a stranger");
    assert_eq!(world.replays, replays);
    let back = world.now;
    world.nodes[1].is_away = false;
    world.restart(1);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, back, RESTART_BAR);
}

/// A lid is closed for minutes. The other one goes on sending in vain meanwhile.
fn sleeps(seed: u64, is_told: bool) {
    let mut world = direct(seed, is_told);
    world.sleep(0, 400 * S);
    let happens = world.now;
    chat(&mut world, SETTLED);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, CUT_BAR);
}

/// Whoever has nothing to say sends nothing; the first word afterwards is not lost, though NATs may have forgotten.
fn idles(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let kinds = [CONES[index % 5], CONES[index / 5 % 5]];
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, is_told);
    chat(&mut world, 10 * S);
    world.run_for(25 * S);
    let quiet_from: u64 = world.nodes.iter().map(|node| node.left).sum();
    world.run_for(Duration::from_secs(60 + seed % 300));
    let sent: u64 = world.nodes.iter().map(|node| node.left).sum::<u64>() - quiet_from;
    assert_eq!(sent, 0, "{kinds:?}: datagrams of a pair that is idle");
    let happens = world.now;
    chat(&mut world, SETTLED);
    world.run_for(30 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, happens, Duration::ZERO);
}

/// NATs have forgotten the way of two who were silent, and their session lives; then only one speaks, and the other has
/// no reason to look for it.
fn one_speaks_after_a_rest(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let kinds = [CONES[index % 5], CONES[index / 5 % 5]];
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, is_told);
    chat(&mut world, 10 * S);
    world.run_for(Duration::from_secs(160 + seed % 25));
    let happens = world.now;
    world.talk(0, 1, 40 * MS, 10 * S);
    world.run_for(9 * S);
    let way = world.nodes[0].tunnels[&1].ways.primary;
    assert!(way.is_some_and(|way| way.is_direct()), "{kinds:?}: {way:?}");
    assert!(world.gap(0, 1, happens) <= CUT_BAR, "{kinds:?}");
}

fn without_control(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let mut world = World::new(seed, &[(CONES[index % 5], 1), (CONES[index / 5 % 5], 2)], FAIR, is_told);
    world.has_control = false;
    let begins = world.now;
    chat(&mut world, SETTLED);
    world.run_for(10 * S);
    assert!(world.is_direct(0, 1));
    check_flow(&world, begins, Duration::ZERO);
}

/// One has IPv6 alone, and a NAT64: it meets those that have IPv4 as if that were its NAT, and others meet it so.
fn without_ipv4(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let turn = index / MISFORTUNES.len();
    let (without, other) = ((turn + turn / 10) % 2, turn % 10);
    let nat64 = Kind::ALL.iter().position(|kind| *kind == Kind::Pr).unwrap();
    let mut kinds = [Kind::ALL[nat64], Kind::ALL[other]];
    kinds.rotate_right(without);
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, is_told);
    world.lose_v4(without);
    let begins = world.now;
    chat(&mut world, SETTLED * 2);
    world.run_for(SETTLED);
    let expected = MEETINGS[nat64].as_bytes()[other] == b'D';
    assert_eq!(world.is_direct(0, 1), expected, "{kinds:?}, node {without} without IPv4");
    check_flow(&world, begins, Duration::ZERO);
    let vain = world.nodes[without].straight.iter().find(|(_, to)| to.is_ipv4());
    assert_eq!(vain, None, "sent by IPv4, which there is none of");
}

/// Control alone carries what two peers must tell each other.
fn without_relay(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let mut world = World::new(seed, &[(CONES[index % 5], 1), (CONES[index / 5 % 5], 2)], FAIR, is_told);
    world.relays.iter_mut().for_each(|relay| relay.is_up = false);
    world.tell_relays();
    chat(&mut world, SETTLED);
    world.run_for(20 * S);
    assert!(world.is_direct(0, 1));
}

/// A stranger plays every frame again: it is probed a little, and nothing else comes of it.
fn replayed(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let kinds = [Kind::P, CONES[index % 5]];
    let mut world = World::new(seed, &[(kinds[0], 1), (kinds[1], 2)], FAIR, is_told);
    world.has_replayer = true;
    let begins = world.now;
    chat(&mut world, SETTLED);
    world.run_for(SETTLED);
    assert!(world.is_direct(0, 1));
    check_flow(&world, begins, Duration::ZERO);
    let (answered, replays) = (world.to_stranger, world.replays);
    assert!(
        answered <= replays + PROBES_OF_A_STRANGER,
        "{answered} datagrams to a stranger for {replays} of its own"
    );
}

/// One is off for minutes while the other one calls; once it is there, they meet without further ado.
fn comes_late(seed: u64, is_told: bool) {
    let index = usize::try_from(seed).unwrap();
    let mut world = World::new(seed, &[(CONES[index % 5], 1), (CONES[index / 5 % 5], 2)], FAIR, is_told);
    world.nodes[1].is_away = true;
    world.talk(0, 1, 100 * MS, SETTLED * 10);
    world.run_for(Duration::from_secs(100 + seed % 300));
    world.nodes[1].is_away = false;
    world.run_for(10 * S);
    assert!(world.is_direct(0, 1));
    let lost = world.lost(0, 1, world.now - 4 * S, world.now - S);
    assert!(lost.is_empty(), "lost what was sent at {lost:?}");
}

/// Two at one site meet there, whatever the NAT is.
fn neighbours(seed: u64, is_told: bool) {
    let kind = Kind::ALL[2 + usize::try_from(seed).unwrap() % 8];
    let mut world = World::new(seed, &[(kind, 1), (kind, 1)], FAIR, is_told);
    chat(&mut world, SETTLED);
    world.run_for(10 * S);
    for (from, to) in [(0, 1), (1, 0)] {
        let primary = world.nodes[from].tunnels[&to].ways.primary.unwrap();
        assert_eq!(primary.remote, world.nodes[to].host, "behind {kind:?}");
    }
    // The interface of one goes and comes back elsewhere: the other one is told by what it is probed from.
    world.tell(0, PathEvent::NetworkChanged);
    world.run_for(5 * S);
    assert!(world.is_direct(0, 1));
}
