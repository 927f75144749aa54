//! Members of a group: listed, shown, linked, changed, unlinked.

use ::http::StatusCode;
use axum::response::Response;
use lacis_control_core::{Command, Reply};
use lacis_proto::{MemberId, Revision};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    auth::OfGroup,
    body::{Asked, Body, Named},
    gone, groups, missing,
    problem::Refused,
    view::{self, KindView, MemberView, ReceiptView, Removed, Written},
    wait::{Force, Wait},
};
use crate::http::{self, Refusal};

/// A member as a client wants it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberWanted {
    /// The resource's own id: `app_<uuid>`, `postgresql_…`, `external_<uuid>` or another `<word>_…`.
    #[schema(required = true, nullable = false, max_length = 63, pattern = "^[a-z][a-z0-9]*_[a-z0-9-]+$")]
    pub(super) id: Option<String>,
    /// A name under a suffix of the group; `<memberID>.m.<ngID>.<suffix>` where it is left out.
    #[schema(pattern = "^[a-z0-9_-]+(\\.[a-z0-9_-]+)+$", max_length = 253)]
    pub(super) domain_name: Option<String>,
    /// In any case; the id tells where it is left out.
    #[schema(value_type = Option<KindView>)]
    pub(super) kind: Option<String>,
    /// The id where it is left out.
    #[schema(min_length = 1, max_length = 128)]
    pub(super) label: Option<String>,
}

/// What is to change of a member; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberChange {
    #[schema(min_length = 1, max_length = 128)]
    label: Option<String>,
    #[schema(pattern = "^[a-z0-9_-]+(\\.[a-z0-9_-]+)+$", max_length = 253)]
    domain_name: Option<String>,
}

/// A member in a path.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Path)]
pub(super) struct MemberPath {
    /// The member's id.
    member_id: String,
}

/// Lists the members of a group.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/members", tag = "members", params(OfGroup),
    responses((status = 200, body = Vec<MemberView<'static>>), Refused)
)]
pub(super) async fn list(of: OfGroup) -> Result<Response, Refusal> {
    let published = of.caller.control.live.read();
    let members: Vec<_> = of.read(&published)?.members.values().map(view::member).collect();
    Ok(http::json(StatusCode::OK, &members))
}

/// Shows a member.
#[utoipa::path(
    get, path = "/{ownerId}/networkgroups/{networkGroupId}/members/{memberId}", tag = "members",
    params(OfGroup, MemberPath),
    responses((status = 200, body = MemberView<'static>), Refused)
)]
pub(super) async fn show(of: OfGroup, Named(named): Named<MemberPath>) -> Result<Response, Refusal> {
    let published = of.caller.control.live.read();
    let id = MemberId::parse(&named.member_id).ok();
    let held = of.read(&published)?;
    let row = id.and_then(|id| held.members.get(&id)).ok_or_else(|| missing("member", &named.member_id))?;
    Ok(http::json(StatusCode::OK, &view::member(row)))
}

/// Links a member to a group, or says one anew: what is left out stays.
#[utoipa::path(
    post, path = "/{ownerId}/networkgroups/{networkGroupId}/members", tag = "members", params(OfGroup, Wait),
    request_body = MemberWanted,
    responses((status = 202, body = Written<MemberView<'static>>), Refused)
)]
pub(super) async fn link(
    of: OfGroup,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<MemberWanted>,
) -> Result<Response, Refusal> {
    let member = groups::new_member(wanted)?;
    let (waiting, id) = (wait.begin(&of.caller.control, &of.group), member.id.clone());
    let reply = of.caller.ask(Command::LinkMember { group: of.group.clone(), member }).await?;
    let revision = at(&reply);
    let receipt = waiting.end(revision).await;
    written(&of, &id, revision, receipt, StatusCode::ACCEPTED)
}

/// Changes the label or the domain name of a member.
#[utoipa::path(
    patch, path = "/{ownerId}/networkgroups/{networkGroupId}/members/{memberId}", tag = "members",
    params(OfGroup, MemberPath, Wait), request_body = MemberChange,
    responses((status = 200, body = Written<MemberView<'static>>), Refused)
)]
pub(super) async fn edit(
    of: OfGroup,
    Named(named): Named<MemberPath>,
    Asked(wait): Asked<Wait>,
    Body(wanted): Body<MemberChange>,
) -> Result<Response, Refusal> {
    let member = MemberId::parse(&named.member_id).map_err(|_| missing("member", &named.member_id))?;
    let waiting = wait.begin(&of.caller.control, &of.group);
    let (group, label, domain) = (of.group.clone(), wanted.label, wanted.domain_name);
    let reply = of.caller.ask(Command::EditMember { group, member: member.clone(), label, domain }).await?;
    let revision = at(&reply);
    let receipt = waiting.end(revision).await;
    written(&of, &member, revision, receipt, StatusCode::OK)
}

/// Unlinks a member: its peers end at once, nodes lose the grant to run others, and its join tokens end.
#[utoipa::path(
    delete, path = "/{ownerId}/networkgroups/{networkGroupId}/members/{memberId}", tag = "members",
    params(OfGroup, MemberPath, Force, Wait),
    responses(
        (status = 204, description = "It is unlinked, or was not linked."),
        (status = 200, description = "The same, where `wait` was asked.", body = Removed),
        Refused
    )
)]
pub(super) async fn unlink(
    of: OfGroup,
    Named(named): Named<MemberPath>,
    Asked(Force { force }): Asked<Force>,
    Asked(wait): Asked<Wait>,
) -> Result<Response, Refusal> {
    let member = MemberId::parse(&named.member_id).map_err(|_| missing("member", &named.member_id))?;
    let waiting = wait.begin(&of.caller.control, &of.group);
    let reply = of.caller.ask(Command::UnlinkMember { group: of.group.clone(), member, force }).await?;
    let revision = at(&reply);
    Ok(gone(revision, waiting.end(revision).await))
}

/// The revision in an answer of the writer.
pub(super) fn at(reply: &Reply) -> Revision {
    let Reply::At(revision) = reply else { unreachable!("a change in a group is answered by its revision") };
    *revision
}

fn written(
    of: &OfGroup,
    id: &MemberId,
    revision: Revision,
    receipt: Option<ReceiptView>,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let published = of.caller.control.live.read();
    let row = of.read(&published)?.members.get(id).ok_or_else(|| missing("member", id.as_str()))?;
    Ok(http::json(status, &Written { object: view::member(row), version: revision.0, receipt }))
}
