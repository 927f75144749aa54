//! Members: linked to a group, edited, unlinked.
//!
//! Linking is an upsert: what a client says anew is changed, what it leaves out stays, and what is the same
//! has no effect. Unlinking takes the member's peers with it, ends the grants of nodes to run others, and
//! revokes the join tokens that would let them back in.

use lacis_proto::{Code, GroupId, MemberId, MemberKind, Problem, Revision};

use crate::{
    Decision, Reply, State,
    decision::Effects,
    domain, gateway, limits, peer,
    row::{JoinTokenRow, MemberRow, Row},
    state::Group,
    text,
};

/// A member as a client links it.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// The resource's own id.
    pub id: MemberId,
    /// What it is; without one, the id tells.
    pub kind: Option<MemberKind>,
    /// What people call it; without one, the id.
    pub label: Option<String>,
    /// Its name in the zone; without one, that which follows from its id.
    pub domain: Option<String>,
}

pub(crate) fn link(mut fx: Effects<'_>, group: &GroupId, new: &NewMember) -> Result<Decision, Problem> {
    let held = held(fx.state, group)?;
    let row = linked(fx.state, held, new)?;
    if let Some(row) = row {
        fx.put_member(row);
        return Ok(fx.finish_in(group, "member.link", new.id.as_str()));
    }
    Ok(fx.unchanged(Reply::At(held.row.revision)))
}

/// The row of a member as it is once linked; `None` where it already is so.
pub(crate) fn linked(state: &State, held: &Group, new: &NewMember) -> Result<Option<MemberRow>, Problem> {
    let known = held.members.get(&new.id);
    if known.is_none() && held.members.len() >= limits::MAX_MEMBERS {
        let message = format!("group {} has {} members, the most it may", held.row.id, limits::MAX_MEMBERS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let mut row = known.cloned().unwrap_or_else(|| new_row(held, &new.id, new.id.to_string()));
    if let Some(kind) = new.kind {
        row.kind = kind;
    }
    if let Some(label) = &new.label {
        text::check_label(label, "label")?;
        row.label.clone_from(label);
    }
    if let Some(domain) = &new.domain {
        row.domain = domain::check(state, held, &new.id, domain)?;
    }
    Ok((known != Some(&row)).then_some(row))
}

pub(crate) fn edit(
    mut fx: Effects<'_>,
    group: &GroupId,
    id: &MemberId,
    label: Option<&String>,
    domain: Option<&String>,
) -> Result<Decision, Problem> {
    let held = held(fx.state, group)?;
    if !held.members.contains_key(id) {
        return Err(no_member(held, id));
    }
    let new = NewMember { id: id.clone(), kind: None, label: label.cloned(), domain: domain.cloned() };
    if let Some(row) = linked(fx.state, held, &new)? {
        fx.put_member(row);
        return Ok(fx.finish_in(group, "member.edit", id.as_str()));
    }
    Ok(fx.unchanged(Reply::At(held.row.revision)))
}

pub(crate) fn unlink(
    mut fx: Effects<'_>,
    group: &GroupId,
    id: &MemberId,
    force: bool,
) -> Result<Decision, Problem> {
    let held = held(fx.state, group)?;
    if !held.members.contains_key(id) {
        return Ok(fx.unchanged(Reply::At(held.row.revision)));
    }
    if !force {
        gateway::check_one_stays(held, |peer| peer.member == *id)?;
    }
    for peer in held.peers.values().filter(|peer| peer.member == *id) {
        peer::release(&mut fx, held, peer);
    }
    let state = fx.state;
    for (node, group, member) in state.grants.keys().filter(|(_, at, member)| at == group && member == id) {
        fx.row(Row::GrantGone(node.clone(), group.clone(), member.clone()));
    }
    let tokens =
        state.join_tokens().filter(|token| token.group == *group && token.member.as_ref() == Some(id));
    for token in tokens.filter(|token| !token.revoked) {
        fx.row(Row::JoinToken(JoinTokenRow { revoked: true, ..token.clone() }));
    }
    fx.drop_member(group, id);
    Ok(fx.finish_in(group, "member.unlink", id.as_str()))
}

/// The row of a member, at a revision that storing it sets.
pub(crate) fn new_row(held: &Group, id: &MemberId, label: String) -> MemberRow {
    let kind = match id.as_str().split_once('_').map(|(word, _)| word) {
        Some("app") => MemberKind::Application,
        Some("external") => MemberKind::External,
        Some(_) | None => MemberKind::Addon,
    };
    MemberRow {
        group: held.row.id.clone(),
        id: id.clone(),
        kind,
        label,
        domain: domain::default_name(held, id),
        of_node: None,
        revision: Revision(0),
    }
}

/// A group that a command names.
pub(crate) fn held<'a>(state: &'a State, group: &GroupId) -> Result<&'a Group, Problem> {
    let missing = || Problem::new(Code::NotFound, format!("there is no group {group}"));
    state.group(group).ok_or_else(missing)
}

pub(crate) fn no_member(held: &Group, id: &MemberId) -> Problem {
    Problem::new(Code::NotFound, format!("group {} has no member {id}", held.row.id))
}
