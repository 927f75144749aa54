//! The watch stream as a task of its own that feeds the loop.

use lacis_agent_core::{Event, StreamId};
use lacis_proto::WatchRequest;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::Input;
use crate::control::{CallError, Caller, ControlClient, StreamError};

/// What the last attempts to reach control came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Where the last stream came from.
    pub(super) url: Option<String>,
    /// Why there is none now.
    pub(super) trouble: Option<String>,
}

impl Heard {
    /// Notes a failure; says it once, not at every attempt.
    fn failed(&mut self, error: &CallError) -> bool {
        let trouble = Some(error.to_string());
        if self.trouble == trouble {
            return false;
        }
        tracing::warn!(%error, "tunnels and names go on from what is known");
        self.trouble = trouble;
        true
    }
}

/// One attempt to watch, and the stream that it becomes. Ends when dropped.
#[derive(Debug)]
pub(super) struct Watching {
    pub(super) stream: StreamId,
    task: JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts an attempt. What comes of it goes to the loop, which slows the stream down when it is busy.
pub(super) fn watch(
    stream: StreamId,
    request: WatchRequest,
    client: (ControlClient, Caller),
    inputs: mpsc::Sender<Input>,
    heard: watch::Sender<Heard>,
) -> Watching {
    let task = tokio::spawn(async move {
        let (client, caller) = client;
        let event = match client.watch(&caller, &request).await {
            Err(error) => {
                heard.send_if_modified(|heard| heard.failed(&error));
                let (problem, retry_after) = (error.problem().cloned(), error.retry_after());
                Event::ConnectFailed { stream, problem, retry_after }
            }
            Ok(mut lines) => {
                heard.send_replace(Heard { url: Some(lines.url.clone()), trouble: None });
                loop {
                    match lines.next().await {
                        Ok(Some(line)) => {
                            let event = Box::new(Event::Line { stream, line });
                            if inputs.send(Input::Core(event)).await.is_err() {
                                return;
                            }
                        }
                        Ok(None) | Err(StreamError::Broken(_)) => break Event::StreamEnded { stream },
                        Err(StreamError::Line(error)) => break Event::BadLine { stream, error },
                    }
                }
            }
        };
        // The loop has ended: nobody needs to know.
        let _ = inputs.send(Input::Core(Box::new(event))).await;
    });
    Watching { stream, task }
}
