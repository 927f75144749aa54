//! Asks the running agent.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take},
    net::UnixStream,
};

use super::{MAX_LINE, Reply, Request};

/// The agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens on the socket.
    #[error(
        "no agent runs here: nobody listens on {path:?}; start it with `lacis up`, or name its socket with --socket"
    )]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The agent ended while it answered.
    #[error("the agent broke off its answer; is it being stopped?")]
    BrokenOff,
}

/// The answers to one request, one after the other.
#[derive(Debug)]
pub struct Conversation {
    lines: BufReader<Take<UnixStream>>,
}

/// Sends a request to the agent that listens on a socket.
///
/// # Errors
/// [`AskError`] where nobody listens or the agent goes away.
pub async fn ask(path: &Path, request: &Request) -> Result<Conversation, AskError> {
    let connected = UnixStream::connect(path).await;
    let mut stream = connected.map_err(|source| AskError::NoAgent { path: path.to_owned(), source })?;
    let mut line = serde_json::to_vec(request).expect("a request has a JSON form");
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| AskError::BrokenOff)?;
    Ok(Conversation { lines: BufReader::new(stream.take(MAX_LINE as u64)) })
}

impl Conversation {
    /// The next answer.
    ///
    /// # Errors
    /// [`AskError::BrokenOff`] where none comes any more.
    pub async fn next(&mut self) -> Result<Reply, AskError> {
        self.lines.get_mut().set_limit(MAX_LINE as u64);
        let mut line = Vec::new();
        let read = self.lines.read_until(b'\n', &mut line).await;
        if read.is_err() || line.is_empty() {
            return Err(AskError::BrokenOff);
        }
        serde_json::from_slice(&line).map_err(|_| AskError::BrokenOff)
    }
}
