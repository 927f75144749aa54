//! Text that people chose: limits, and labels that stay unique.

use std::collections::BTreeSet;

use lacis_proto::{Code, MAX_LABEL, Problem, sanitize};

use crate::{limits, state::Group};

/// Checks text that becomes part of a record or a message for people.
pub(crate) fn check(text: &str, most: usize, field: &str) -> Result<(), Problem> {
    let refuse = |what: String| Err(Problem::new(Code::BadRequest, what).in_field(field));
    if text.len() > most {
        return refuse(format!("{field} has {} bytes; at most {most} are allowed", text.len()));
    }
    if text.chars().any(char::is_control) {
        return refuse(format!("{field} holds a control character; use printable text"));
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
