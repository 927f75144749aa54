//! A stream of numbered echoes from one node to another, and what is missing in it.

use std::time::Duration;

use support::Process;

use crate::lab::{Node, text};

/// From one echo to the next.
const EVERY: Duration = Duration::from_millis(20);

/// So many echoes in a row without an answer are an end, not a gap.
const ENDED: u32 = 50;

/// Numbered echoes, every 20 ms, until dropped.
pub(crate) struct Echoes {
    ping: Process,
}

impl Echoes {
    /// Begins; the first answer has come when this returns.
    pub(crate) fn start(from: &Node, to: &Node) -> Self {
        let address = text(&to.group(), "address4");
        let mut command = from.host.command("ping");
        command.args(["-n", "-O", "-i", "0.02", &address]);
        let mut echoes = Self { ping: Process::start(&mut command, &from.state.with_extension("ping")) };
        echoes.answer();
        echoes
    }

    /// The number on the next line, and whether the line is its answer.
    #[track_caller]
    fn next(&mut self) -> (u64, bool) {
        loop {
            let line = self.ping.line();
            let number = line.split("icmp_seq=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(number) = number {
                return (number.parse().unwrap(), line.contains(" time="));
            }
        }
    }

    /// Waits for the next answer and gives its number.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> u64 {
        loop {
            if let (number, true) = self.next() {
                return number;
            }
        }
    }

    /// The gap in answers around what happens in between.
    #[track_caller]
    pub(crate) fn gap(&mut self, what: &str, happens: impl FnOnce()) -> Duration {
        let before = self.answer();
        happens();
        // Answers that were on their way come first; the gap is the largest jump until ten in a row.
        let (mut last, mut gap, mut in_a_row) = (before, 0, 0);
        while in_a_row < 10 || last < before + 10 {
            let number = self.answer();
            let missed = number - last;
            in_a_row = if missed == 1 { in_a_row + 1 } else { 0 };
            gap = gap.max(missed);
            last = number;
        }
        let gap = EVERY * u32::try_from(gap).unwrap();
        println!("{what}: longest gap {} ms", gap.as_millis());
        gap
    }

    /// How long answers still come after what happens now; they must end.
    #[track_caller]
    pub(crate) fn end(&mut self, what: &str, happens: impl FnOnce()) -> Duration {
        let before = self.answer();
        happens();
        let (mut last, mut silent) = (before, 0);
        while silent < ENDED {
            let (number, is_answer) = self.next();
            (last, silent) = if is_answer { (last.max(number), 0) } else { (last, silent + 1) };
        }
        let took = EVERY * u32::try_from(last - before).unwrap();
        println!("{what}: the last answer came {} ms after", took.as_millis());
        took
    }
}
