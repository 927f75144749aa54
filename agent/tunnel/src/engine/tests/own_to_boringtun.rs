//! All cases with our own core on the side that mostly initiates, and boringtun on the other.
#![expect(clippy::duplicate_mod, reason = "the same cases run with each pair of cores")]

use super::*;

#[path = "handshakes.rs"]
mod handshakes;
#[path = "packets.rs"]
mod packets;
#[path = "ways.rs"]
mod ways;

struct Pair;

impl Cores for Pair {
    const A: Core = Core::Own;
    const B: Core = Core::Boringtun;
}

type Lab = super::Lab<Pair>;
type Side = super::Side<Pair>;
