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
        let (Notice::GroupGone { group, .. } | Notice::GroupUp { group, .. }) = notice else { return };
        let before = self.gone.clone();
        self.gone.retain(|gone| gone.id != *group);
        if let Notice::GroupGone { group, label, why } = notice
            && *why != GoneWhy::Left
        {
            let (label, why, at_ms) = (label.clone(), why.to_string(), self.clock.unix_ms());
            self.gone.push(GoneGroup { id: group.clone(), label, why, at_ms });
            self.gone.drain(..self.gone.len().saturating_sub(MAX_GONE));
        }
        if self.gone != before {
            self.saved(self.enroller.state.save_gone(&self.gone));
        }
    }
}
