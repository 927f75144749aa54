//! Domain names that clients choose for members: under a suffix of the group, plain, and nobody else's.
//!
//! | name | who may have it |
//! |---|---|
//! | `<memberID>.m.<ngID>.<suffix>` | that member of that group |
//! | `<memberID>.m.<ngID>.cc-ng.cloud` | the same: the platform's command line always sends it |
//! | anything else under `<ngID>.<suffix>` | nobody: the names there follow from ids |
//! | `<group-label>.<suffix>` and the label name of another member | nobody: others are found there |
//! | any other name under a suffix | the first member of the group that asks |

use lacis_proto::{Code, GroupId, LEGACY_SUFFIX, MAX_LABEL, MemberId, Problem, member_name, sanitize};

use crate::{State, limits, state::Group};

/// Longest name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// The name that a member gets where its client chose none.
pub(crate) fn default_name(held: &Group, id: &MemberId) -> String {
    let suffix = held.row.suffixes.first().map_or(limits::DEFAULT_SUFFIX, String::as_str);
    member_name(id, &held.row.id, suffix)
}

/// The name of a member as it is kept, out of what a client asks for.
pub(crate) fn check(state: &State, held: &Group, id: &MemberId, asked: &str) -> Result<String, Problem> {
    let refuse = |message: String| Problem::new(Code::BadRequest, message).in_field("domainName");
    let name = asked.strip_suffix('.').unwrap_or(asked).to_ascii_lowercase();
    if name == member_name(id, &held.row.id, LEGACY_SUFFIX) {
        return Ok(name);
    }
    let under =
        held.row.suffixes.iter().find_map(|suffix| {
            name.strip_suffix(suffix.as_str())?.strip_suffix('.').map(|rest| (rest, suffix))
        });
    let Some((rest, suffix)) = under else {
        let allowed = member_name(id, &held.row.id, LEGACY_SUFFIX);
        let suffixes = held.row.suffixes.join(", ");
        return Err(refuse(format!("domainName must end in one of: {suffixes}; {allowed} is taken as well")));
    };
    if name.len() > MAX_NAME || !rest.split('.').all(is_plain) {
        return Err(refuse(format!(
            "domainName must be of labels of a-z, 0-9, '-' and '_', {MAX_LABEL} characters each and {MAX_NAME} in \
             all; names of other scripts are not taken, since they can look like another"
        )));
    }
    check_free(state, held, id, rest, suffix)?;
    if let Some(other) = held.members.values().find(|other| other.id != *id && other.domain == name) {
        return Err(taken(format!("domainName {name} belongs to member {}", other.id)));
    }
    Ok(name)
}

/// Whether a name is free of meaning for others: names by id, and names by label of the owner's groups.
/// Groups of other owners are not looked at, so that an answer tells nothing of them.
fn check_free(state: &State, held: &Group, id: &MemberId, rest: &str, suffix: &str) -> Result<(), Problem> {
    let (head, last) = rest.rsplit_once('.').map_or((None, rest), |(head, last)| (Some(head), last));
    if GroupId::parse(last).is_ok() {
        if rest == format!("{id}.m.{}", held.row.id) {
            return Ok(());
        }
        return Err(taken(format!("names under {last}.{suffix} follow from ids and cannot be chosen")));
    }
    let mut groups = state.groups().filter(|group| group.row.owner == held.row.owner);
    let Some(named) = groups.find(|group| sanitize(&group.row.label).as_deref() == Some(last)) else {
        return Ok(());
    };
    let Some(head) = head else {
        return Err(taken(format!("{last}.{suffix} is the name of group {:?}", named.row.label)));
    };
    let shadowed = named.members.values().find(|member| sanitize(&member.label).as_deref() == Some(head));
    match shadowed {
        Some(member) if member.id != *id || named.row.id != held.row.id => {
            Err(taken(format!("{rest}.{suffix} is the name by label of member {}", member.id)))
        }
        Some(_) | None => Ok(()),
    }
}

fn taken(message: String) -> Problem {
    Problem::new(Code::NameTaken, message).in_field("domainName")
}

/// A label of a host name (RFC 1123 §2.1), and '_', which ids of members have.
fn is_plain(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}
