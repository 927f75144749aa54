//! Join: a node shows a token and gets a grant (DESIGN ruling 3).
//!
//! Joining is idempotent on (identity, token): who used a token before gets the same answer, even when the
//! token has ended by time or use since, because the first answer may have been lost on the way. Only a
//! revoked token ends that.
//!
//! A token without a member makes the node a member of its own. Such a member leaves with the node's peer;
//! joining again brings both back under the same id.

use lacis_proto::{Code, IdentityKey, MemberId, NodeId, OwnerId, Problem, Revision, Secret, TokenId};

use crate::{
    Decision, Reply,
    access::secret_matches,
    decision::Effects,
    limits, member,
    row::{GrantRow, JoinTokenRow, JoinUseRow, NodeRow, NodeState, Row},
    state::Group,
    text,
};

pub(crate) struct Asked<'a> {
    pub(crate) token: &'a TokenId,
    pub(crate) secret: &'a Secret,
    pub(crate) identity: &'a IdentityKey,
    pub(crate) host_name: &'a str,
    pub(crate) agent: &'a str,
}

pub(crate) fn join(mut fx: Effects<'_>, asked: &Asked<'_>) -> Result<Decision, Problem> {
    text::check(asked.host_name, limits::MAX_HOST_NAME_BYTES, "host_name")?;
    text::check(asked.agent, limits::MAX_AGENT_BYTES, "agent")?;
    let token = proven(&fx, asked)?;
    let known = fx.state.node_of.get(asked.identity).map(|id| &fx.state.nodes[id]);
    if let Some(node) = known.filter(|node| node.state == NodeState::Revoked) {
        return Err(revoked_node(&node.id));
    }
    let held = &fx.state.groups[&token.group];
    let used = fx.state.join_uses.get(&(token.id.clone(), *asked.identity));
    if used.is_none() {
        check_usable(token, fx.now_ms)?;
    }
    if let (Some(used), Some(node)) = (used, known) {
        let key = (node.id.clone(), token.group.clone(), used.member.clone());
        if let Some(grant) = fx.state.grants.get(&key) {
            let reply = joined(grant);
            return Ok(fx.unchanged(reply));
        }
    }
    let hosted = known.and_then(|node| held.peer_of(&node.id));
    if let (Some(peer), Some(node), Some(member)) = (hosted, known.map(|node| &node.id), &token.member)
        && peer.member != *member
    {
        return Err(member_conflict(node, &peer.member, member, held));
    }
    let node =
        known.map(|node| node.id.clone()).map_or_else(|| enrol(&mut fx, asked, &held.row.owner), Ok)?;
    let own = || used.map(|used| used.member.clone());
    let member = match &token.member {
        Some(member) => member.clone(),
        None => member_of_its_own(&mut fx, held, &node, own(), asked.host_name)?,
    };
    if used.is_none() {
        fx.row(Row::JoinToken(JoinTokenRow { uses: token.uses.saturating_add(1), ..token.clone() }));
        let (token, identity, member) = (token.id.clone(), *asked.identity, member.clone());
        fx.row(Row::JoinUse(JoinUseRow { token, identity, member }));
    }
    let grant = GrantRow { node, group: token.group.clone(), member, issued_ms: fx.now_ms };
    let (reply, target) = (joined(&grant), grant.node.to_string());
    fx.row(Row::Grant(grant));
    Ok(fx.finish(reply, "node.join", &target))
}

pub(crate) fn revoked_node(node: &NodeId) -> Problem {
    Problem::new(Code::NodeRevoked, format!("{node} was revoked; it needs a new identity to join again"))
}

pub(crate) fn member_conflict(node: &NodeId, here: &MemberId, wanted: &MemberId, group: &Group) -> Problem {
    let (label, id) = (&group.row.label, &group.row.id);
    let message = format!(
        "{node} already runs a peer of member {here} in group {label:?} ({id}) and cannot run one of {wanted} \
         beside it; leave the group first, or use another machine"
    );
    Problem::new(Code::MemberConflict, message).in_field("member")
}

fn joined(grant: &GrantRow) -> Reply {
    Reply::Joined {
        node: grant.node.clone(),
        group: grant.group.clone(),
        member: grant.member.clone(),
        issued_ms: grant.issued_ms,
    }
}

/// The token, if the secret is its own. A wrong secret tells no more than an unknown token.
fn proven<'a>(fx: &Effects<'a>, asked: &Asked<'_>) -> Result<&'a JoinTokenRow, Problem> {
    let token = fx.state.join_tokens.get(asked.token);
    let Some(token) = token.filter(|token| secret_matches(&token.secret_hash, asked.secret)) else {
        let message = "this control knows no such join token; check that it was made here, or make a new one \
                       with: lacis-control token create";
        return Err(Problem::new(Code::TokenUnknown, message).in_field("token"));
    };
    if token.revoked {
        let message = format!("join token {} was revoked; ask for a new one", token.id);
        return Err(Problem::new(Code::TokenRevoked, message).in_field("token"));
    }
    Ok(token)
}

fn check_usable(token: &JoinTokenRow, now_ms: u64) -> Result<(), Problem> {
    if token.expires_ms.is_some_and(|expires| now_ms >= expires) {
        let message = format!("join token {} has expired; ask for a new one", token.id);
        return Err(Problem::new(Code::TokenExpired, message).in_field("token"));
    }
    if token.max_uses != 0 && token.uses >= token.max_uses {
        let JoinTokenRow { id, max_uses, .. } = token;
        let message = format!(
            "join token {id} has been used by all {max_uses} nodes that it was made for; ask for a new one"
        );
        return Err(Problem::new(Code::TokenUsedUp, message).in_field("token"));
    }
    Ok(())
}

fn enrol(fx: &mut Effects<'_>, asked: &Asked<'_>, owner: &OwnerId) -> Result<NodeId, Problem> {
    if fx.state.nodes.len() >= limits::MAX_NODES {
        let message = format!("this installation has {} nodes, the most it may", limits::MAX_NODES);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let id = NodeId::from_random(fx.random.draw());
    fx.new_node(NodeRow {
        id: id.clone(),
        identity: *asked.identity,
        owner: Some(owner.clone()),
        label: asked.host_name.to_owned(),
        state: NodeState::Active,
        revision: Revision(1),
        record_revision: Revision(1),
        floor: Revision(0),
        ended_ms: None,
    });
    Ok(id)
}

/// The member that stands for a node in a group: the one it has, the one it had, or a new one.
fn member_of_its_own(
    fx: &mut Effects<'_>,
    held: &Group,
    node: &NodeId,
    had: Option<MemberId>,
    host_name: &str,
) -> Result<MemberId, Problem> {
    if let Some(member) = held.members.values().find(|member| member.of_node.as_ref() == Some(node)) {
        return Ok(member.id.clone());
    }
    if held.members.len() >= limits::MAX_MEMBERS {
        let message = format!("group {} has {} members, the most it may", held.row.id, limits::MAX_MEMBERS);
        return Err(Problem::new(Code::LimitReached, message));
    }
    let id = had.unwrap_or_else(|| MemberId::external_from_random(fx.random.draw()));
    let mut row = member::new_row(held, &id, text::label_of_node(held, host_name));
    row.of_node = Some(node.clone());
    fx.put_member(row);
    Ok(id)
}
