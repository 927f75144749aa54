use std::collections::BTreeSet;

use super::*;
use crate::path::{candidate::Candidate, limits::DISCOVERY_RATE};

const S: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(300);

fn easy() -> Nature {
    Nature { mapping: Mapping::EndpointIndependent, udp: true, birthday: true, ..Nature::default() }
}

fn hard() -> Nature {
    Nature { mapping: Mapping::AddressAndPortDependent, ..easy() }
}

fn offer(nat: Nature) -> Offer {
    let addr = "203.0.113.7:4500".parse().unwrap();
    let candidates = vec![Candidate { kind: CandidateKind::Reflexive, addr }];
    Offer { revision: 1, nat, candidates, relays: Vec::new() }
}

/// One end, with the budget of its agent and a clock.
struct End {
    birthday: Birthday,
    budget: Budget,
    now: Duration,
    role: Role,
    relayed: bool,
    opened: u32,
}

impl End {
    fn new(role: Role) -> Self {
        let budget = Budget::new(DISCOVERY_RATE);
        Self { birthday: Birthday::default(), budget, now: 10 * S, role, relayed: true, opened: 0 }
    }

    /// Everything that is due now; sockets are opened as they are asked for, `short` of them missing.
    fn acts(&mut self, short: usize) -> Vec<Act> {
        let mut acts = Vec::new();
        self.birthday.look(self.now, Some(self.role), self.relayed);
        self.birthday.settle(self.now, false);
        while let Some(act) = self.birthday.next(self.now, true, PAUSE, &mut self.budget) {
            if let Act::Open(count) = act {
                let sockets = (0..count - short).map(|_| {
                    self.opened += 1;
                    Auxiliary(self.opened)
                });
                let sockets = sockets.collect();
                self.birthday.opened(sockets);
            }
            acts.push(act);
        }
        acts
    }

    /// Lets time pass from deadline to deadline; tells what was done when.
    fn run(&mut self, time: Duration) -> Vec<(Duration, Act)> {
        let end = self.now + time;
        let mut done = Vec::new();
        loop {
            done.extend(self.acts(0).into_iter().map(|act| (self.now, act)));
            let next = self.birthday.deadline().map(|at| at.max(self.now + Duration::from_millis(1)));
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = at,
                None => break,
            }
        }
        self.now = end;
        done
    }

    /// What the peer of the other role offers.
    fn theirs(&self) -> Offer {
        offer(if self.role == Role::Hard { easy() } else { hard() })
    }

    fn is_called(&mut self, number: u8) -> bool {
        let theirs = self.theirs();
        self.birthday.called(self.now, number, true, &theirs, [7; 8])
    }

    /// An attempt is called for and begins.
    fn begin(&mut self, number: u8) {
        self.acts(0);
        assert_eq!(self.birthday.call.map(|call| call.number), Some(number), "it is not called for");
        let theirs = self.theirs();
        self.birthday.accepted(self.now, number, &theirs, [7; 8]);
        assert!(self.birthday.attempt.is_some());
    }
}

fn probes(done: &[(Duration, Act)]) -> Vec<(Duration, Way)> {
    let probe = |(at, act): &(Duration, Act)| match act {
        Act::Probe(way) => Some((*at, *way)),
        Act::Call(_) | Act::Open(_) => None,
    };
    done.iter().filter_map(probe).collect()
}

#[test]
fn only_a_random_nat_and_one_that_keeps_its_port_are_a_pair_for_it() {
    assert_eq!(role(&hard(), &easy()), Some(Role::Hard));
    assert_eq!(role(&easy(), &hard()), Some(Role::Easy));
    let others = [
        hard(),
        Nature { step: Some(1), ..hard() },
        Nature { mapped: true, ..hard() },
        Nature { mapping: Mapping::AddressDependent, ..easy() },
        Nature { mapping: Mapping::Unknown, ..easy() },
        Nature { udp: false, ..easy() },
    ];
    for other in others {
        assert_eq!(role(&hard(), &other), None, "{other:?}");
        assert_eq!(role(&other, &hard()), None, "{other:?}");
    }
    assert_eq!(role(&easy(), &easy()), None);
    assert_eq!(role(&Nature { udp: false, ..hard() }, &easy()), None);
}

