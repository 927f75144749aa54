//! Groups that this node was taken out of by control: kept on disk until it is back in them, so that
//! a person who finds the interface gone finds out why.

use lacis_agent_core::{GoneWhy, Notice};

use super::run::Running;
use crate::status::GoneGroup;

/// Most groups that are remembered; the oldest is forgotten first. More than any node is in.
const MAX_GONE: usize = 16;

impl Running {
    /// Takes note of a group that went away, or came back.
    pub(super) fn note_gone(&mut self, notice: &Notice) {
        let before = self.gone.clone();
        note(&mut self.gone, notice, self.clock.unix_ms());
        if self.gone != before {
            self.saved(self.enroller.state.save_gone(&self.gone));
        }
    }
}

fn note(gone: &mut Vec<GoneGroup>, notice: &Notice, at_ms: u64) {
    let (Notice::GroupGone { group, .. } | Notice::GroupUp { group, .. }) = notice else { return };
    gone.retain(|gone| gone.id != *group);
    if let Notice::GroupGone { group, label, why } = notice
        && *why != GoneWhy::Left
    {
        gone.push(GoneGroup { id: group.clone(), label: label.clone(), why: why.to_string(), at_ms });
        gone.drain(..gone.len().saturating_sub(MAX_GONE));
    }
}

#[cfg(test)]
mod tests;
