//! Groups: the first one, and those that clients make, edit and delete.
//!
//! Making a group is an upsert: the same id again changes what differs and links the members that it
//! names. A deleted group leaves its id and revision, so that one made again under the same id goes on
//! from there: a reader that slept through both sees that what it holds is old.

use ipnetwork::Ipv4Network;
use lacis_proto::{Code, FIRST_PEER_HOST, GroupId, OwnerId, Problem, Revision, prefix6_of};

use crate::{
    Decision, Install, Reply, access, alloc, api_token,
    decision::Effects,
    limits, member, range,
    row::{DeletedGroupRow, GroupRow, OwnerRow, Row},
    state::Group,
    text,
};

/// A group as it is asked for.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// Its id, where the client chose one.
    pub id: Option<GroupId>,
    /// Who owns it.
    pub owner: OwnerId,
    /// What is said of it; a new one needs a label.
    pub edit: GroupEdit,
    /// Members that are linked to it at once.
    pub members: Vec<member::NewMember>,
    /// Zone suffixes of a new one, the first is the default.
    pub suffixes: Vec<String>,
}

/// What is said of a group; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupEdit {
    /// What people call it.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Words to sort groups by.
    pub tags: Option<Vec<String>>,
    /// IPv4 pool.
    pub pool: Option<Ipv4Network>,
}

/// First start: makes an owner, a group, a join token and an API token.
pub(crate) fn install(mut fx: Effects<'_>, install: &Install) -> Result<Decision, Problem> {
    if fx.state.owners().next().is_some() {
        return Err(Problem::new(Code::BadRequest, "this installation is already made"));
    }
    let owner = OwnerId::from_random(fx.random.draw());
    let edit = GroupEdit { label: Some(install.group_label.clone()), ..GroupEdit::default() };
    let suffixes = install.suffixes.clone();
    let new = NewGroup { id: None, owner: owner.clone(), edit, members: Vec::new(), suffixes };
    let row = new_row(&mut fx, &new)?;
    let group = row.id.clone();
    fx.row(Row::Owner(OwnerRow { id: owner.clone(), label: install.owner_label.clone() }));
    fx.new_group(row);
    let (join_row, join_secret) =
        access::new_join_token(&mut fx, &group, None, 0, Some(limits::FIRST_TOKEN_MS));
    let (api_row, api_secret) = api_token::new(&mut fx, &api_token::NewApiToken::all_of(owner.clone()));
    let (join, api) = ((join_row.id.clone(), join_secret), (api_row.id.clone(), api_secret));
    fx.row(Row::JoinToken(join_row));
    fx.row(Row::ApiToken(api_row));
    let target = owner.to_string();
    Ok(fx.finish(Reply::Installed { owner, group, join, api }, "installation.create", &target))
}

pub(crate) fn create(mut fx: Effects<'_>, new: &NewGroup) -> Result<Decision, Problem> {
    if new.members.len() > limits::MAX_MEMBERS {
        let message = format!("a group has at most {} members", limits::MAX_MEMBERS);
        return Err(Problem::new(Code::BadRequest, message).in_field("members"));
    }
    let known = new.id.as_ref().and_then(|id| fx.state.group(id));
    if let Some(known) = known {
        if known.row.owner != new.owner {
            return Err(taken_id(&known.row.id));
        }
        apply(&mut fx, known, &new.edit)?;
        link_all(&mut fx, known.clone(), new)?;
        return Ok(fx.close_group(&known.row, "group.edit"));
    }
    if !fx.state.owners.contains_key(&new.owner) {
        return Err(Problem::new(Code::NotFound, format!("there is no owner {}", new.owner)));
    }
    let row = new_row(&mut fx, new)?;
    if fx.state.deleted.contains_key(&row.id) {
        fx.row(Row::GroupBack(row.id.clone()));
    }
    fx.new_group(row.clone());
    link_all(&mut fx, Group::new(row.clone()), new)?;
    let id = row.id.clone();
    Ok(fx.finish(Reply::Group(id.clone()), "group.create", id.as_str()))
}

pub(crate) fn edit(mut fx: Effects<'_>, id: &GroupId, edit: &GroupEdit) -> Result<Decision, Problem> {
    let held = member::held(fx.state, id)?;
    apply(&mut fx, held, edit)?;
    Ok(fx.close_group(&held.row, "group.edit"))
}

