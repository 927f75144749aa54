//! Revocations between their coming and the answer, which says that they are on the disk.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use lacis_proto::relay::HEADER;

use crate::{
    kept::{Kept, Said},
    leg::Leg,
    limits,
};

/// Revocations that were taken and are not yet answered.
#[derive(Debug)]
pub(crate) struct Told {
    /// Without a file there is nothing to wait for.
    kept: Option<Kept>,
    waiting: BTreeSet<Said>,
    answers: Vec<(Leg, Vec<u8>)>,
    /// Whether the disk took the last of them.
    pub(crate) is_kept: Arc<AtomicBool>,
}

impl Told {
    pub(crate) fn new(kept: Option<Kept>) -> Self {
        let (waiting, answers) = (BTreeSet::new(), Vec::new());
        Self { kept, waiting, answers, is_kept: Arc::new(AtomicBool::new(true)) }
    }

    /// Whether an answer waits for the disk.
    pub(crate) const fn is_waiting(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether so many wait that the disk is to be asked now.
    pub(crate) const fn is_full(&self) -> bool {
        self.answers.len() >= limits::REVOCATIONS_AT_ONCE
    }

    /// Takes a REVOKE that counts. Gives its answer back where that need not wait.
    pub(crate) fn take(
        &mut self,
        from: Leg,
        frame: &[u8],
        answer: Vec<u8>,
        is_news: bool,
    ) -> Option<Vec<u8>> {
        let said: Option<Said> = frame.get(HEADER..).and_then(|said| said.try_into().ok());
        let Some(said) = said.filter(|_| self.kept.is_some()) else { return Some(answer) };
        if !is_news && !self.waiting.contains(&said) {
            return Some(answer);
        }
        self.waiting.insert(said);
        self.answers.push((from, answer));
        None
    }

    /// Has the disk take what waits. Gives the answers; none where the disk did not, so that control says it again.
    pub(crate) fn keep(&mut self, now_ms: u64) -> Vec<(Leg, Vec<u8>)> {
        let answers = std::mem::take(&mut self.answers);
        let Some(kept) = self.kept.as_mut().filter(|_| !answers.is_empty()) else { return answers };
        match kept.append(&self.waiting, now_ms) {
            Ok(()) => {
                self.waiting.clear();
                self.is_kept.store(true, Ordering::Relaxed);
                answers
            }
            Err(error) => {
                if self.is_kept.swap(false, Ordering::Relaxed) {
                    tracing::error!(%error, "revocations are not written down; make room on the disk of the state folder");
                }
                while self.waiting.len() > limits::REVOCATIONS {
                    self.waiting.pop_first();
                }
                Vec::new()
            }
        }
    }
}
