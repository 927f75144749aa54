//! Control away for long, and elsewhere when it is back.

use super::*;

fn moves(lab: &mut Lab, n: u8) {
    lab.event(Event::EndpointsChanged(vec![endpoint(&format!("host 198.51.100.{n}:1"))]));
}

fn unreachable(lab: &mut Lab) {
    lab.event(Event::ConnectFailed { stream: lab.stream, problem: None, retry_after: None });
}

/// Nobody answers for so long.
fn alone_for(lab: &mut Lab, span: Duration) {
    unreachable(lab);
    lab.run_for(span, |lab| {
        if !lab.core.link.is_live() && lab.core.control().next_attempt.is_none() {
            unreachable(lab);
        }
    });
}

#[test]
fn a_node_that_moves_while_control_is_away_calls_everybody_until_they_answer() {
    let mut lab = Lab::new();
    assert_eq!(lab.calls, [(Duration::ZERO, vec![key(7)])], "with whom it spoke before it was started");
    lab.event(Event::HandshakeDone { group: group(1), key: key(7) });
    alone_for(&mut lab, 60 * SECOND);
    assert_eq!(lab.calls[1].1, [key(6)], "control cannot tell the others");
    lab.event(Event::HandshakeDone { group: group(1), key: key(6) });
    alone_for(&mut lab, 3600 * SECOND);
    assert_eq!(lab.calls.len(), 2, "whoever has answered is not called again");

    let moved_at = lab.now;
    moves(&mut lab, 9);
    assert_eq!(lab.calls[2], (moved_at, vec![key(6), key(7)]));
    lab.event(Event::HandshakeDone { group: group(1), key: key(7) });
    alone_for(&mut lab, 1000 * SECOND);
    let again = |n: u32| (moved_at + n * crate::limits::CALL_AGAIN, vec![key(6)]);
    assert_eq!(lab.calls[3..], [again(1), again(2), again(3)]);

    lab.run_for(lab.wait(), |_| {});
    let before = lab.calls.len();
    lab.serve();
    lab.event(Event::ReportDone { seq: lab.reports.last().unwrap().seq });
    lab.steady_for(3600);
    assert_eq!(lab.calls.len(), before, "control tells everybody now");
}

#[test]
fn a_node_that_moves_while_control_is_there_calls_those_it_speaks_with_once() {
    let mut lab = Lab::new();
    lab.serve();
    lab.event(Event::ReportDone { seq: 1_001 });
    moves(&mut lab, 9);
    assert_eq!(lab.calls.len(), 2);
    assert_eq!(lab.calls[1].1, [key(7)]);
    lab.run_for(20 * SECOND, |_| {});
    lab.event(Event::ReportDone { seq: 1_002 });
    lab.steady_for(3600);
    assert_eq!(lab.calls.len(), 2);
}

#[test]
fn a_peer_that_is_gone_is_not_called() {
    let mut lab = Lab::new();
    lab.serve();
    lab.commit(&group_scope(1), [Change::Del(RecordId::from(&peer(7)))]);
    lab.answer(&group_scope(1), None);
    moves(&mut lab, 9);
    assert_eq!(lab.calls.len(), 1);
}

#[test]
fn control_that_moves_is_followed_and_the_former_address_stays_a_last_resort() {
    let url = |n: u8| format!("https://192.0.2.{n}:8443");
    let mut lab = Lab::new();
    lab.told_urls = vec![url(2), url(1)];
    lab.serve();
    assert_eq!(lab.used_urls, [url(2), url(1)]);
    for n in 3..30 {
        lab.used_urls.clear();
        lab.told_urls = vec!["https://".to_owned(), "http://192.0.2.9".to_owned(), url(n)];
        lab.ended();
        lab.run_for(lab.wait(), |_| {});
        lab.serve();
        assert_eq!(lab.used_urls[..2], [url(n), url(n - 1)], "what is no address is passed over");
        assert!(lab.used_urls.len() <= MAX_TOKEN_URLS);
    }
    lab.used_urls.clear();
    lab.told_urls = Vec::new();
    lab.ended();
    lab.run_for(lab.wait(), |_| {});
    lab.serve();
    assert!(lab.used_urls.is_empty(), "a control that tells none changes nothing");
}
