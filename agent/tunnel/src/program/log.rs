//! What the library logs, as lines on standard error.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Starts logging at the level that `LOG_LEVEL` names, as for `wireguard-go`.
pub(super) fn start() {
    #[expect(clippy::disallowed_methods, reason = "the one variable of this program")]
    let named = std::env::var("LOG_LEVEL").unwrap_or_default();
    let _ = tracing::subscriber::set_global_default(Log(level(&named)));
}

fn level(named: &str) -> LevelFilter {
    match named {
        "silent" => LevelFilter::OFF,
        "info" => LevelFilter::INFO,
        "verbose" | "debug" => LevelFilter::DEBUG,
        _ => LevelFilter::WARN,
    }
}

/// Writes events; spans are passed over.
struct Log(LevelFilter);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{}:", event.metadata().level()));
        event.record(&mut line);
        let _ = writeln!(std::io::stderr(), "{}", line.0);
    }
}

/// One event as text: the message, then its fields.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_what_the_variable_names() {
        for (named, expected) in [
            ("silent", LevelFilter::OFF),
            ("error", LevelFilter::WARN),
            ("", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("verbose", LevelFilter::DEBUG),
        ] {
            assert_eq!(level(named), expected, "{named}");
        }
    }
}
