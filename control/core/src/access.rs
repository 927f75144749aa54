//! Join tokens: making and ending them, and checking secrets.

use std::collections::BTreeSet;

use lacis_proto::{Code, GroupId, MemberId, Problem, Secret, TokenId};
use subtle::ConstantTimeEq as _;

use crate::{
    Decision, Reply,
    decision::Effects,
    limits, member,
    row::{JoinTokenRow, Row},
};

/// Whether a secret is the one whose hash is stored, in a time that tells nothing of it.
#[must_use]
pub fn secret_matches(hash: &[u8; 32], secret: &Secret) -> bool {
    bool::from(hash.ct_eq(&secret.hash()))
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
    make_room(&mut fx, group)?;
    if let Some(member) = member.filter(|member| !held.members.contains_key(*member)) {
        if held.members.len() >= limits::MAX_MEMBERS {
            let message = format!("group {group} has {} members, the most it may", limits::MAX_MEMBERS);
            return Err(Problem::new(Code::LimitReached, message));
        }
        fx.put_member(member::new_row(held, member, member.to_string()));
    }
    let (row, secret) = new_join_token(&mut fx, group, member.cloned(), max_uses, lifetime_ms);
    let target = row.id.to_string();
    fx.row(Row::JoinToken(row.clone()));
    Ok(fx.finish(Reply::JoinToken(row, secret), "join_token.create", &target))
}

/// Forgets join tokens of a group that have ended, where it has as many as it may.
fn make_room(fx: &mut Effects<'_>, group: &GroupId) -> Result<(), Problem> {
    let (state, now_ms) = (fx.state, fx.now_ms);
    let of_group: Vec<_> = state.join_tokens().filter(|row| row.group == *group).collect();
    if of_group.len() < limits::MAX_JOIN_TOKENS {
        return Ok(());
    }
    let ended = |row: &&JoinTokenRow| row.revoked || row.expires_ms.is_some_and(|expires| now_ms >= expires);
    let ended: Vec<_> = of_group.into_iter().filter(ended).collect();
    if ended.is_empty() {
        let message = format!("group {group} has {} join tokens, the most it may", limits::MAX_JOIN_TOKENS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    forget_join_tokens(fx, &ended.into_iter().map(|token| token.id.clone()).collect());
    Ok(())
}

/// Forgets join tokens and who has used them.
pub(crate) fn forget_join_tokens(fx: &mut Effects<'_>, ids: &BTreeSet<TokenId>) {
    let state = fx.state;
    for (token, identity) in state.join_uses.keys().filter(|(token, _)| ids.contains(token)) {
        fx.row(Row::JoinUseGone(token.clone(), *identity));
    }
    for id in ids {
        fx.row(Row::JoinTokenGone(id.clone()));
    }
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
