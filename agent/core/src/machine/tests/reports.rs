//! What an agent tells control of itself, and when.

use super::*;

#[test]
fn endpoints_are_reported_at_once_then_spaced_until_control_has_them() {
    let mut lab = Lab::new();
    lab.serve();
    assert_eq!(lab.reports.len(), 1, "never acknowledged before");
    assert_eq!(lab.reports[0].seq, 1_001);
    assert_eq!(lab.reports[0].peers[0].endpoints, [endpoint("host 192.0.2.5:47820")]);
    lab.event(Event::ReportDone { seq: 1_001 });
    for n in 1..=5 {
        lab.event(Event::EndpointsChanged(vec![endpoint(&format!("host 198.51.100.{n}:1"))]));
    }
    lab.run_for(9 * SECOND, |_| {});
    assert_eq!(lab.reports.len(), 1);
    lab.run_for(2 * SECOND, |_| {});
    assert_eq!(lab.reports.len(), 2);
    assert_eq!(lab.reports[1].peers[0].endpoints, [endpoint("host 198.51.100.5:1")]);
    lab.event(Event::ReportFailed { seq: 1_002, retry_after: None });
    lab.ended();
    lab.run_for(SECOND, |_| {});
    lab.serve();
    assert_eq!(lab.reports.len(), 3, "told again after the connection was lost");
    lab.event(Event::ReportDone { seq: 1_003 });
    lab.ended();
    lab.run_for(lab.wait(), |_| {});
    lab.serve();
    assert_eq!(lab.reports.len(), 3, "known by now");
}

#[test]
fn homes_are_told_when_they_are_known_and_others_with_the_spacing() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportDone { seq: 1_001 });
    assert_eq!(lab.reports[0].peers[0].relays, None, "control keeps what an earlier run told");
    let homes = |n: u8| vec![RelayHome { relay: RecordId::from(&RelayId::from_random([n; 16])), rank: 0 }];
    lab.event(Event::HomesChanged(homes(1)));
    lab.run_for(2 * SECOND, |_| {});
    assert_eq!(lab.reports.len(), 2);
    assert_eq!(lab.reports[1].peers[0].relays, Some(homes(1)));
    lab.event(Event::ReportDone { seq: 1_002 });
    lab.event(Event::HomesChanged(homes(1)));
    lab.event(Event::HomesChanged(homes(2)));
    lab.run_for(2 * SECOND, |_| {});
    assert_eq!(lab.reports.len(), 2);
    lab.run_for(9 * SECOND, |_| {});
    assert_eq!(lab.reports[2].peers[0].relays, Some(homes(2)));
}

#[test]
fn an_acknowledgement_is_sent_once_the_steps_are_applied() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportDone { seq: 1_001 });
    lab.commit(&group_scope(1), [put_peer(8, "db")]);
    lab.answer(&group_scope(1), Some(500));
    assert_eq!(lab.reports.len(), 2);
    let cursor = lab.control[&group_scope(1)].cursor().to_string();
    assert_eq!(lab.reports[1].applied[&group_scope(1)], cursor);
}

#[test]
fn a_restored_control_is_told_again_and_asked_for_the_peer_that_it_knows() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportDone { seq: 1_001 });
    lab.ended();
    lab.run_for(lab.wait(), |_| {});
    lab.epoch = Epoch(2);
    lab.control.insert(node_scope(5), restored([put_node(5), put_assignment(1, 9, "web")]));
    lab.control.insert(group_scope(1), restored([put_group(1), put_peer(9, "web"), put_peer(7, "db")]));
    lab.hello();
    // A node's own scope comes first.
    lab.answer(&node_scope(5), None);
    lab.answer(&group_scope(1), None);
    assert_eq!(lab.host_again, [group(1)], "control knows peer 9 of this node, it hosts peer 5");
    assert_eq!(lab.peers().len(), 2, "until then everything stays");
    assert_eq!(lab.reports.len(), 2, "what it was told before may be lost");

    lab.event(Event::PeerReady { group: group(1), hosted: hosted(9) });
    lab.run_for(lab.wait(), |_| {});
    lab.serve();
    assert_eq!(lab.peers(), [key(7)]);
}

fn restored(changes: impl IntoIterator<Item = Change>) -> Scope {
    let mut scope = Scope::new(Epoch(2));
    scope.commit(changes);
    scope
}