#[test]
fn it_begins_after_thirty_seconds_through_a_relay_or_ten_megabytes() {
    let mut end = End::new(Role::Easy);
    assert_eq!(end.run(29 * S), []);
    end.relayed = false;
    assert_eq!(end.run(29 * S), [], "time without a relay does not count");
    end.relayed = true;
    assert_eq!(end.run(29 * S), []);
    assert_eq!(end.run(S).first(), Some(&(end.now, Act::Call(1))));

    let mut end = End::new(Role::Hard);
    end.birthday.carried(900_000_000);
    end.acts(0);
    end.birthday.carried(900_000_000);
    end.birthday.carried(909_999_999);
    assert_eq!(end.acts(0), [], "what was carried before does not count");
    end.birthday.carried(910_000_000);
    assert_eq!(end.acts(0), [Act::Call(1)]);

    let mut end = End::new(Role::Hard);
    end.acts(0);
    end.birthday.carried(1_000_000);
    end.birthday.carried(9);
    end.birthday.carried(9_999_999);
    assert_eq!(end.acts(0), [], "a count that began anew counts from there");
}

#[test]
fn a_pair_that_is_none_or_a_node_that_is_busy_does_not_begin() {
    let mut end = End::new(Role::Hard);
    end.birthday.look(end.now, None, true);
    end.birthday.look(end.now + 60 * S, None, true);
    assert_eq!(
        (end.birthday.deadline(), end.birthday.next(60 * S, true, PAUSE, &mut end.budget)),
        (None, None)
    );
    let mut end = End::new(Role::Hard);
    end.birthday.look(end.now, Some(Role::Hard), true);
    let due = end.now + 30 * S;
    assert_eq!(end.birthday.next(due, false, PAUSE, &mut end.budget), None);
    assert_eq!(end.birthday.deadline(), Some(due + ROUND_POSTPONED), "it asks again, and does not spin");
}

#[test]
fn a_call_without_an_answer_is_repeated_and_then_put_off() {
    let mut end = End::new(Role::Easy);
    let calls = end.run(40 * S);
    let expected: Vec<_> = (0..4).map(|n| (40 * S + PAUSE * n, Act::Call(1))).collect();
    assert_eq!(calls, expected);
    assert!(end.is_called(1), "the peer may call meanwhile");
    end.birthday.abandon();
    end.relayed = false;
    end.acts(0);
    end.relayed = true;
    assert_eq!(end.run(50 * S), []);
    let again = 40 * S + PAUSE * 4 + BIRTHDAY_CALL_AGAIN;
    assert_eq!(end.run(11 * S).first(), Some(&(again, Act::Call(1))));
}

#[test]
fn the_easy_end_tries_at_most_1024_ports_each_once_at_150_a_second() {
    let mut end = End::new(Role::Easy);
    end.run(30 * S);
    end.begin(1);
    let done = probes(&end.run(BIRTHDAY_LASTS));
    let ports: BTreeSet<u16> = done.iter().map(|(_, way)| way.remote.port()).collect();
    assert_eq!((done.len(), ports.len()), (BIRTHDAY_PROBES, BIRTHDAY_PROBES));
    assert!(done.iter().all(|(_, way)| way.remote.ip() == end.theirs().candidates[0].addr.ip()));
    assert!(
        done.iter().all(|(_, way)| way.is_direct() && way.auxiliary.is_none() && way.remote.port() >= 1_024)
    );
    for (first, (at, _)) in done.iter().enumerate() {
        let second = done[first..].iter().take_while(|(later, _)| *later < *at + S).count();
        assert!(second <= 150 + BIRTHDAY_AT_ONCE, "{second} probes in one second");
    }
    assert!(done[BIRTHDAY_PROBES - 1].0 - done[0].0 < BIRTHDAY_HEAD_START);
}

