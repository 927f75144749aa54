//! A node that stops says goodbye: its peers know at once, and hear it at once when it is back.

use std::time::Duration;

use support::{eventually_within, pause};

use crate::{
    bars::{BUSY, PATIENCE, told},
    kind::Kind,
    matrix::Arena,
    pair::Class,
    stream::{Flow, Stream},
};

/// From the start of a program to the first packet.
const BACK: Duration = Duration::from_secs(2);

#[test]
fn a_node_that_stops_is_known_to_be_gone_and_one_that_is_back_is_heard_at_once() {
    let mut arena = Arena::new();
    arena.prepare([Kind::PortRestricted, Kind::PortRestricted]);
    let mut watch = arena.watch();
    let answers = Stream::start(&arena.nodes[1], &arena.nodes[0], Flow::SPEECH);
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct");
    arena.nodes[1].stop();
    // Silence alone is told from a network that has trouble after a second, and from a peer that is gone never.
    eventually_within(BACK, "no way to a peer that said goodbye", || {
        let peer = arena.nodes[0].group()["peers"][0].clone();
        (peer["via"].is_null() || peer["path"] == "none").then_some(())
    });
    pause(Duration::from_secs(3));
    let back = watch.stream().elapsed();
    arena.nodes[1].up(None);
    let heard = [watch.stream(), &answers].map(|stream| {
        let after = || stream.first_after(back);
        let (first, _) = eventually_within(PATIENCE, "it is heard again", after);
        first.saturating_sub(back)
    });
    let (_, worst) = told("back after a goodbye, heard again", BACK, heard.to_vec());
    assert!(worst <= BACK + BUSY, "{worst:?}");
    watch.until(Class::Direct, PATIENCE).expect("the path becomes direct again");
}
