//! Writes to standard output and error, and lays out tables.

use std::io::{Write as _, stderr, stdout};

use serde::Serialize;

/// One line on standard output. Whoever reads may have gone away.
pub(super) fn line(text: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// One JSON value on a line of standard output.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string(value).expect("what is printed has a JSON form"));
}

/// What went wrong, on standard error.
pub(super) fn error(text: &str) {
    let _ = writeln!(stderr().lock(), "lacis: {text}");
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table(rows: &[Vec<String>]) {
    laid_out(rows, usize::MAX).iter().for_each(|text| line(text));
}

/// The same, cells cut where the terminal is narrower. What is no terminal gets everything.
pub(super) fn fitting(rows: &[Vec<String>]) {
    let width = terminal_size::terminal_size_of(stdout()).map(|(width, _)| usize::from(width.0));
    laid_out(rows, width.unwrap_or(usize::MAX)).iter().for_each(|text| line(text));
}

/// Narrowest that a column is cut to: the beginning of an id that tells it from others.
const NARROWEST: usize = 12;

/// Lines of a table that is at most so wide, as far as columns can be cut: the widest one first.
fn laid_out(rows: &[Vec<String>], most: usize) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let between = 2 * columns.saturating_sub(1);
    while widths.iter().sum::<usize>() + between > most {
        match widths.iter_mut().max().filter(|widest| **widest > NARROWEST) {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    let cells = |row: &Vec<String>| -> String {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(cells).collect()
}

/// The beginning of a text that is too long, and a sign that it goes on.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A number of bytes with a binary unit.
pub(super) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// How long ago, in words.
pub(super) fn ago(seconds: Option<f64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(s) if s < 1.0 => "now".to_owned(),
        Some(s) if s < 120.0 => format!("{s:.0} s ago"),
        Some(s) if s < 7200.0 => format!("{:.0} min ago", s / 60.0),
        Some(s) => format!("{:.0} h ago", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_where_the_terminal_ends() {
        let rows = [["LABEL", "ID"], ["shop", "ng_0123456789abcdef0123456789abcdef"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(laid_out(&rows, 80)[1], "shop   ng_0123456789abcdef0123456789abcdef");
        assert_eq!(laid_out(&rows, 24)[1], "shop   ng_0123456789abc…");
        assert_eq!(laid_out(&rows, 3)[1], "shop   ng_01234567…");
        assert_eq!(laid_out(&rows, 24)[0], "LABEL  ID");
    }

    #[test]
    fn sizes_and_ages_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(ago(None), "never");
        assert_eq!(ago(Some(0.2)), "now");
        assert_eq!(ago(Some(61.0)), "61 s ago");
        assert_eq!(ago(Some(3600.0)), "60 min ago");
    }
}
