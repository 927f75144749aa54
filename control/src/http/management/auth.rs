//! Who calls: an API token, shown in any of the forms that clients use.
//!
//! | form | proves |
//! |---|---|
//! | `Authorization: Bearer lacis_api_…` | the secret whose hash is stored |
//! | `Authorization: OAuth …` ([`oauth`]) | the secret that is derived from a key outside the database |
//! | `?authorization=<base64 of either>` | the same, for event streams of browsers |
//!
//! A token manages what belongs to one owner, or some groups of it. What it does not manage and what does
//! not exist are answered alike, so nobody learns what others have.

use std::sync::Arc;

use ::http::{Method, header, request::Parts};
use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use lacis_control_core::{
    Access, Actor, ApiTokenRow, Command, Group, Reply, State, api_token, api_token_by_id,
};
use lacis_proto::{API_TOKEN_PREFIX, ApiToken, Code, GroupId, OwnerId, Problem, TokenId};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterBuilder, ParameterIn},
};

use super::oauth::{self, Header, Signed};
use crate::{
    app::Control,
    clock,
    http::{Refusal, limit},
    listener,
    live::Published,
};

/// Reads base64 with and without padding, as clients write it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How far the time of a signature may be from ours: nothing but TLS keeps it from being sent again, and
/// every call may be sent again without harm, so that clocks may be far off. Nonces are not remembered, for an
/// event stream shows the same signature at each reconnect.
const WINDOW_S: u64 = 15 * 60;

/// Somebody whose credential is right.
pub(super) struct Caller {
    pub(super) control: Arc<Control>,
    pub(super) token: ApiTokenRow,
}

/// A call about an owner that the caller manages.
pub(super) struct OfOwner {
    pub(super) caller: Caller,
    pub(super) owner: OwnerId,
}

/// A call about a group that the caller sees.
pub(super) struct OfGroup {
    pub(super) caller: Caller,
    pub(super) group: GroupId,
}

impl Caller {
    /// Has a command decided in the caller's name.
    pub(super) async fn ask(&self, command: Command) -> Result<Reply, Problem> {
        self.control.writer.ask_as(self.actor(), command).await
    }

    /// The caller, as the audit names it.
    pub(super) fn actor(&self) -> Actor {
        Actor::Token(self.token.id.clone())
    }

    /// Refuses a token that does not see all groups of its owner.
    pub(super) fn check_sees_all(&self) -> Result<(), Problem> {
        if self.token.sees_all() {
            return Ok(());
        }
        Err(Problem::new(
            Code::Forbidden,
            "this API token sees some groups only; use one for the whole owner",
        ))
    }

    /// The groups that the caller sees.
    pub(super) fn groups<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a Group> + Clone {
        let token = &self.token;
        state.groups().filter(move |group| group.row.owner == token.owner && token.sees(&group.row.id))
    }
}

impl OfGroup {
    /// The group, as it is now.
    pub(super) fn read<'a>(&self, published: &'a Published) -> Result<&'a Group, Problem> {
        published.state.group(&self.group).ok_or_else(|| no_group(self.group.as_str()))
    }
}

impl FromRequestParts<Arc<Control>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        let (now, ip) = (clock::now(), from(parts));
        let limits = &control.limits;
        limits.take(limit::Caller::address(ip), now)?;
        let token = match known(control, parts) {
            Ok(token) => token,
            Err(problem) => {
                limits.take(limit::Caller::stranger(ip), now)?;
                return Err(problem.into());
            }
        };
        limits.take(limit::Caller::Token(token.id.clone()), now)?;
        control.uses.note(&token.id, clock::unix_ms());
        let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !is_safe && token.access == Access::Read {
            return Err(Problem::new(Code::Forbidden, "this API token may read only").into());
        }
        Ok(Self { control: Arc::clone(control), token })
    }
}

impl FromRequestParts<Arc<Control>> for OfOwner {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, control).await?;
        let asked = named(parts, control, "ownerId").await?;
        if caller.token.owner.as_str() != asked {
            let message = "there is no such owner, or the API token does not manage it";
            return Err(Problem::new(Code::NotFound, message).into());
        }
        let owner = caller.token.owner.clone();
        Ok(Self { caller, owner })
    }
}

impl FromRequestParts<Arc<Control>> for OfGroup {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refusal> {
        let OfOwner { caller, owner } = OfOwner::from_request_parts(parts, control).await?;
        let asked = named(parts, control, "networkGroupId").await?;
        let group = {
            let published = control.live.read();
            let found = GroupId::parse(&asked).ok().filter(|id| {
                let held = published.state.group(id);
                held.is_some_and(|held| held.row.owner == owner) && caller.token.sees(id)
            });
            found.ok_or_else(|| no_group(&asked))?
        };
        Ok(Self { caller, group })
    }
}

