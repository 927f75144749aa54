//! Receipts: which of the connected agents of a group have applied a revision of it.
//!
//! Agents that are away are not waited for: they learn of it when they come.

use lacis_proto::{NodeId, Revision};

use crate::state::Group;

/// How far a revision of a group has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision that was asked about.
    pub revision: Revision,
    /// Agents that have applied it.
    pub applied: usize,
    /// Nodes of connected agents that have not.
    pub missing: Vec<NodeId>,
    /// Agents that are not connected.
    pub away: usize,
}

impl Receipt {
    /// Whether every connected agent has applied the revision.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// How far a revision has got; `applied` tells the revision that a connected node holds.
pub fn receipt(
    group: &Group,
    revision: Revision,
    mut applied: impl FnMut(&NodeId) -> Option<Revision>,
) -> Receipt {
    let mut receipt = Receipt { revision, applied: 0, missing: Vec::new(), away: 0 };
    for node in group.peers.values().filter_map(|peer| peer.node.as_ref()) {
        match applied(node) {
            Some(held) if held >= revision => receipt.applied += 1,
            Some(_) => receipt.missing.push(node.clone()),
            None => receipt.away += 1,
        }
    }
    receipt
}

/// How soon agents confirm a revision of a group with so many peers, in milliseconds: at once where somebody
/// waits for it, else spread so that a large group confirms at 500 reports a second at most.
#[must_use]
pub fn confirm_within_ms(peers: usize, is_awaited: bool) -> u32 {
    let spread = u32::try_from(peers).unwrap_or(u32::MAX).saturating_mul(2);
    if is_awaited { spread.clamp(20, 1_000) } else { spread.max(1_000) }
}
