//! The single writer: takes all waiting commands, decides, commits once, publishes, answers.
//!
//! ```text
//! ask ─▶ queue ─▶ [ decide* in memory ─▶ one transaction ─▶ publish ─▶ answers ]
//!                      ▲                        │ failed: state as published, each command alone
//!                      └── reload ◀─────────────┘ changed by another process: load, decide again
//! ```
//! Invariants: `state` equals the published state between batches; nothing is answered or published that
//! is not committed; a revision is spent only by a commit that has its rows.

use std::sync::Arc;

use lacis_control_core::{Actor, Batch, Command, Decision, Facts, Random, Reply, Row, State, decide};
use lacis_proto::{Change, Code, Problem, Revision, ScopeId};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    clock,
    live::Live,
    store::{Store, StoreError},
};

/// Commands that may wait. Beyond it callers are told to come again: a longer queue would only answer
/// callers that have stopped waiting.
pub(crate) const QUEUE: usize = 4_096;

/// Most commands of one commit, so that the first of them does not wait for too many.
const BATCH: usize = 256;

/// Attempts against other writers on the same file: each failure means that another one got through.
const ATTEMPTS: usize = 64;

/// Hands commands to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    by: Actor,
    command: Command,
    answer: oneshot::Sender<Result<Reply, Problem>>,
}

/// Who asks for what.
type Asked<'a> = (&'a Actor, &'a Command);

struct Task {
    store: Store,
    change: i64,
    state: State,
    live: Arc<Live>,
}

/// What one batch of commands comes to.
#[derive(Default)]
struct Outcome {
    replies: Vec<Result<Reply, Problem>>,
    rows: Vec<Row>,
    changes: Vec<(ScopeId, Change)>,
}

impl Writer {
    /// Starts the writer on an open store whose rows at `change` are published. It ends, and closes the
    /// store, when the last handle is gone.
    pub(crate) fn start(store: Store, change: i64, live: Arc<Live>) -> (Self, JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let state = live.read().state.clone();
        let task = Task { store, change, state, live };
        (Self { queue }, tokio::spawn(task.run(jobs)))
    }

    /// Commands that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Has a command decided and stored.
    ///
    /// # Errors
    /// Why it is refused, or could not be stored.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, Problem> {
        let by = command.actor();
        self.ask_as(by, command).await
    }

    /// The same, for somebody whom the command does not name.
    ///
    /// # Errors
    /// Why it is refused, or could not be stored.
    pub(crate) async fn ask_as(&self, by: Actor, command: Command) -> Result<Reply, Problem> {
        let (answer, answered) = oneshot::channel();
        let busy = |_| Problem::new(Code::Busy, "control has too much to write; try again in a moment");
        self.queue.try_send(Job { by, command, answer }).map_err(busy)?;
        answered.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

impl Task {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut taken = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut taken, BATCH).await > 0 {
            let commands: Vec<Asked<'_>> = taken.iter().map(|job| (&job.by, &job.command)).collect();
            let replies = self.batch(&commands).await;
            for (job, reply) in taken.drain(..).zip(replies) {
                // A caller that has gone away has its effect, and finds it when it asks again.
                let _ = job.answer.send(reply);
            }
        }
        self.store.close().await;
    }

    async fn batch(&mut self, commands: &[Asked<'_>]) -> Vec<Result<Reply, Problem>> {
        match self.attempt(commands).await {
            Ok(replies) => replies,
            Err(error) => {
                report(&error);
                let mut replies = Vec::with_capacity(commands.len());
                for command in commands {
                    let alone = self.attempt(&[*command]).await;
                    replies.push(alone.map_or_else(
                        |error| {
                            report(&error);
                            Err(unavailable())
                        },
                        |mut replies| replies.pop().unwrap_or_else(|| Err(unavailable())),
                    ));
                }
                replies
            }
        }
    }

    /// Decides and commits until no other writer is in between.
    async fn attempt(&mut self, commands: &[Asked<'_>]) -> Result<Vec<Result<Reply, Problem>>, StoreError> {
        let mut attempts = 0;
        loop {
            let outcome = self.decide(commands);
            if outcome.rows.is_empty() {
                return Ok(outcome.replies);
            }
            let begin = clock::now();
            match self.store.commit(self.change, &outcome.rows).await {
                Ok(change) => {
                    self.live.metrics.committed(begin.elapsed());
                    self.change = change;
                    self.live.publish(outcome.rows, outcome.changes);
                    return Ok(outcome.replies);
                }
                Err(error) => {
                    self.state = self.live.read().state.clone();
                    attempts += 1;
                    if attempts == ATTEMPTS || !matches!(error, StoreError::Foreign { .. }) {
                        self.live.metrics.not_committed();
                        return Err(error);
                    }
                    self.reload().await?;
                }
            }
        }
    }

    fn decide(&mut self, commands: &[Asked<'_>]) -> Outcome {
        let (mut batch, mut outcome) = (Batch::default(), Outcome::default());
        for (by, command) in commands {
            let decided = decide(&self.state, &batch, command, self.facts(by, command));
            outcome.replies.push(decided.map(|decision| {
                batch.note(&decision);
                let Decision { reply, rows, changes } = decision;
                self.state.apply(rows.iter().cloned());
                outcome.rows.extend(rows);
                outcome.changes.extend(changes);
                reply
            }));
        }
        outcome
    }

    fn facts(&self, by: &Actor, command: &Command) -> Facts {
        Facts {
            now_ms: clock::unix_ms(),
            by: by.clone(),
            random: Random::new(clock::random()),
            applied: command.allocates_in().and_then(|group| self.applied(group)),
        }
    }

    fn applied(&self, group: &lacis_proto::GroupId) -> Option<Revision> {
        let held = self.state.group(group)?;
        let nodes = held.peers.values().filter_map(|peer| peer.node.as_ref());
        self.live.presence.lowest_applied(&group.into(), nodes)
    }

    /// Takes in what another process has written: all of it or nothing.
    async fn reload(&mut self) -> Result<(), StoreError> {
        let loaded = self.store.load().await?;
        let mut state = State::default();
        state.apply(loaded.rows);
        if let Err(error) = self.live.replace(state.clone()) {
            return Err(StoreError::Value { table: "scopes", column: "revision", value: error.to_string() });
        }
        self.state = state;
        self.change = loaded.change;
        Ok(())
    }
}

fn unavailable() -> Problem {
    Problem::new(Code::StoreUnavailable, "control cannot write to its database now; try again later")
}

fn report(error: &StoreError) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, source, "cannot write to the database");
}