impl IntoParams for OfOwner {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path_param("ownerId", "The owner: `orga_<uuid>` or `user_<uuid>`.")]
    }
}

impl IntoParams for OfGroup {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut params = OfOwner::into_params(parameter_in);
        params.push(path_param("networkGroupId", "The network group: `ng_<uuid>`."));
        params
    }
}

fn path_param(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(utoipa::openapi::Required::True)
        .description(Some(description))
        .schema(Some(utoipa::openapi::schema::Object::with_type(utoipa::openapi::schema::Type::String)))
        .build()
}

/// The token that a request shows, if it is one that we know.
fn known(control: &Control, parts: &Parts) -> Result<ApiTokenRow, Problem> {
    let shown = credential(parts).ok_or_else(|| {
        unauthorized("this call needs \"Authorization: Bearer lacis_api_…\", or the same token by OAuth 1.0")
    })?;
    let (scheme, rest) = shown.split_once(' ').unwrap_or((&shown, ""));
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => bearer(control, rest.trim()),
        "oauth" => signed(control, parts, rest),
        _ => Err(unauthorized("the Authorization header begins with neither \"Bearer\" nor \"OAuth\"")),
    }
}

/// The header, or what stands for it in the query.
fn credential(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(header) = header {
        return Some(header.to_owned());
    }
    let query = parts.uri.query()?;
    let (_, value) = oauth::pairs(query).find(|(name, _)| name == "authorization")?;
    // A '+' of base64 that was not encoded has become a space; URL-safe forms are read as well.
    let value = value.replace([' ', '-'], "+").replace('_', "/");
    String::from_utf8(LENIENT.decode(value).ok()?).ok()
}

fn bearer(control: &Control, text: &str) -> Result<ApiTokenRow, Problem> {
    let shown = text.strip_prefix(API_TOKEN_PREFIX).map(|_| text.parse::<ApiToken>());
    let token = shown.and_then(Result::ok);
    let published = control.live.read();
    let known = token.and_then(|token| api_token(&published.state, &token, clock::unix_ms()));
    known.cloned().ok_or_else(unknown)
}

fn signed(control: &Control, parts: &Parts, header: &str) -> Result<ApiTokenRow, Problem> {
    let header = Header::parse(header).map_err(unauthorized)?;
    let now_ms = clock::unix_ms();
    let is_stale = |at: u64| at.abs_diff(now_ms / 1_000) > WINDOW_S;
    if header.method != oauth::Method::Plaintext && header.timestamp_s.is_some_and(is_stale) {
        let message = "the request was signed too far away from the time of control; set the clock";
        let mut problem = Problem::new(Code::ClockSkew, message);
        problem.now_ms = Some(now_ms);
        return Err(problem);
    }
    let id = TokenId::parse(&header.token).map_err(|_| unknown())?;
    let consumer = control.consumers.secret_of(&header.consumer);
    if consumer.is_none() && !control.consumers.takes_any() {
        return Err(unauthorized("this control knows no such oauth_consumer_key"));
    }
    // Nested routes see their own part of the path only.
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let request = Signed {
        method: parts.method.as_str(),
        scheme: "https",
        host: host.or_else(|| uri.authority().map(|host| host.as_str())).unwrap_or_default(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
    };
    if !header.verifies(&request, consumer, &control.keys.api_secret(&id)) {
        return Err(unknown());
    }
    let published = control.live.read();
    api_token_by_id(&published.state, &id, now_ms).cloned().ok_or_else(unknown)
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(Code::Unauthorized, message)
}

/// A token that does not exist, has ended or was shown with a wrong secret: nobody is told which.
fn unknown() -> Problem {
    unauthorized("this control knows no such API token, or its time is over, or its secret is another")
}

pub(super) fn no_group(asked: &str) -> Problem {
    let name: String = asked.chars().filter(|c| !c.is_control()).take(64).collect();
    Problem::new(Code::NotFound, format!("there is no group {name}"))
}

/// The address that a request comes from.
pub(super) fn from(parts: &Parts) -> std::net::IpAddr {
    let caller = parts.extensions.get::<listener::Caller>();
    caller.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |caller| caller.0.ip())
}

async fn named(parts: &mut Parts, control: &Arc<Control>, name: &str) -> Result<String, Problem> {
    let missing = || Problem::new(Code::NotFound, "the path names nothing that there is");
    let params = RawPathParams::from_request_parts(parts, control).await.map_err(|_| missing())?;
    let found = params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(missing)
}
