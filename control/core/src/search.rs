//! Search: what an owner's groups hold under a piece of an id or a label.

use crate::{
    row::{MemberRow, PeerRow},
    state::Group,
};

/// Something that was found, in its group.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A group.
    Group(&'a Group),
    /// A member of a group.
    Member(&'a Group, &'a MemberRow),
    /// A peer of a group.
    Peer(&'a Group, &'a PeerRow),
}

/// Everything whose id or label has `query` in it, in any case: groups, then members, then peers.
pub fn search<'a>(groups: impl Iterator<Item = &'a Group> + Clone, query: &str) -> Vec<Found<'a>> {
    let query = query.to_lowercase();
    let has = |texts: [&str; 2]| texts.iter().any(|text| text.to_lowercase().contains(&query));
    let mut found = Vec::new();
    for group in groups.clone() {
        if has([group.row.id.as_str(), &group.row.label]) {
            found.push(Found::Group(group));
        }
    }
    for group in groups.clone() {
        let members = group.members.values().filter(|row| has([row.id.as_str(), &row.label]));
        found.extend(members.map(|row| Found::Member(group, row)));
    }
    for group in groups {
        let peers = group.peers.values().filter(|row| has([row.id.as_str(), &row.label]));
        found.extend(peers.map(|row| Found::Peer(group, row)));
    }
    found
}
