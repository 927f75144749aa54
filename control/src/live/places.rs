//! Places for event streams of the management API: people and pipelines that watch, not machines by the
//! thousand. One token has a share of them, so that a client that forgets to close hurts itself alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lacis_proto::TokenId;

/// Streams of all tokens at once; the connections of agents are counted apart.
const MAX_STREAMS: usize = 1_000;

/// Streams of one token at once: a page per group of a large owner.
const MAX_OF_TOKEN: usize = 100;

/// Streams that are open, by token.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: Mutex<BTreeMap<TokenId, usize>>,
}

/// The place of one stream, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    token: TokenId,
}

impl Places {
    /// A place for one more stream of a token; `None` where there is none.
    pub(crate) fn take(self: &Arc<Self>, token: &TokenId) -> Option<Place> {
        let mut taken = self.lock();
        let of_token = taken.get(token).copied().unwrap_or_default();
        if of_token >= MAX_OF_TOKEN || taken.values().sum::<usize>() >= MAX_STREAMS {
            return None;
        }
        taken.insert(token.clone(), of_token + 1);
        Some(Place { places: Arc::clone(self), token: token.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TokenId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_share_and_all_have_theirs() {
        let places = Arc::new(Places::default());
        let token = |n: u8| TokenId::from_bytes([n; 8]);
        let mut held: Vec<Place> = (0..MAX_OF_TOKEN).filter_map(|_| places.take(&token(0))).collect();
        assert_eq!(held.len(), MAX_OF_TOKEN);
        assert!(places.take(&token(0)).is_none());
        held.extend(
            (1..20)
                .flat_map(|n| (0..MAX_OF_TOKEN).filter_map(|_| places.take(&token(n))).collect::<Vec<_>>()),
        );
        assert_eq!(held.len(), MAX_STREAMS);
        held.clear();
        assert!(places.lock().is_empty() && places.take(&token(0)).is_some());
    }
}
