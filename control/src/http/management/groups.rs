//! Groups: listed, shown, made, changed, deleted, searched.

use ::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use lacis_control_core::{Command, GroupEdit, NewGroup, NewMember, Reply, search};
use lacis_proto::{Code, GroupId, Problem, Revision};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::{OfGroup, OfOwner, no_group},
    body::{Asked, Body, kind, maybe, needed, parsed},
    members::MemberWanted,
    problem::Refused,
    view::{self, FoundView, GroupView, ReceiptView, WrittenGroup},
    wait::Wait,
};
use crate::{
    app::Control,
    http::{self, Refusal},
};

/// A group as a client wants it. What is left out stays, or is chosen.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NetworkGroupWanted)]
pub(super) struct GroupWanted {
    /// `ng_<uuid>`; chosen where it is left out.
    #[schema(pattern = "^ng_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
    id: Option<String>,
    /// The owner of the path, where it stands here at all.
    owner_id: Option<String>,
    #[schema(required = true, nullable = false, min_length = 1, max_length = 128)]
    label: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    #[schema(max_items = 32)]
    tags: Option<Vec<String>>,
    members: Option<Vec<MemberWanted>>,
    /// A private IPv4 range, as `10.1.0.0/16`; chosen where it is left out.
    #[schema(pattern = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$", example = "10.1.0.0/16")]
    network_ip: Option<String>,
    /// Read and not acted on: a group made here is the customer's.
    #[schema(pattern = "^(CUSTOMER|PLATFORM)$")]
    ownership: Option<String>,
}

/// What is to change of a group; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NetworkGroupChange)]
pub(super) struct GroupChange {
    #[schema(min_length = 1, max_length = 128)]
    label: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    #[schema(max_items = 32)]
    tags: Option<Vec<String>>,
    /// A larger range with the same base; every address stays.
    #[schema(pattern = "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$")]
    network_ip: Option<String>,
}

/// What to search for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Query {
    /// A piece of an id or a label, in any case.
    query: Option<String>,
}

/// Lists the groups of an owner with their members and peers.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups", tag = "groups", params(OfOwner),
    responses((status = 200, body = Vec<GroupView<'static>>), Refused)
)]
pub(super) async fn list(of: OfOwner) -> Response {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let groups: Vec<_> =
        of.caller.groups(&published.state).map(|group| view::group(group, &presence)).collect();
    http::json(StatusCode::OK, &groups)
}

/// Shows a group with its members and peers.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}", tag = "groups", params(OfGroup),
    responses((status = 200, body = GroupView<'static>), Refused)
)]
pub(super) async fn show(of: OfGroup) -> Result<Response, Refusal> {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    Ok(http::json(StatusCode::OK, &view::group(of.read(&published)?, &presence)))
}

/// Makes a group, or says one anew: the same id again changes what differs and links the members that it names.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups", tag = "groups", params(OfOwner, Wait),
    request_body = GroupWanted,
    responses((status = 202, body = WrittenGroup<'static>), Refused)
)]
pub(super) async fn create(
    of: OfOwner,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<GroupWanted>,
) -> Result<Response, Refusal> {
    let control = &of.caller.control;
    let new = new_group(control, &of, wanted)?;
    if new.id.as_ref().is_none_or(|id| !of.caller.token.sees(id)) {
        of.caller.check_sees_all()?;
    }
    let known = new.id.clone();
    // A group that is yet to get its id has no agents to wait for.
    let waiting = known.as_ref().map(|id| wait.begin(control, id));
    let Reply::Group(made) = of.caller.ask(Command::CreateGroup(new)).await? else {
        unreachable!("a group is answered by its id");
    };
    let waiting = waiting.unwrap_or_else(|| wait.begin(control, &made));
    let receipt = waiting.end(revision_of(control, &made)?).await;
    written(control, &made, receipt, StatusCode::ACCEPTED)
}

