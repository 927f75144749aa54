//! Text that people chose: limits, what must not stand in it, and labels that stay unique.

use std::collections::BTreeSet;

use lacis_proto::{Code, MAX_LABEL, MAX_RECORD_TEXT, Problem, sanitize};

use crate::{limits, state::Group};

/// Checks text that becomes part of a record or a message for people. `most` counts characters.
pub(crate) fn check(text: &str, most: usize, field: &str) -> Result<(), Problem> {
    let refuse = |what: String| Err(Problem::new(Code::BadRequest, what).in_field(field));
    let length = text.chars().count();
    if length > most {
        return refuse(format!("{field} has {length} characters; at most {most} are allowed"));
    }
    if text.chars().any(char::is_control) {
        return refuse(format!("{field} holds a control character; use printable text"));
    }
    if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
        let code = u32::from(hidden);
        return refuse(format!("{field} holds U+{code:04X}, which cannot be seen; leave it out"));
    }
    Ok(())
}

/// Checks text that must say something.
pub(crate) fn check_filled(text: &str, most: usize, field: &str) -> Result<(), Problem> {
    if text.trim().is_empty() {
        let message = format!("{field} is empty; name it");
        return Err(Problem::new(Code::BadRequest, message).in_field(field));
    }
    check(text, most, field)
}

/// Checks a label: as long as clients may make it, and as fits a record in bytes.
pub(crate) fn check_label(text: &str, field: &str) -> Result<(), Problem> {
    check_filled(text, limits::MAX_LABEL_CHARS, field)?;
    if text.len() > MAX_RECORD_TEXT {
        let message = format!("{field} has {} bytes; at most {MAX_RECORD_TEXT} are allowed", text.len());
        return Err(Problem::new(Code::BadRequest, message).in_field(field));
    }
    Ok(())
}

/// Characters that change how others are shown and are not seen themselves: with them one label can be
/// made to look like another (Unicode TR 36 §2.5, bidirectional and default-ignorable characters).
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The label of a node that is a member of its own: the first part of its host name in its DNS form,
/// with a number behind it where an older member has that name (`web`, `web-2`, …).
pub(crate) fn label_of_node(group: &Group, host_name: &str) -> String {
    let first = host_name.split('.').next().unwrap_or_default();
    let wanted = sanitize(first).unwrap_or_else(|| "node".to_owned());
    let taken: BTreeSet<String> =
        group.members.values().filter_map(|member| sanitize(&member.label)).collect();
    let numbered = |number: usize| {
        let tail = format!("-{number}");
        let base: String = wanted.chars().take(MAX_LABEL - tail.len()).collect();
        format!("{}{tail}", base.trim_end_matches('-'))
    };
    std::iter::once(wanted.clone())
        .chain((2..=limits::MAX_LABEL_NUMBER).map(numbered))
        .find(|label| !taken.contains(label))
        .unwrap_or(wanted)
}
