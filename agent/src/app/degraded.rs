//! Gathers what does not work, for whoever asks.

use std::{collections::BTreeSet, io::ErrorKind, time::Duration};

use lacis_agent_core::{
    AgentCore, Degradation, Notice, StateTrouble, clock_trouble, descriptor_trouble, memory_trouble,
};
use lacis_proto::ScopeId;

use super::{DEFAULT_PORT, run::Running};
use crate::{host::Limits, overlay::report, state::StateError};

/// What is kept for the list.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Why state was not saved at the last attempt.
    pub(super) state: Option<Degradation>,
    /// Copies of scopes that are to be saved again.
    pub(super) unsaved: BTreeSet<ScopeId>,
    refused: Lately,
}

impl Troubles {
    pub(super) fn new(state: Option<Degradation>) -> Self {
        Self { state, ..Self::default() }
    }
}

impl Running {
    /// What does not work now.
    pub(super) fn degradations(&mut self) -> Vec<Degradation> {
        let now = self.clock.now();
        let limits = Limits::read();
        let stats = self.overlay.tunnel.stats();
        let refused = stats.map_or(0, |stats| stats.counters.drop_send_refused);
        let trains = self.troubles.refused.count(now, refused);
        let (used, wanted) = (self.overlay.tunnel.port(), self.options.port.unwrap_or(DEFAULT_PORT));
        let mut all: Vec<Degradation> = self.overlay.degradations().collect();
        all.extend(self.core.desired().conflicts.iter().map(|conflict| Degradation::NotApplied {
            reason: Notice::Conflict(conflict.clone()).to_string(),
        }));
        all.extend(self.names_trouble());
        all.extend((trains > 0).then_some(Degradation::UdpRefused { trains }));
        all.extend(unanswered(&self.core, now, used));
        let control_away = !self.core.control().in_sync;
        all.extend(self.finder.lacks_relay(now).then_some(Degradation::NoRelay { control_away }));
        // 0 asks for any.
        let is_another = wanted != 0 && used != wanted;
        all.extend(is_another.then_some(Degradation::PortTaken { wanted, used }));
        all.extend(clock_trouble(self.client.0.clock_offset_ms()));
        all.extend(self.troubles.state.clone());
        all.extend(memory_trouble(limits.memory_used, limits.memory_limit));
        all.extend(descriptor_trouble(limits.descriptors_used, limits.descriptors_limit));
        all
    }

    /// State that cannot be written costs the next start, not this run.
    pub(super) fn saved(&mut self, result: Result<(), StateError>) {
        if result.is_ok() && !self.troubles.unsaved.is_empty() {
            return;
        }
        let trouble = result.err().map(|error| state_trouble(&error));
        if let Some(trouble) =
            trouble.as_ref().filter(|trouble| self.troubles.state.as_ref() != Some(trouble))
        {
            tracing::warn!(%trouble, "state not saved");
        }
        self.troubles.state = trouble;
    }
}

/// What it means that state cannot be written.
pub(super) fn state_trouble(error: &StateError) -> Degradation {
    let kind = match error {
        StateError::Write { source, .. } | StateError::Folder { source, .. } => Some(source.kind()),
        StateError::Locked { .. }
        | StateError::Read { .. }
        | StateError::Damaged { .. }
        | StateError::TooNew { .. } => None,
    };
    let known = [
        (ErrorKind::StorageFull, StateTrouble::DiskFull),
        (ErrorKind::QuotaExceeded, StateTrouble::DiskFull),
        (ErrorKind::ReadOnlyFilesystem, StateTrouble::ReadOnly),
    ];
    let cause = known.into_iter().find(|(known, _)| Some(*known) == kind);
    let cause = cause.map_or(StateTrouble::Other, |(_, cause)| cause);
    Degradation::StateNotSaved { reason: report(error), cause }
}

fn unanswered(core: &AgentCore, now: Duration, port: u16) -> Option<Degradation> {
    core.unanswered_peers(now).map(|peers| Degradation::UdpUnanswered { port, peers })
}

/// How much a count that only grows has grown of late.
#[derive(Debug, Default)]
struct Lately {
    begin: Duration,
    before: u64,
    last: u64,
}

/// Growth is told of for one to two of these after it ends.
const LATELY: Duration = Duration::from_secs(60);

impl Lately {
    fn count(&mut self, now: Duration, total: u64) -> u64 {
        if now.saturating_sub(self.begin) >= LATELY {
            (self.begin, self.before) = (now, self.last);
        }
        self.last = total;
        total.saturating_sub(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_of_until_it_is_over() {
        let mut lately = Lately::default();
        let at = Duration::from_secs;
        let told: Vec<_> = [(0, 0), (5, 3), (59, 3), (61, 3), (130, 3), (131, 4)]
            .into_iter()
            .map(|(now, total)| lately.count(at(now), total))
            .collect();
        assert_eq!(told, [0, 3, 3, 0, 0, 1]);
    }
}
