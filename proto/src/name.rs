//! Overlay names: what a member, a peer and a label are called in the zone of a group.
//!
//! ```text
//! <memberID>.m.<ngID>.<suffix>          the addresses of the member's peers
//! <peerID>.p.<ngID>.<suffix>            one peer
//! <member-label>.<group-label>.<suffix> a member, where both labels are unique
//! ```

use crate::{GroupId, MemberId, PeerId};

/// Longest DNS label, in bytes (RFC 1035 §2.3.4).
pub const MAX_LABEL: usize = 63;

/// The suffix that the platform's own command line always sends; accepted for exactly the member
/// form of a group (DESIGN ruling 21).
pub const LEGACY_SUFFIX: &str = "cc-ng.cloud";

/// Text that cannot be a zone suffix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{suffix:?} is not a zone suffix: lower-case labels of a-z, 0-9 and '-', joined by dots, 100 bytes at most"
)]
pub struct NameError {
    /// The offending text, cut to a printable length.
    pub suffix: String,
}

/// Checks a zone suffix such as `lacis.internal`.
///
/// # Errors
/// Names the text when it is no suffix.
pub fn check_suffix(suffix: &str) -> Result<(), NameError> {
    let is_label = |label: &str| sanitize(label).as_deref() == Some(label);
    // 100 leaves room for two full labels and "p" or "m" in the 253 bytes of a name (RFC 1035 §2.3.4).
    if suffix.len() <= 100 && suffix.split('.').all(is_label) {
        return Ok(());
    }
    Err(NameError { suffix: suffix.chars().take(MAX_LABEL).collect() })
}

/// The names that a group is authoritative for under one suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNames {
    /// `<ngID>.<suffix>`: parent of the member and peer names.
    pub by_id: String,
    /// `<group-label>.<suffix>`: parent of the label names; absent where the label has no DNS form.
    pub by_label: Option<String>,
}

impl GroupNames {
    /// The names of a group under a suffix.
    #[must_use]
    pub fn new(group: &GroupId, label: &str, suffix: &str) -> Self {
        Self {
            by_id: in_suffix(group.as_str(), suffix),
            by_label: sanitize(label).map(|label| in_suffix(&label, suffix)),
        }
    }
}

/// `<label>.<suffix>`.
#[must_use]
pub fn in_suffix(label: &str, suffix: &str) -> String {
    format!("{label}.{suffix}")
}

/// `<memberID>.m.<ngID>.<suffix>`.
#[must_use]
pub fn member_name(member: &MemberId, group: &GroupId, suffix: &str) -> String {
    format!("{member}.m.{group}.{suffix}")
}

/// `<peerID>.p.<ngID>.<suffix>`.
#[must_use]
pub fn peer_name(peer: &PeerId, group: &GroupId, suffix: &str) -> String {
    format!("{peer}.p.{group}.{suffix}")
}

/// The DNS form of a label: lower-case letters, digits and single hyphens inside, 63 bytes at most
/// (RFC 1123 §2.1). `None` where nothing is left.
#[must_use]
pub fn sanitize(label: &str) -> Option<String> {
    let mut text = String::with_capacity(label.len().min(MAX_LABEL));
    for c in label.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if c == '-' && (text.is_empty() || text.ends_with('-')) {
            continue;
        }
        if text.len() == MAX_LABEL {
            break;
        }
        text.push(c);
    }
    let text = text.trim_end_matches('-');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(label: &str, expected: Option<&str>) {
        assert_eq!(sanitize(label).as_deref(), expected, "{label:?}");
    }

    #[test]
    fn labels_become_ldh() {
        check("web", Some("web"));
        check("My Shop", Some("my-shop"));
        check("a__b..c", Some("a-b-c"));
        check("-x-", Some("x"));
        check("été", Some("t"));
        check("", None);
        check("___", None);
        check("日本", None);
        check(&"a".repeat(80), Some(&"a".repeat(63)));
        check(&format!("{}-tail", "a".repeat(62)), Some(&"a".repeat(62)));
    }

    #[test]
    fn names_have_the_documented_forms() {
        let group = GroupId::from_random([1; 16]);
        let member = MemberId::parse("app_1").unwrap();
        let peer = PeerId::from_random([2; 16]);
        assert_eq!(member_name(&member, &group, "lacis.internal"), format!("app_1.m.{group}.lacis.internal"));
        assert_eq!(peer_name(&peer, &group, "lacis.internal"), format!("{peer}.p.{group}.lacis.internal"));
        let names = GroupNames::new(&group, "Main Shop", "lacis.internal");
        assert_eq!(names.by_label.as_deref(), Some("main-shop.lacis.internal"));
    }

    #[test]
    fn suffixes_are_plain_lower_case_names() {
        for good in ["internal", "lacis.internal", "a-b.c1"] {
            assert!(check_suffix(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "A.b", "a..b", "a_b", "-a", &"a.".repeat(60)] {
            assert!(check_suffix(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_sanitized_label_is_stable_and_fits(label in "\\PC{0,90}") {
            if let Some(text) = sanitize(&label) {
                prop_assert!(text.len() <= MAX_LABEL);
                prop_assert_eq!(sanitize(&text), Some(text.clone()));
            }
        }
    }
}
