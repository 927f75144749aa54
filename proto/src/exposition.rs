//! Figures in the text format of Prometheus, version 0.0.4, as both programs tell them.
//!
//! ```text
//! # HELP lacis_peers Other peers of a group.
//! # TYPE lacis_peers gauge
//! lacis_peers{group="ng_…"} 3
//! ```
//! Whoever is asked writes what stands at that moment; nothing is registered and nothing is kept here.

use std::fmt::{Display, Write as _};

/// What `Content-Type` says of it.
pub const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures, one family after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposition {
    text: String,
}

/// What a figure does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// It only grows, from the start of the program on. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts how many were at most so large.
    Histogram,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// Begins a family. Its name is made of letters, digits and `_`, and stands once in the text.
    pub fn family<'a>(&'a mut self, figure: Figure, name: &'a str, help: &str) -> Family<'a> {
        let kind = match figure {
            Figure::Counter => "counter",
            Figure::Gauge => "gauge",
            Figure::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// A family of one sample without labels.
    pub fn one(&mut self, figure: Figure, name: &str, help: &str, value: impl Display) {
        self.family(figure, name, help).sample(&[], value);
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// One sample of a part of the family, as `_bucket`, `_sum` and `_count` of a histogram.
    pub fn sample_of(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{}{part}", self.name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_look_as_prometheus_reads_them() {
        let mut all = Exposition::default();
        all.one(Figure::Gauge, "ready", "Whether it is.", 1);
        let mut peers = all.family(Figure::Counter, "bytes_total", "Bytes.");
        peers.sample(&[("group", "ng_1"), ("label", "a \"b\" \\ \n")], 12);
        peers.sample(&[], 0.5);
        let mut times = all.family(Figure::Histogram, "took_seconds", "Time.");
        times.sample_of("_bucket", &[("le", "+Inf")], 3);
        let expected = "# HELP ready Whether it is.\n# TYPE ready gauge\nready 1\n\
            # HELP bytes_total Bytes.\n# TYPE bytes_total counter\n\
            bytes_total{group=\"ng_1\",label=\"a \\\"b\\\" \\\\ \\n\"} 12\nbytes_total 0.5\n\
            # HELP took_seconds Time.\n# TYPE took_seconds histogram\ntook_seconds_bucket{le=\"+Inf\"} 3\n";
        assert_eq!(all.into_text(), expected);
    }
}