#[test]
fn only_ports_of_a_block_are_tried_where_all_that_were_seen_lie_in_one() {
    let mut end = End::new(Role::Easy);
    end.run(30 * S);
    end.acts(0);
    let theirs = offer(Nature { ports: Some((20_100, 20_900)), ..hard() });
    end.birthday.accepted(end.now, 1, &theirs, [9; 8]);
    let done = probes(&end.run(BIRTHDAY_LASTS));
    assert_eq!(done.len(), BIRTHDAY_PROBES);
    assert!(done.iter().all(|(_, way)| (19_300..=21_700).contains(&way.remote.port())));
}

#[test]
fn the_hard_end_opens_64_sockets_and_in_the_second_attempt_256_after_all_probes() {
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    let began = end.now;
    let done = end.run(BIRTHDAY_LASTS);
    assert_eq!(done[0], (began, Act::Open(64)));
    let sockets: BTreeSet<_> = probes(&done).iter().map(|(_, way)| way.auxiliary.unwrap()).collect();
    assert_eq!((probes(&done).len(), sockets.len()), (64, 64), "one packet from each");
    assert!(probes(&done).iter().all(|(_, way)| way.remote == end.theirs().candidates[0].addr));
    end.acts(0);
    assert_eq!(end.birthday.take_closed().len(), 64, "all are closed");
    assert_eq!(end.birthday.sockets(), []);
    let failed = end.now;
    assert_eq!(end.run(BIRTHDAY_AGAIN - S), [], "what clashed is forgotten before the second one");
    end.now = failed + BIRTHDAY_AGAIN;
    end.begin(2);
    let began = end.now;
    let done = end.run(BIRTHDAY_LASTS);
    assert_eq!(done[0], (began + BIRTHDAY_HEAD_START, Act::Open(256)));
    assert_eq!(probes(&done).len(), 256);
    end.acts(0);
    assert_eq!(end.birthday.take_closed().len(), 256);
}

#[test]
fn a_pair_rests_for_an_hour_after_both_attempts_and_then_begins_anew() {
    for role in [Role::Hard, Role::Easy] {
        let mut end = End::new(role);
        end.run(30 * S);
        end.begin(1);
        end.run(BIRTHDAY_LASTS);
        end.acts(0);
        end.now += BIRTHDAY_AGAIN;
        end.begin(2);
        end.run(BIRTHDAY_LASTS);
        end.acts(0);
        let state = end.birthday.state(end.now, &hard(), &easy()).unwrap();
        assert_eq!(state, BirthdayState::Failed { again_in: BIRTHDAY_REST });
        assert_eq!(state.to_string(), "failed; may begin again in 60 min");
        for number in [1, 2] {
            assert!(!end.is_called(number), "nor does the peer change that");
        }
        let rest = end.birthday.rest();
        assert_eq!(end.run(BIRTHDAY_REST - S), []);
        let mut later = End { now: end.now, ..End::new(role) };
        later.birthday = Birthday::rested(rest);
        later.relayed = false;
        assert!(!later.is_called(1), "the rest outlives the agent of the peer");
        assert_eq!(end.run(S), [(end.now, Act::Call(1))]);
    }
}

#[test]
fn whoever_is_met_first_wins_and_all_other_sockets_are_closed_at_once() {
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    end.run(S);
    let remote = end.theirs().candidates[0].addr;
    let way = |socket| Way::from_auxiliary(remote, Auxiliary(socket));
    assert!(end.birthday.holds(Auxiliary(5)) && end.birthday.holds(Auxiliary(6)));
    end.birthday.met(Way::from_auxiliary("192.0.2.66:1".parse().unwrap(), Auxiliary(5)));
    assert_eq!(end.birthday.sockets().len(), 64, "a stranger meets nobody");
    end.birthday.met(way(6));
    end.birthday.met(way(5));
    assert!(end.birthday.holds(Auxiliary(6)) && !end.birthday.holds(Auxiliary(5)));
    assert_eq!(end.birthday.take_closed().len(), 63);
    end.birthday.settle(end.now, true);
    assert_eq!(end.birthday.sockets(), [Auxiliary(6)], "it stays");
    assert_eq!(end.birthday.state(end.now, &hard(), &easy()), Some(BirthdayState::Found));
    end.birthday.abandon();
    assert_eq!((end.birthday.sockets(), end.birthday.take_closed()), (vec![Auxiliary(6)], vec![]));
    end.run(30 * S);
    end.begin(1);
    assert_eq!(end.birthday.take_closed(), [Auxiliary(6)], "until another attempt begins");
}

