//! The watch stream as a sequence of lines.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use lacis_proto::{Line, LineDecoder, LineError};

use super::call::Attempt;

/// Why a stream gave no further line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// Bytes that are no line.
    #[error("control sent a line that is not understood")]
    Line(#[source] LineError),
    /// The connection broke.
    #[error("the connection to control broke")]
    Broken(#[source] hyper::Error),
}

/// Lines of one stream.
#[derive(Debug)]
pub(crate) struct WatchStream {
    /// Who sends.
    pub(crate) url: String,
    body: Incoming,
    decoder: LineDecoder,
}

impl WatchStream {
    pub(super) fn new(attempt: Attempt) -> Self {
        let url = attempt.url.clone();
        Self { url, body: attempt.into_stream(), decoder: LineDecoder::default() }
    }

    /// The next line, or `None` at the end of the stream. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, StreamError> {
        loop {
            if let Some(line) = self.decoder.next_line() {
                return line.map(Some).map_err(StreamError::Line);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(StreamError::Broken(error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.decoder.push(data);
                    }
                }
            }
        }
    }
}
