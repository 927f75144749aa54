//! The agent's own log: the last lines, kept in memory for `lacis logs`, whoever else reads standard error.
//!
//! Invariants: at most [`MAX_LINES`] lines of at most [`MAX_LINE`] bytes are kept; the oldest go first, and a
//! reader that falls behind is told how many it missed by their numbers.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that are kept: a day of a healthy agent, an hour of one in trouble.
const MAX_LINES: usize = 2_000;

/// Longest line that is kept; the rest of a longer one is cut off.
const MAX_LINE: usize = 2 << 10;

/// The last lines of the log. Cheap to clone; all clones are one log.
#[derive(Clone, Debug)]
pub struct Logs {
    kept: Arc<Mutex<Kept>>,
    /// How many lines there have been.
    written: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    written: u64,
}

impl Default for Logs {
    fn default() -> Self {
        Self { kept: Arc::default(), written: watch::Sender::new(0) }
    }
}

impl Logs {
    /// Lines from number `from` on, and the number of the next one.
    pub(crate) fn since(&self, from: u64) -> (Vec<String>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.written - kept.lines.len() as u64;
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        (kept.lines.iter().skip(skip).cloned().collect(), kept.written)
    }

    /// The number of the first of the last `count` lines.
    pub(crate) fn last(&self, count: u32) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).written.saturating_sub(count.into())
    }

    /// Hears of every line.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn push(&self, line: &str) {
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.len() == MAX_LINES {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line[..end].to_owned());
        kept.written += 1;
        let written = kept.written;
        drop(kept);
        self.written.send_replace(written);
    }
}

/// One event on its way into the log.
#[derive(Debug)]
pub struct Entry<'a> {
    logs: &'a Logs,
}

impl io::Write for Entry<'_> {
    /// The formatter hands over a whole event at once.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            self.logs.push(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Entry<'a>;

    fn make_writer(&'a self) -> Entry<'a> {
        Entry { logs: self }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_numbered() {
        let logs = Logs::default();
        for n in 0..MAX_LINES + 10 {
            logs.make_writer().write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        let (all, next) = logs.since(0);
        assert_eq!((all.len(), next), (MAX_LINES, MAX_LINES as u64 + 10));
        assert_eq!(all[0], "line 10");
        assert_eq!(logs.since(logs.last(2)).0, [format!("line {}", next - 2), format!("line {}", next - 1)]);
        assert_eq!(logs.since(next), (Vec::new(), next));
        logs.push(&"é".repeat(MAX_LINE));
        assert_eq!(logs.since(next).0[0].len(), MAX_LINE);
    }
}