#[test]
fn a_path_found_otherwise_ends_the_attempt_without_a_rest() {
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    end.run(S);
    end.birthday.settle(end.now, true);
    assert_eq!((end.birthday.take_closed().len(), end.birthday.rest()), (64, Rest::default()));
}

#[test]
fn where_descriptors_are_short_fewer_sockets_do_and_none_end_it() {
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    end.acts(54);
    let state = end.birthday.state(end.now, &hard(), &easy()).unwrap();
    assert_eq!(state.to_string(), "attempt 1 of 2 at work, 10 of 64 sockets open");
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    end.acts(64);
    end.acts(0);
    assert!(end.birthday.attempt.is_none() && end.birthday.rest().until == end.now + BIRTHDAY_AGAIN);
}

#[test]
fn sockets_that_come_too_late_are_closed() {
    let mut end = End::new(Role::Hard);
    end.birthday.opened(vec![Auxiliary(1)]);
    assert_eq!(end.birthday.take_closed(), [Auxiliary(1)]);
}

#[test]
fn a_called_end_takes_part_only_where_it_may_itself() {
    let called = |number, has_place, role| {
        let mut end = End::new(Role::Easy);
        end.birthday.look(end.now, role, true);
        let theirs = end.theirs();
        end.birthday.called(end.now, number, has_place, &theirs, [7; 8])
    };
    assert!(called(1, true, Some(Role::Easy)) && called(2, true, Some(Role::Easy)));
    assert!(!called(1, false, Some(Role::Easy)), "another attempt is under way");
    assert!(!called(1, true, None), "it is switched off, or the NATs are no pair for it");
    assert!(!called(0, true, Some(Role::Easy)) && !called(3, true, Some(Role::Easy)));
    let mut end = End::new(Role::Easy);
    end.acts(0);
    assert!(end.is_called(1) && end.is_called(1), "a repeated call is answered again");
    assert!(!end.is_called(2), "and no other attempt begins meanwhile");
    let nowhere = Offer { candidates: Vec::new(), ..end.theirs() };
    let mut end = End::new(Role::Easy);
    end.acts(0);
    assert!(!end.birthday.called(end.now, 1, true, &nowhere, [7; 8]), "nobody knows where the peer is");
}

#[test]
fn an_attempt_that_is_abandoned_leaves_no_socket_and_no_rest() {
    let mut end = End::new(Role::Hard);
    end.run(30 * S);
    end.begin(1);
    end.run(S);
    end.birthday.abandon();
    assert_eq!((end.birthday.take_closed().len(), end.birthday.rest()), (64, Rest::default()));
    assert_eq!(end.run(29 * S), []);
    end.run(2 * S);
    assert!(end.birthday.is_busy(), "it begins anew");
}

#[test]
fn an_empty_budget_puts_probes_off() {
    let mut end = End::new(Role::Easy);
    end.run(30 * S);
    end.begin(1);
    while end.budget.take(end.now) {}
    assert_eq!(end.acts(0), []);
    assert!(end.birthday.deadline().is_some_and(|at| at > end.now));
}

#[test]
fn people_are_told_how_it_stands() {
    let end = End::new(Role::Hard);
    let off = |nat| Nature { birthday: false, ..nat };
    let told = |ours, theirs| end.birthday.state(end.now, &ours, &theirs);
    assert_eq!(told(off(hard()), easy()), Some(BirthdayState::Off));
    assert_eq!(told(hard(), off(easy())), Some(BirthdayState::OffThere));
    assert_eq!(told(hard(), easy()), Some(BirthdayState::Waiting));
    assert_eq!(told(hard(), hard()), None, "it is not meant for them");
}
