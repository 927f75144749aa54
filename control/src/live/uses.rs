//! When API tokens were last used: in memory, written down together now and then, so that a request that
//! reads stays one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lacis_proto::TokenId;

/// Uses since the last writing down. One entry per token, of which there is a limited number.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    unwritten: Mutex<BTreeMap<TokenId, u64>>,
}

impl Uses {
    pub(crate) fn note(&self, token: &TokenId, now_ms: u64) {
        let mut unwritten = self.lock();
        match unwritten.get_mut(token) {
            Some(last) => *last = now_ms,
            None => drop(unwritten.insert(token.clone(), now_ms)),
        }
    }

    /// The last use that is not written down yet.
    pub(crate) fn last(&self, token: &TokenId) -> Option<u64> {
        self.lock().get(token).copied()
    }

    /// Takes all of them, to be written down.
    pub(crate) fn take(&self) -> Vec<(TokenId, u64)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TokenId, u64>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
