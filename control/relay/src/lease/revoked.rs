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
    /// Adds what one control says. A control speaks of its own tokens alone. Returns whether any of it was news.
    pub(crate) fn add(&mut self, control: &ControlId, revocations: &[Revocation]) -> bool {
        let mut is_news = false;
        for revocation in revocations {
            let member = (control.clone(), revocation.group.clone(), revocation.key);
            if self.0.len() >= limits::REVOCATIONS && !self.0.contains_key(&member) {
                tracing::warn!("too many revocations; the relay keeps no more until some are over");
                return is_news;
            }
            let held = self.0.entry(member).or_default();
            let (before, until) = *held;
            *held = (before.max(revocation.before_ms), until.max(revocation.until_ms));
            is_news |= *held != (before, until);
        }
        is_news
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_takes_news_of_who_is_in_it_and_others_once_some_are_over() {
        let control = ControlId::of(&lacis_proto::IdentityKey::try_new([1; 32]).unwrap());
        let group = GroupId::from_random([2; 16]);
        let of = |n: usize, until_ms| {
            let mut key = [1; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            let key = PublicKey::try_new(key).unwrap();
            Revocation { group: group.clone(), key, before_ms: 1, until_ms }
        };
        let mut revoked = Revoked::default();
        let all: Vec<Revocation> = (0..limits::REVOCATIONS).map(|n| of(n, 1_000)).collect();
        revoked.add(&control, &all);
        revoked.add(&control, &[of(limits::REVOCATIONS, 5_000)]);
        assert_eq!(revoked.0.len(), limits::REVOCATIONS);
        revoked.add(&control, &[of(0, 9_000_000)]);
        revoked.forget(2_000 + limits::TOKEN_SLACK_MS);
        assert_eq!(revoked.0.len(), 1, "who was in it was told anew");
        revoked.add(&control, &[of(limits::REVOCATIONS, 5_000)]);
        assert_eq!(revoked.0.len(), 2);
    }
}
