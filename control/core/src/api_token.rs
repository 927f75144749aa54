//! API tokens: who may manage what, until when, and when it last did.
//!
//! A token belongs to one owner, reads or writes, and sees all groups of the owner or those it names. Its
//! two credentials are the bearer string, whose secret is stored as a hash, and the pair of OAuth 1.0, whose
//! secret is derived by the shell and not stored at all.

use std::collections::BTreeSet;

use lacis_proto::{ApiToken, Code, GroupId, OwnerId, Problem, Secret, TokenId};

use crate::{
    Decision, Reply, State,
    access::secret_matches,
    decision::Effects,
    limits,
    row::{Access, ApiTokenRow, Row},
    text,
};

/// An API token as it is asked for.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// Whose groups it manages.
    pub owner: OwnerId,
    /// What people call it.
    pub label: String,
    /// What it may do.
    pub access: Access,
    /// The groups that it sees; all where it names none.
    pub groups: BTreeSet<GroupId>,
    /// How long it may be used, in milliseconds.
    pub lifetime_ms: Option<u64>,
}

impl NewApiToken {
    /// A token that may do everything with the groups of an owner, for ever.
    #[must_use]
    pub fn all_of(owner: OwnerId) -> Self {
        Self {
            owner,
            label: String::new(),
            access: Access::Write,
            groups: BTreeSet::new(),
            lifetime_ms: None,
        }
    }
}

impl ApiTokenRow {
    /// Whether it shows a group of its owner.
    #[must_use]
    pub fn sees(&self, group: &GroupId) -> bool {
        self.groups.is_empty() || self.groups.contains(group)
    }

    /// Whether it sees all groups of its owner, also those that are yet to be made.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        self.groups.is_empty()
    }

    fn has_ended(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires| now_ms >= expires)
    }
}

/// The row of an API token whose secret is right and whose time is not over.
#[must_use]
pub fn api_token<'a>(state: &'a State, token: &ApiToken, now_ms: u64) -> Option<&'a ApiTokenRow> {
    let known = api_token_by_id(state, &token.id, now_ms);
    known.filter(|row| secret_matches(&row.secret_hash, &token.secret))
}

/// The row of an API token whose time is not over; its caller has yet to be proven.
#[must_use]
pub fn api_token_by_id<'a>(state: &'a State, id: &TokenId, now_ms: u64) -> Option<&'a ApiTokenRow> {
    state.api_tokens.get(id).filter(|row| !row.has_ended(now_ms))
}

pub(crate) fn create(mut fx: Effects<'_>, asked: &NewApiToken) -> Result<Decision, Problem> {
    let owner = &asked.owner;
    if !fx.state.owners.contains_key(owner) {
        return Err(Problem::new(Code::NotFound, format!("there is no owner {owner}")).in_field("owner"));
    }
    if !asked.label.is_empty() {
        text::check_label(&asked.label, "label")?;
    }
    if asked.groups.len() > limits::MAX_TOKEN_GROUPS {
        let message = format!("an API token names at most {} groups", limits::MAX_TOKEN_GROUPS);
        return Err(Problem::new(Code::BadRequest, message).in_field("groups"));
    }
    let is_ours = |id: &&GroupId| fx.state.group(id).is_some_and(|group| group.row.owner == *owner);
    if let Some(other) = asked.groups.iter().find(|id| !is_ours(id)) {
        return Err(Problem::new(Code::NotFound, format!("there is no group {other}")).in_field("groups"));
    }
    make_room(&mut fx)?;
    let (row, secret) = new(&mut fx, asked);
    let target = row.id.to_string();
    fx.row(Row::ApiToken(row.clone()));
    Ok(fx.finish(Reply::ApiToken(row, secret), "api_token.create", &target))
}

pub(crate) fn revoke(
    mut fx: Effects<'_>,
    owner: Option<&OwnerId>,
    id: &TokenId,
) -> Result<Decision, Problem> {
    let known = fx.state.api_tokens.get(id).filter(|row| owner.is_none_or(|owner| row.owner == *owner));
    if known.is_none() {
        return Err(Problem::new(Code::NotFound, format!("there is no API token {id}")));
    }
    fx.row(Row::ApiTokenGone(id.clone()));
    Ok(fx.finish(Reply::Done, "api_token.revoke", id.as_str()))
}

/// Takes note of when tokens were last used; a token that is gone meanwhile is passed over.
pub(crate) fn note_uses(mut fx: Effects<'_>, uses: &[(TokenId, u64)]) -> Decision {
    for (id, used_ms) in uses {
        let Some(row) = fx.state.api_tokens.get(id) else { continue };
        if row.last_used_ms.is_none_or(|before| before < *used_ms) {
            fx.row(Row::ApiToken(ApiTokenRow { last_used_ms: Some(*used_ms), ..row.clone() }));
        }
    }
    fx.unlogged(Reply::Done)
}

pub(crate) fn new(fx: &mut Effects<'_>, asked: &NewApiToken) -> (ApiTokenRow, Secret) {
    let id = TokenId::from_bytes(fx.random.draw());
    let secret = Secret::new(fx.random.draw());
    let row = ApiTokenRow {
        id,
        secret_hash: secret.hash(),
        owner: asked.owner.clone(),
        label: asked.label.clone(),
        access: asked.access,
        groups: asked.groups.clone(),
        created_ms: fx.now_ms,
        expires_ms: asked.lifetime_ms.map(|lifetime| fx.now_ms.saturating_add(lifetime)),
        last_used_ms: None,
    };
    (row, secret)
}

/// Forgets tokens whose time is over where the table is full.
fn make_room(fx: &mut Effects<'_>) -> Result<(), Problem> {
    let state = fx.state;
    if state.api_tokens.len() < limits::MAX_API_TOKENS {
        return Ok(());
    }
    let ended: Vec<_> = state.api_tokens.values().filter(|row| row.has_ended(fx.now_ms)).collect();
    if ended.is_empty() {
        let message = format!("there are {} API tokens, the most there may be", limits::MAX_API_TOKENS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    for row in ended {
        fx.row(Row::ApiTokenGone(row.id.clone()));
    }
    Ok(())
}
