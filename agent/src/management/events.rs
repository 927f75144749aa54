//! Server-sent events as they come over a connection (HTML Living Standard §9.2.6).

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// Longest event: the whole of a group of 10,000 peers fits.
const MAX_EVENT: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where to go on after this one.
    pub(crate) id: Option<String>,
    /// What kind it is; "message" where nothing was said.
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Why a stream gave no further event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventsError {
    #[error("the connection to control broke")]
    Broken(#[source] hyper::Error),
    #[error("control sent an event of more than 8 MiB")]
    TooLong,
}

/// Events of one stream.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    decoder: Decoder,
}

impl Events {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, decoder: Decoder::default() }
    }

    /// The next event, or `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, EventsError> {
        loop {
            if let Some(event) = self.decoder.next() {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(EventsError::Broken(error)),
                Some(Ok(frame)) => {
                    let Some(data) = frame.data_ref() else { continue };
                    self.decoder.push(data)?;
                }
            }
        }
    }
}

/// Bytes in, events out. Comments, which keep the connection alive, give none.
#[derive(Debug, Default)]
struct Decoder {
    waiting: Vec<u8>,
    /// How much of `waiting` has been read.
    read: usize,
    id: Option<String>,
    kind: Option<String>,
    data: Option<String>,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> Result<(), EventsError> {
        self.waiting.drain(..std::mem::take(&mut self.read));
        let held = self.waiting.len() + self.data.as_ref().map_or(0, String::len);
        if held + bytes.len() > MAX_EVENT {
            return Err(EventsError::TooLong);
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(length) = self.waiting[self.read..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.waiting[self.read..self.read + length]).into_owned();
            self.read += length + 1;
            let line = line.trim_end_matches('\r');
            if !line.is_empty() {
                self.field(line);
                continue;
            }
            let kind = self.kind.take().unwrap_or_else(|| "message".to_owned());
            if let Some(data) = self.data.take() {
                return Some(Event { id: self.id.clone(), kind, data });
            }
        }
        None
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.kind = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments and fields of a later day.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, piece: usize) -> Vec<(Option<String>, String, String)> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            decoder.push(bytes).unwrap();
            while let Some(event) = decoder.next() {
                events.push((event.id, event.kind, event.data));
            }
        }
        events
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let text = ": hello\n\nid: 7\nevent: linked\ndata: {\"a\":\ndata: 1}\n\nretry: 5\n\ndata\r\n\r\nid: 8\ndata:x\n\ndata: cut";
        let said = |id: Option<&str>, kind: &str, data: &str| {
            (id.map(str::to_owned), kind.to_owned(), data.to_owned())
        };
        let expected = [
            said(Some("7"), "linked", "{\"a\":\n1}"),
            said(Some("7"), "message", ""),
            said(Some("8"), "message", "x"),
        ];
        for piece in 1..text.len() {
            assert_eq!(decode(text, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 1024 * 1024];
        let taken = (0..20).take_while(|_| decoder.push(&piece).is_ok()).count();
        assert_eq!(taken, MAX_EVENT / piece.len());
    }
}
