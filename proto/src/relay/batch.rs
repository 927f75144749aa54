//! Frames in a stream: one message of the WebSocket holds several, each after its length.
//!
//! ```text
//! length (u16) | frame | length (u16) | frame | …        at most 64 KiB in all
//! ```

use super::HEADER;

/// Longest message, lengths included.
pub const MAX_BATCH: usize = 64 * 1024;

/// A message that is no batch, from where it stops being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the relay's WebSocket is malformed")]
pub struct BatchError;

/// Reads the frames of a message, in their order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The frames of a message.
    ///
    /// # Errors
    /// [`BatchError`] for one longer than [`MAX_BATCH`].
    pub fn parse(message: &'a [u8]) -> Result<Self, BatchError> {
        if message.len() > MAX_BATCH { Err(BatchError) } else { Ok(Self { rest: message }) }
    }

    /// Whether a message can hold this frame at all.
    #[must_use]
    pub fn holds(frame: &[u8]) -> bool {
        (HEADER..=MAX_BATCH - 2).contains(&frame.len())
    }

    /// Adds a frame to a message. `false` where it does not fit any more.
    pub fn push(message: &mut Vec<u8>, frame: &[u8]) -> bool {
        let Ok(length) = u16::try_from(frame.len()) else { return false };
        if !Self::holds(frame) || message.len() + 2 + frame.len() > MAX_BATCH {
            return false;
        }
        message.extend(length.to_be_bytes());
        message.extend(frame);
        true
    }

    fn split(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length < HEADER { None } else { rest.split_at_checked(length) }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<&'a [u8], BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((frame, rest)) = self.split() else {
            self.rest = &[];
            return Some(Err(BatchError));
        };
        self.rest = rest;
        Some(Ok(frame))
    }
}