/// Changes what is said of a group.
#[utoipa::path(
    patch, path = "/{ownerId}/networkgroups/{networkGroupId}", tag = "groups", params(OfGroup, Wait),
    request_body = GroupChange,
    responses((status = 200, body = WrittenGroup<'static>), Refused)
)]
pub(super) async fn edit(
    of: OfGroup,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<GroupChange>,
) -> Result<Response, Refusal> {
    let control = &of.caller.control;
    let edit = GroupEdit {
        label: wanted.label,
        description: wanted.description,
        tags: wanted.tags,
        pool: pool(wanted.network_ip.as_deref())?,
    };
    let waiting = wait.begin(control, &of.group);
    of.caller.ask(Command::EditGroup { group: of.group.clone(), edit }).await?;
    let receipt = waiting.end(revision_of(control, &of.group)?).await;
    written(control, &of.group, receipt, StatusCode::OK)
}

/// Deletes a group: its members are unlinked, their peers end, its names and addresses are gone.
#[utoipa::path(
    delete, path = "/{ownerId}/networkgroups/{networkGroupId}", tag = "groups", params(OfGroup),
    responses((status = 204, description = "It is gone."), Refused)
)]
pub(super) async fn delete(of: OfGroup) -> Result<Response, Refusal> {
    of.caller.ask(Command::DeleteGroup { group: of.group }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Finds groups, members and peers by a piece of their id or label.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/search", tag = "groups", params(OfOwner, Query),
    responses((status = 200, body = Vec<FoundView<'static>>), Refused)
)]
pub(super) async fn find(of: OfOwner, Asked(asked): Asked<Query>) -> Response {
    let live = &of.caller.control.live;
    let (published, presence) = (live.read(), live.presence.now());
    let found = search(of.caller.groups(&published.state), asked.query.as_deref().unwrap_or_default());
    let found: Vec<_> = found.iter().map(|found| view::found(found, &presence)).collect();
    http::json(StatusCode::OK, &found)
}

/// The revision at which a group is.
pub(super) fn revision_of(control: &Control, group: &GroupId) -> Result<Revision, Problem> {
    let published = control.live.read();
    published.state.group(group).map(|held| held.row.revision).ok_or_else(|| no_group(group.as_str()))
}

fn new_group(control: &Control, of: &OfOwner, wanted: GroupWanted) -> Result<NewGroup, Problem> {
    if wanted.owner_id.as_deref().is_some_and(|owner| owner != of.owner.as_str()) {
        let message = "ownerId differs from the owner in the path; leave it out, or name the same";
        return Err(Problem::new(Code::BadRequest, message).in_field("ownerId"));
    }
    let check_ownership =
        |text: &String| matches!(text.to_ascii_uppercase().as_str(), "CUSTOMER" | "PLATFORM");
    if wanted.ownership.as_ref().is_some_and(|text| !check_ownership(text)) {
        let message = "ownership is none of CUSTOMER and PLATFORM";
        return Err(Problem::new(Code::BadRequest, message).in_field("ownership"));
    }
    let members = wanted.members.unwrap_or_default();
    Ok(NewGroup {
        id: maybe(wanted.id.as_deref(), "id")?,
        owner: of.owner.clone(),
        edit: GroupEdit {
            label: wanted.label,
            description: wanted.description,
            tags: wanted.tags,
            pool: pool(wanted.network_ip.as_deref())?,
        },
        members: members.into_iter().map(new_member).collect::<Result<_, _>>()?,
        suffixes: control.suffixes.clone(),
    })
}

pub(super) fn new_member(wanted: MemberWanted) -> Result<NewMember, Problem> {
    Ok(NewMember {
        id: parsed(&needed(wanted.id, "id")?, "id")?,
        kind: kind(wanted.kind.as_deref())?,
        label: wanted.label,
        domain: wanted.domain_name,
    })
}

fn pool(text: Option<&str>) -> Result<Option<ipnetwork::Ipv4Network>, Problem> {
    let wrong = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
        let message = format!("{text:?} is no IPv4 range; write 10.0.0.0/16");
        Problem::new(Code::BadRequest, message).in_field("networkIp")
    };
    text.map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}

fn written(
    control: &Control,
    group: &GroupId,
    receipt: Option<ReceiptView>,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let (published, presence) = (control.live.read(), control.live.presence.now());
    let held = published.state.group(group).ok_or_else(|| no_group(group.as_str()))?;
    Ok(http::json(status, &WrittenGroup { group: view::group(held, &presence), receipt }))
}
