//! Who is behind a credential, in the shape that the platform's command line reads.
//!
//! A token belongs to one owner. It is shown as the user, so that commands without `--org` mean it, and where
//! it is an organisation also as that, so that `--org` finds it by id and by name.

use ::http::StatusCode;
use axum::response::Response;
use lacis_control_core::Group;
use lacis_proto::MemberKind;
use serde::Serialize;
use utoipa::ToSchema;

use super::{auth::Caller, problem::Refused};
use crate::http;

/// A user or an organisation with what is linked to its groups.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = Owner)]
pub(super) struct OwnerView {
    id: String,
    name: String,
    applications: Vec<ResourceView>,
    addons: Vec<ResourceView>,
}

/// An application or an add-on.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Resource)]
pub(super) struct ResourceView {
    id: String,
    name: String,
    /// The same as `id`: add-ons are named by their real ids here.
    real_id: String,
    /// The kind of add-on, as `postgresql-addon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<String>,
}

/// All that a credential shows.
#[derive(Serialize, ToSchema)]
pub(super) struct Summary {
    user: OwnerView,
    organisations: Vec<OwnerView>,
}

/// Who is behind a credential.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Self)]
pub(super) struct SelfView {
    id: String,
    name: String,
    email: String,
    lang: &'static str,
    /// The API token that is shown.
    token_id: String,
}

/// Tells the owners behind a credential, with their applications and add-ons.
#[utoipa::path(get, path = "/v2/summary", tag = "credential", responses((status = 200, body = Summary), Refused))]
pub(super) async fn summary(caller: Caller) -> Response {
    let owner = owner(&caller);
    let organisations = if owner.id.starts_with("orga_") { vec![owner.clone()] } else { Vec::new() };
    http::json(StatusCode::OK, &Summary { user: owner, organisations })
}

/// Tells who is behind a credential.
#[utoipa::path(get, path = "/v2/self", tag = "credential", responses((status = 200, body = SelfView), Refused))]
pub(super) async fn myself(caller: Caller) -> Response {
    let owner = owner(&caller);
    let (email, token_id) = (String::new(), caller.token.id.to_string());
    http::json(StatusCode::OK, &SelfView { id: owner.id, name: owner.name, email, lang: "EN", token_id })
}

fn owner(caller: &Caller) -> OwnerView {
    let published = caller.control.live.read();
    let id = &caller.token.owner;
    let known = published.state.owner(id);
    let groups = || caller.groups(&published.state);
    OwnerView {
        id: id.to_string(),
        name: known.map_or_else(|| id.to_string(), |owner| owner.label.clone()),
        applications: resources(groups(), MemberKind::Application),
        addons: resources(groups(), MemberKind::Addon),
    }
}

/// What is linked to any of the groups, each once.
fn resources<'a>(groups: impl Iterator<Item = &'a Group>, kind: MemberKind) -> Vec<ResourceView> {
    let members = groups.flat_map(|group| group.members.values()).filter(|member| member.kind == kind);
    let mut found: Vec<ResourceView> = members
        .map(|member| {
            let (id, name) = (member.id.to_string(), member.label.clone());
            let word = id.split_once('_').map(|(word, _)| format!("{word}-addon"));
            let provider_id = word.filter(|_| kind == MemberKind::Addon);
            ResourceView { real_id: id.clone(), id, name, provider_id }
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    found
}