/// Deletes a group: its peers go from their nodes, and all that was in it is forgotten.
pub(crate) fn delete(mut fx: Effects<'_>, id: &GroupId) -> Result<Decision, Problem> {
    let state = fx.state;
    let Some(held) = state.group(id) else { return Ok(fx.unchanged(Reply::Done)) };
    let revision = fx.group(id).revision;
    for peer in held.peers.values() {
        fx.forget_peer(id, &peer.id, peer.node.as_ref());
    }
    for (node, group, member) in state.grants.keys().filter(|(_, group, _)| group == id) {
        fx.row(Row::GrantGone(node.clone(), group.clone(), member.clone()));
    }
    for member in held.members.keys() {
        fx.row(Row::MemberGone(id.clone(), member.clone()));
    }
    for host in held.released.keys() {
        fx.row(Row::Taken(id.clone(), *host));
    }
    let tokens = state.join_tokens().filter(|token| token.group == *id).map(|token| token.id.clone());
    access::forget_join_tokens(&mut fx, &tokens.collect());
    fx.row(Row::Forgotten(id.into(), revision));
    let oldest = state.deleted.values().min_by_key(|gone| gone.deleted_ms);
    if let Some(oldest) = oldest.filter(|_| state.deleted.len() >= limits::MAX_DELETED_GROUPS) {
        fx.row(Row::GroupBack(oldest.id.clone()));
    }
    fx.row(Row::GroupGone(DeletedGroupRow { id: id.clone(), revision, deleted_ms: fx.now_ms }));
    fx.gone(id);
    Ok(fx.finish(Reply::Done, "group.delete", id.as_str()))
}

/// Changes what is said of a group, as far as it differs.
fn apply(fx: &mut Effects<'_>, held: &Group, edit: &GroupEdit) -> Result<(), Problem> {
    check(edit)?;
    let mut row = held.row.clone();
    if let Some(pool) = edit.pool.filter(|pool| *pool != row.pool) {
        range::check_change(fx.state, held, pool)?;
        row.pool = pool;
    }
    if let Some(label) = &edit.label {
        row.label.clone_from(label);
    }
    if let Some(description) = &edit.description {
        row.description.clone_from(description);
    }
    if let Some(tags) = &edit.tags {
        row.tags.clone_from(tags);
    }
    if row != held.row {
        fx.change_group(row);
    }
    Ok(())
}

/// Links the members that a request names, each checked against those before it.
fn link_all(fx: &mut Effects<'_>, mut held: Group, new: &NewGroup) -> Result<(), Problem> {
    for wanted in &new.members {
        let row = member::linked(fx.state, &held, wanted).map_err(in_members)?;
        if let Some(row) = row {
            held.members.insert(row.id.clone(), row.clone());
            fx.put_member(row);
        }
    }
    Ok(())
}

fn in_members(problem: Problem) -> Problem {
    let field = problem.field.as_deref().map_or("members".to_owned(), |field| format!("members.{field}"));
    problem.in_field(&field)
}

fn new_row(fx: &mut Effects<'_>, new: &NewGroup) -> Result<GroupRow, Problem> {
    if fx.state.groups.len() >= limits::MAX_GROUPS {
        let message = format!("this installation has {} groups, the most it may", limits::MAX_GROUPS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let edit = &new.edit;
    let Some(label) = edit.label.clone() else {
        return Err(Problem::new(Code::BadRequest, "label is missing; name the group").in_field("label"));
    };
    check(edit)?;
    if let Some(pool) = edit.pool {
        range::check_new(fx.state, &new.owner, None, pool)?;
    }
    let id = new.id.clone().unwrap_or_else(|| GroupId::from_random(fx.random.draw()));
    let before = fx.state.deleted.get(&id).map_or(Revision(0), |gone| gone.revision);
    Ok(GroupRow {
        owner: new.owner.clone(),
        label,
        description: edit.description.clone().unwrap_or_default(),
        tags: edit.tags.clone().unwrap_or_default(),
        pool: edit.pool.unwrap_or_else(|| alloc::choose_pool(fx.state)),
        prefix6: prefix6_of(&id),
        suffixes: new.suffixes.clone(),
        revision: before.next(),
        record_revision: before.next(),
        floor: before,
        next_host: FIRST_PEER_HOST,
        gateway_key: None,
        gateway_rotations: 0,
        created_ms: fx.now_ms,
        id,
    })
}

fn check(edit: &GroupEdit) -> Result<(), Problem> {
    if let Some(label) = &edit.label {
        text::check_label(label, "label")?;
    }
    if let Some(description) = &edit.description {
        text::check(description, limits::MAX_DESCRIPTION_CHARS, "description")?;
    }
    let tags = edit.tags.as_deref().unwrap_or_default();
    if tags.len() > limits::MAX_TAGS {
        let message = format!("tags has {} entries; at most {} are allowed", tags.len(), limits::MAX_TAGS);
        return Err(Problem::new(Code::BadRequest, message).in_field("tags"));
    }
    tags.iter().try_for_each(|tag| text::check_label(tag, "tags"))
}

fn taken_id(id: &GroupId) -> Problem {
    // Whose it is stays untold: the caller may know of its own groups only.
    Problem::new(Code::IdTaken, format!("the id {id} cannot be used; choose another")).in_field("id")
}
