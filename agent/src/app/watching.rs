//! The watch stream as a task of its own that feeds the loop.

use std::time::Duration;

use lacis_agent_core::{Event, StreamId};
use lacis_proto::WatchRequest;
use tokio::{sync::mpsc, task::JoinHandle};

use super::Input;
use crate::control::{CallError, Caller, ControlClient, StreamError};

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
    url: tokio::sync::watch::Sender<Option<String>>,
) -> Watching {
    let task = tokio::spawn(async move {
        let (client, caller) = client;
        let event = match client.watch(&caller, &request).await {
            Err(error) => failed(stream, &error),
            Ok(mut lines) => {
                url.send_replace(Some(lines.url.clone()));
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

fn failed(stream: StreamId, error: &CallError) -> Event {
    tracing::debug!(%error, "no stream");
    Event::ConnectFailed { stream, problem: error.problem().cloned(), retry_after: None::<Duration> }
}
