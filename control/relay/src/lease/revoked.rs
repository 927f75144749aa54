//! Members whose tokens count no more, though their time is not over.

use std::collections::BTreeMap;

use lacis_proto::{ControlId, GroupId, PublicKey, relay::RelayToken};

use crate::limits;

/// A member that is out: its tokens from before a moment are worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The group.
    pub group: GroupId,
    /// The WireGuard key.
    pub key: PublicKey,
    /// Tokens whose time begins before this, in Unix milliseconds.
    pub before_ms: u64,
    /// When the last of them has expired, in Unix milliseconds.
    pub until_ms: u64,
}

/// What is revoked.
#[derive(Debug, Default)]
pub(crate) struct Revoked(BTreeMap<(ControlId, GroupId, PublicKey), (u64, u64)>);

impl Revoked {
    /// Adds what one control says. A control speaks of its own tokens alone.
    pub(crate) fn add(&mut self, control: &ControlId, revocations: &[Revocation]) {
        for revocation in revocations {
            let member = (control.clone(), revocation.group.clone(), revocation.key);
            if self.0.len() >= limits::REVOCATIONS && !self.0.contains_key(&member) {
                tracing::warn!("too many revocations; the relay keeps no more until some are over");
                return;
            }
            let (before, until) = self.0.entry(member).or_default();
            *before = (*before).max(revocation.before_ms);
            *until = (*until).max(revocation.until_ms);
        }
    }

    /// Whether a token is worth nothing.
    pub(crate) fn contains(&self, token: &RelayToken) -> bool {
        let member = (token.control.clone(), token.group.clone(), token.key);
        self.0.get(&member).is_some_and(|(before, _)| token.not_before_ms < *before)
    }

    /// Forgets revocations of tokens that have expired.
    pub(crate) fn forget(&mut self, now_ms: u64) {
        self.0.retain(|_, (_, until)| until.saturating_add(limits::TOKEN_SLACK_MS) > now_ms);
    }
}
