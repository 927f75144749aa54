//! A control that asks to be left alone for a while.

use super::*;
use crate::limits::RETRY_MAX;

fn asked(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

impl Lab {
    fn told_to_wait(&mut self, retry_after: Option<Duration>) {
        let problem = Some(Problem::new(Code::RateLimited, "too many"));
        self.event(Event::ConnectFailed { stream: self.stream, problem, retry_after });
    }
}

#[test]
fn a_wait_that_control_asks_for_is_kept_by_each_agent_a_little_longer() {
    let waits: BTreeSet<Duration> = (0..20)
        .map(|seed| {
            let mut lab = Lab::new();
            lab.core = AgentCore::new(Boot { seed, ..boot(BTreeMap::new()) });
            lab.event(Event::Started);
            lab.told_to_wait(asked(40));
            lab.event(Event::NetworkChanged);
            lab.wait()
        })
        .collect();
    assert!(waits.len() > 10, "agents come back spread: {waits:?}");
    assert!(waits.iter().all(|wait| (40 * SECOND..=51 * SECOND).contains(wait)), "{waits:?}");
}

#[test]
fn a_wait_has_an_end_whatever_control_asks_for() {
    let mut lab = Lab::new();
    lab.told_to_wait(asked(u64::MAX));
    assert!((RETRY_MAX..=2 * RETRY_MAX).contains(&lab.wait()), "{:?}", lab.wait());
}

#[test]
fn reports_and_questions_wait_as_long_as_control_asks() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportFailed { seq: 1_001, retry_after: asked(60) });
    let told = lab.now;
    lab.event(Event::EndpointsChanged(vec![endpoint("host 198.51.100.1:1")]));
    while lab.reports.len() == 1 {
        lab.steady_for(30);
        assert!(lab.now < told + 2 * 60 * SECOND, "told again");
    }
    assert!(lab.now >= told + 60 * SECOND, "{:?} after {told:?}", lab.now);

    lab.event(Event::HandshakeDone { group: group(1), key: key(7) });
    while lab.asked.is_empty() {
        lab.steady_for(30);
    }
    let (when, peers) = lab.asked[0].clone();
    lab.event(Event::ProofsLost { asked: peers, retry_after: asked(90) });
    let told = lab.now;
    while lab.asked.len() == 1 {
        lab.steady_for(30);
    }
    assert!(when < told && lab.asked[1].0 >= told + 90 * SECOND, "{:?}", lab.asked[1].0);
}
