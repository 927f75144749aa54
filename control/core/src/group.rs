//! Groups: the first one, and those that clients make.

use lacis_proto::{
    Code, FIRST_PEER_HOST, GroupId, MemberId, MemberKind, OwnerId, Problem, Revision, check_pool,
    member_name, prefix6_of,
};

use crate::{
    Decision, Install, NewGroup, Reply, State, access, alloc,
    decision::Effects,
    limits,
    row::{GroupRow, MemberRow, OwnerRow, Row},
    text,
};

/// First start: makes an owner, a group, a join token and an API token.
pub(crate) fn install(mut fx: Effects<'_>, install: &Install) -> Result<Decision, Problem> {
    if fx.state.owners().next().is_some() {
        return Err(Problem::new(Code::BadRequest, "this installation is already made"));
    }
    let owner = OwnerId::from_random(fx.random.draw());
    let new = NewGroup {
        id: None,
        owner: owner.clone(),
        label: install.group_label.clone(),
        description: String::new(),
        tags: Vec::new(),
        pool: None,
    };
    let row = new_row(&mut fx, &new)?;
    let group = row.id.clone();
    fx.row(Row::Owner(OwnerRow { id: owner.clone(), label: install.owner_label.clone() }));
    fx.new_group(row);
    let (join_row, join_secret) =
        access::new_join_token(&mut fx, &group, None, 0, Some(limits::FIRST_TOKEN_MS));
    let (api_row, api_secret) = access::new_api_token(&mut fx, &owner);
    let (join, api) = ((join_row.id.clone(), join_secret), (api_row.id.clone(), api_secret));
    fx.row(Row::JoinToken(join_row));
    fx.row(Row::ApiToken(api_row));
    let target = owner.to_string();
    Ok(fx.finish(Reply::Installed { owner, group, join, api }, "installation.create", &target))
}

/// A new group. The same id again answers the group that is there.
pub(crate) fn create(mut fx: Effects<'_>, new: &NewGroup) -> Result<Decision, Problem> {
    if let Some(group) = new.id.as_ref().and_then(|id| fx.state.group(id)) {
        if group.row.owner != new.owner {
            return Err(taken_id(&group.row.id));
        }
        let id = group.row.id.clone();
        return Ok(fx.unchanged(Reply::Group(id)));
    }
    if !fx.state.owners.contains_key(&new.owner) {
        return Err(Problem::new(Code::NotFound, format!("there is no owner {}", new.owner)));
    }
    let row = new_row(&mut fx, new)?;
    let id = row.id.clone();
    fx.new_group(row);
    Ok(fx.finish(Reply::Group(id.clone()), "group.create", id.as_str()))
}

/// The row of a member, at a revision that storing it sets.
pub(crate) fn member_row(state: &State, group: &GroupId, id: &MemberId, label: String) -> MemberRow {
    let suffix = state.group(group).and_then(|group| group.row.suffixes.first());
    let domain = member_name(id, group, suffix.map_or(limits::DEFAULT_SUFFIX, String::as_str));
    let kind = match id.as_str().split_once('_').map(|(word, _)| word) {
        Some("app") => MemberKind::Application,
        Some("external") => MemberKind::External,
        Some(_) | None => MemberKind::Addon,
    };
    MemberRow {
        group: group.clone(),
        id: id.clone(),
        kind,
        label,
        domain,
        of_node: None,
        revision: Revision(0),
    }
}

fn new_row(fx: &mut Effects<'_>, new: &NewGroup) -> Result<GroupRow, Problem> {
    if fx.state.groups.len() >= limits::MAX_GROUPS {
        let message = format!("this installation has {} groups, the most it may", limits::MAX_GROUPS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    text::check_filled(&new.label, limits::MAX_LABEL_BYTES, "label")?;
    text::check(&new.description, limits::MAX_DESCRIPTION_BYTES, "description")?;
    if new.tags.len() > limits::MAX_TAGS {
        let message =
            format!("tags has {} entries; at most {} are allowed", new.tags.len(), limits::MAX_TAGS);
        return Err(Problem::new(Code::BadRequest, message).in_field("tags"));
    }
    for tag in &new.tags {
        text::check_filled(tag, limits::MAX_LABEL_BYTES, "tags")?;
    }
    if let Some(pool) = new.pool {
        check_pool(pool)
            .map_err(|wrong| Problem::new(Code::BadRequest, wrong.to_string()).in_field("networkIp"))?;
    }
    let id = new.id.clone().unwrap_or_else(|| GroupId::from_random(fx.random.draw()));
    Ok(GroupRow {
        owner: new.owner.clone(),
        label: new.label.clone(),
        description: new.description.clone(),
        tags: new.tags.clone(),
        pool: new.pool.unwrap_or_else(|| alloc::choose_pool(fx.state)),
        prefix6: prefix6_of(&id),
        suffixes: vec![limits::DEFAULT_SUFFIX.to_owned()],
        revision: Revision(1),
        record_revision: Revision(1),
        floor: Revision(0),
        next_host: FIRST_PEER_HOST,
        created_ms: fx.now_ms,
        id,
    })
}

fn taken_id(id: &GroupId) -> Problem {
    // Whose it is stays untold: the caller may know of its own groups only.
    Problem::new(Code::Forbidden, format!("the id {id} cannot be used; choose another")).in_field("id")
}
