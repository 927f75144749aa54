//! What people are shown of paths: per peer the way in use, and the fate of every candidate.

use std::time::Duration;

use lacis_proto::{GroupId, PeerId, PublicKey};

use super::{birthday::BirthdayState, candidate::CandidateKind};
use crate::way::Way;

/// Everything that is known of one peer's paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathView {
    /// The group.
    pub group: GroupId,
    /// The peer.
    pub peer: PeerId,
    /// Its key.
    pub key: PublicKey,
    /// Whether there is an agent for it: it was used in the last minutes.
    pub active: bool,
    /// Where data goes.
    pub primary: Option<Way>,
    /// Where data goes, too, while the primary is new or in doubt.
    pub also: Option<Way>,
    /// Since when the primary is the primary.
    pub since: Option<Duration>,
    /// Round trip on the primary.
    pub rtt: Option<Duration>,
    /// Lost probes of the last ones on the primary, in percent.
    pub loss_percent: u8,
    /// Why the peer is reached through a relay or not at all, in words; empty where it is reached directly.
    pub why: String,
    /// How birthday probing stands, where the NATs of both ends are a pair for it.
    pub birthday: Option<BirthdayState>,
    /// Every way that was considered.
    pub candidates: Vec<Considered>,
}

/// A way that was considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The way.
    pub way: Way,
    /// How it came to be known; none for a relay.
    pub kind: Option<CandidateKind>,
    /// What became of it.
    pub fate: Fate,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// Probes that were sent since it was last tried anew.
    pub probes: u32,
    /// Answers to them.
    pub answers: u32,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fate {
    /// It waits for the moment at which both ends send.
    #[error("waits for its turn")]
    Waiting,
    /// Probes are under way.
    #[error("is being probed")]
    Probing,
    /// It answered, and another way is better.
    #[error("works, another way is better")]
    Proven,
    /// Data goes there.
    #[error("in use")]
    InUse,
    /// It answered before and does so no more.
    #[error("stopped to answer")]
    Lost,
    /// It never answered.
    #[error("did not answer")]
    Unanswered,
    /// The operating system has no way there.
    #[error("this host has no route to it")]
    Refused,
    /// The relay does not know the peer.
    #[error("the peer has no lease at this relay")]
    Unknown,
}
