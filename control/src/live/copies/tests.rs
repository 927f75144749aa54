use std::collections::BTreeMap;

use super::*;
use crate::live::{
    Seen,
    presence::{LINES, MAX_COPIES},
};

fn from() -> SocketAddr {
    ([192, 0, 2, 9], 1).into()
}

#[test]
fn copies_and_lines_for_a_stream_are_limited() {
    let (presence, node) = (Presence::default(), NodeId::from_random([1; 16]));
    let seen = Seen {
        since_ms: 0,
        agent: String::new(),
        underlay: from(),
        applied: BTreeMap::new(),
        clients: BTreeMap::new(),
    };
    let mut connection = presence.connect(&node, seen, Some(Run::new(0, "web")));
    for n in 1..100 {
        let run = Run::new(n, "copy");
        presence.refuse(&node, Copy { run: run.clone(), from: from(), at_ms: n });
        presence.say(&node, Line::Rollcall(Rollcall {}));
        assert!(presence.check_copy(&node, &run, from()).is_err());
    }
    let copies = presence.copies(&node);
    assert_eq!((copies.len(), copies[0].at_ms), (MAX_COPIES, 92), "the last ones");
    assert!(presence.check_copy(&node, &Run::new(1, "copy"), from()).is_ok(), "it is asked about anew");
    let mut lines = 0;
    while connection.lines.try_recv().is_ok() {
        lines += 1;
    }
    assert_eq!(lines, LINES, "a stream that takes none is told no more");
}
