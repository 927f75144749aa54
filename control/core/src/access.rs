//! Tokens: making and ending join tokens and API tokens, and checking their secrets.

use lacis_proto::{ApiToken, Code, GroupId, MemberId, OwnerId, Problem, Secret, TokenId};
use subtle::ConstantTimeEq as _;

use crate::{
    Decision, Reply, State,
    decision::Effects,
    group, limits,
    row::{ApiTokenRow, JoinTokenRow, Row},
};

/// Whether a secret is the one whose hash is stored, in a time that tells nothing of it.
#[must_use]
pub fn secret_matches(hash: &[u8; 32], secret: &Secret) -> bool {
    bool::from(hash.ct_eq(&secret.hash()))
}

/// The row of an API token whose secret is right.
#[must_use]
pub fn api_token<'a>(state: &'a State, token: &ApiToken) -> Option<&'a ApiTokenRow> {
    state.api_tokens.get(&token.id).filter(|row| secret_matches(&row.secret_hash, &token.secret))
}

pub(crate) fn create_join_token(
    mut fx: Effects<'_>,
    group: &GroupId,
    member: Option<&MemberId>,
    max_uses: u32,
    lifetime_ms: Option<u64>,
) -> Result<Decision, Problem> {
    let Some(held) = fx.state.group(group) else {
        return Err(Problem::new(Code::NotFound, format!("there is no group {group}")).in_field("group"));
    };
    if fx.state.join_tokens().filter(|row| row.group == *group).count() >= limits::MAX_JOIN_TOKENS {
        let message = format!("group {group} has {} join tokens, the most it may", limits::MAX_JOIN_TOKENS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    if let Some(member) = member.filter(|member| !held.members.contains_key(*member)) {
        if held.members.len() >= limits::MAX_MEMBERS {
            let message = format!("group {group} has {} members, the most it may", limits::MAX_MEMBERS);
            return Err(Problem::new(Code::LimitReached, message));
        }
        fx.put_member(group::member_row(fx.state, group, member, member.to_string()));
    }
    let (row, secret) = new_join_token(&mut fx, group, member.cloned(), max_uses, lifetime_ms);
    let target = row.id.to_string();
    fx.row(Row::JoinToken(row.clone()));
    Ok(fx.finish(Reply::JoinToken(row, secret), "join_token.create", &target))
}

pub(crate) fn revoke_join_token(mut fx: Effects<'_>, token: &TokenId) -> Result<Decision, Problem> {
    let Some(row) = fx.state.join_tokens.get(token) else {
        return Err(Problem::new(Code::NotFound, format!("there is no join token {token}")));
    };
    if row.revoked {
        return Ok(fx.unchanged(Reply::Done));
    }
    let row = JoinTokenRow { revoked: true, ..row.clone() };
    fx.row(Row::JoinToken(row));
    Ok(fx.finish(Reply::Done, "join_token.revoke", token.as_str()))
}

pub(crate) fn create_api_token(mut fx: Effects<'_>, owner: &OwnerId) -> Result<Decision, Problem> {
    if !fx.state.owners.contains_key(owner) {
        return Err(Problem::new(Code::NotFound, format!("there is no owner {owner}")).in_field("owner"));
    }
    if fx.state.api_tokens.len() >= limits::MAX_API_TOKENS {
        let message = format!("there are {} API tokens, the most there may be", limits::MAX_API_TOKENS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let (row, secret) = new_api_token(&mut fx, owner);
    let target = row.id.to_string();
    fx.row(Row::ApiToken(row.clone()));
    Ok(fx.finish(Reply::ApiToken(row, secret), "api_token.create", &target))
}

pub(crate) fn new_join_token(
    fx: &mut Effects<'_>,
    group: &GroupId,
    member: Option<MemberId>,
    max_uses: u32,
    lifetime_ms: Option<u64>,
) -> (JoinTokenRow, Secret) {
    let id = TokenId::from_bytes(fx.random.draw());
    let secret = Secret::new(fx.random.draw());
    let row = JoinTokenRow {
        id,
        secret_hash: secret.hash(),
        group: group.clone(),
        member,
        max_uses,
        uses: 0,
        expires_ms: lifetime_ms.map(|lifetime| fx.now_ms.saturating_add(lifetime)),
        revoked: false,
        created_ms: fx.now_ms,
    };
    (row, secret)
}

pub(crate) fn new_api_token(fx: &mut Effects<'_>, owner: &OwnerId) -> (ApiTokenRow, Secret) {
    let id = TokenId::from_bytes(fx.random.draw());
    let secret = Secret::new(fx.random.draw());
    let row = ApiTokenRow { id, secret_hash: secret.hash(), owner: owner.clone(), created_ms: fx.now_ms };
    (row, secret)
}
