//! All cases with boringtun on the side that mostly initiates, and our own core on the other.
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
    const A: Core = Core::Boringtun;
    const B: Core = Core::Own;
}

type Lab = super::Lab<Pair>;
type Side = super::Side<Pair>;
