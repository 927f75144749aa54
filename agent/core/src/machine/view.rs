//! What others may see of the rules: for the status that people read, and for what is written to disk.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lacis_proto::{CopySeen, GroupId, PeerId, Problem, Proof, Scope, ScopeId};

use super::{AgentCore, link::Phase, proofs::Alarm};
use crate::{Desired, Local, Netmap, Zones, limits::COPY_COUNTS};

/// How things stand with control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// A stream is open and its first scope confirmed.
    pub in_sync: bool,
    /// When the last line came; its age is the age of the last word from control.
    pub last_line: Option<Duration>,
    /// When the next attempt is made, while there is no stream.
    pub next_attempt: Option<Duration>,
    /// Why control refused the last attempt.
    pub problem: Option<Problem>,
}

impl AgentCore {
    /// How things stand with control.
    #[must_use]
    pub fn control(&self) -> Control {
        let next_attempt = match self.link.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Idle | Phase::Connecting { .. } | Phase::Live { .. } => None,
        };
        Control {
            in_sync: self.link.is_in_sync(),
            last_line: self.link.last_line,
            next_attempt,
            problem: self.problem.clone(),
        }
    }

    /// How many peers were called of late of whom none has answered; `None` where somebody has.
    #[must_use]
    pub fn unanswered_peers(&self, now: Duration) -> Option<usize> {
        self.reach.silent(now)
    }

    /// The node and the peers that it hosts.
    #[must_use]
    pub const fn local(&self) -> &Local {
        &self.groups.local
    }

    /// The copy of a scope, to be written to disk.
    #[must_use]
    pub fn scope(&self, scope: &ScopeId) -> Option<&Scope> {
        self.groups.follower.scope(scope)
    }

    /// Copies of all scopes that are held.
    pub fn scopes(&self) -> impl Iterator<Item = (&ScopeId, &Scope)> {
        self.groups.follower.scopes()
    }

    /// The netmaps of the groups that this node is in.
    #[must_use]
    pub const fn netmaps(&self) -> &BTreeMap<GroupId, Arc<Netmap>> {
        &self.groups.netmaps
    }

    /// The desired state last handed out.
    #[must_use]
    pub const fn desired(&self) -> &Arc<Desired> {
        &self.groups.desired
    }

    /// The zones last handed out.
    #[must_use]
    pub const fn zones(&self) -> &Zones {
        &self.groups.zones
    }

    /// What is remembered of peers.
    #[must_use]
    pub const fn pins(&self) -> &BTreeMap<PeerId, Proof> {
        self.guard.pins()
    }

    /// Peers that are not who they were.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.guard.alarms.values()
    }

    /// Another machine with this node's identity, while it keeps asking.
    #[must_use]
    pub fn copy(&self, now: Duration) -> Option<&CopySeen> {
        let (copy, at) = self.copy.as_ref()?;
        (now.saturating_sub(*at) < COPY_COUNTS).then_some(copy)
    }

    /// How many alarms there were since the start.
    #[must_use]
    pub const fn alarms_total(&self) -> u64 {
        self.alarms_total
    }

    /// How many entries the rules hold beside scopes and netmaps: it stays in proportion to the peers there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        let held = self.groups.entries() + self.calls.entries() + self.guard.entries() + self.reach.entries();
        held + self.actions.len() + self.notices.len() + self.saves.len() + self.offered.len()
    }

    /// How many notices were left out because nobody took them.
    #[must_use]
    pub const fn notices_lost(&self) -> u64 {
        self.notices_lost
    }
}
