//! The calls of the command line, and what they are answered.

use std::net::SocketAddr;

use lacis_control_core::{
    Access, Actor, Command, Group, JoinTokenRow, NewApiToken, NodeState, OwnerRow, Reply, State,
};
use lacis_proto::relay::RelayEntry;
use lacis_proto::{Code, GroupId, IdentityKey, MemberId, NodeId, OwnerId, Problem, RelayId, TokenId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::nodes;
use crate::{app, app::Control, clock, http::management::ApiTokenView, relays::Naming};

/// What the command line may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(crate) enum Call {
    /// Answered by [`Made`].
    CreateJoinToken { group: Option<String>, member: Option<MemberId>, uses: u32, lifetime_ms: Option<u64> },
    /// Answered by a list of [`TokenEntry`].
    ListJoinTokens { group: Option<String> },
    /// Answered by nothing.
    RevokeJoinToken { id: TokenId },
    /// Answered by an API token with its secrets.
    CreateApiToken {
        owner: Option<OwnerId>,
        label: String,
        may_write: bool,
        groups: Vec<GroupId>,
        lifetime_ms: Option<u64>,
    },
    /// Answered by an [`OwnerEntry`].
    PutOwner { id: Option<OwnerId>, label: String },
    /// Answered by a list of [`OwnerEntry`].
    ListOwners,
    /// Answered by a list of API tokens.
    ListApiTokens,
    /// Answered by nothing.
    RevokeApiToken { id: TokenId },
    /// Answered by a list of [`nodes::NodeEntry`].
    ListNodes,
    /// Answered by the [`nodes::NodeEntry`] of an id or label.
    ShowNode { node: String },
    /// Answered by the [`nodes::NodeEntry`] as it is afterwards.
    RevokeNode { node: String },
    /// Answered by the list of [`RelayEntry`] as it is afterwards.
    AddRelay { entry: RelayEntry },
    /// Answered by a list of [`RelayEntry`].
    ListRelays,
    /// Answered by the list of [`RelayEntry`] as it is afterwards.
    RemoveRelay { id: RelayId },
    /// Answered by [`Status`].
    Status,
}

/// A new join token, with its secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) token: String,
    #[serde(flatten)]
    pub(crate) entry: TokenEntry,
}

/// A join token, without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenEntry {
    pub(crate) id: TokenId,
    pub(crate) group: GroupId,
    pub(crate) member: Option<MemberId>,
    pub(crate) uses: u32,
    /// 0 for any number.
    pub(crate) max_uses: u32,
    pub(crate) expires_ms: Option<u64>,
    /// `usable`, `expired`, `used_up` or `revoked`.
    pub(crate) state: String,
}

/// An owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OwnerEntry {
    pub(crate) id: OwnerId,
    pub(crate) label: String,
}

/// What a control holds and who is connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) running: bool,
    pub(crate) version: String,
    pub(crate) urls: Vec<String>,
    /// The installation key: relays elsewhere know control by it.
    pub(crate) key: IdentityKey,
    pub(crate) connected: usize,
    /// The relay in this process: pairs that it connects lose each other when control stops.
    pub(crate) relay: Option<StatusRelay>,
    pub(crate) groups: Vec<StatusGroup>,
    pub(crate) nodes: Vec<StatusNode>,
}

/// The relay in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusRelay {
    pub(crate) id: RelayId,
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) leases: usize,
}

/// A group in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusGroup {
    pub(crate) id: GroupId,
    pub(crate) label: String,
    pub(crate) pool: String,
    pub(crate) members: usize,
    pub(crate) peers: usize,
    pub(crate) version: u64,
}

/// A node in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusNode {
    pub(crate) id: NodeId,
    pub(crate) label: String,
    pub(crate) revoked: bool,
    pub(crate) connected_s: Option<u64>,
    pub(crate) agent: Option<String>,
    pub(crate) underlay: Option<String>,
}

/// Does what a call asks for.
pub(crate) async fn perform(control: &Control, call: Call) -> Result<Value, Problem> {
    match call {
        Call::CreateJoinToken { group, member, uses, lifetime_ms } => {
            let group = find_group(&control.live.read().state, group.as_deref())?.row.id.clone();
            value(&make_join_token(control, Actor::Control, group, member, uses, lifetime_ms).await?)
        }
        Call::ListJoinTokens { group } => value(&{
            let published = control.live.read();
            let group = group.map(|name| find_group(&published.state, Some(&name))).transpose()?;
            let of_group = |row: &&JoinTokenRow| group.is_none_or(|group| group.row.id == row.group);
            published.state.join_tokens().filter(of_group).map(entry).collect::<Vec<_>>()
        }),
        Call::RevokeJoinToken { id } => {
            control.writer.ask(Command::RevokeJoinToken { token: id }).await?;
            Ok(Value::Null)
        }
        Call::AddRelay { entry } => {
            name_relay(control, Naming::Put(entry))?;
            value(control.relays.all().as_ref())
        }
        Call::ListRelays => value(control.relays.all().as_ref()),
        Call::RemoveRelay { id } => {
            name_relay(control, Naming::Remove(id))?;
            value(control.relays.all().as_ref())
        }
        Call::ListNodes => value(&nodes::all(&control.live.read(), &control.live.presence)),
        Call::ShowNode { node } => value(&nodes::one(&control.live.read(), &control.live.presence, &node)?),
        Call::RevokeNode { node } => {
            let node = nodes::find(&control.live.read().state, &node)?.id.clone();
            control.writer.ask(Command::RevokeNode { node: node.clone(), owner: None }).await?;
            value(&nodes::one(&control.live.read(), &control.live.presence, node.as_str())?)
        }
        Call::CreateApiToken { owner, label, may_write, groups, lifetime_ms } => {
            let first = || control.live.read().state.owners().next().map(|owner| owner.id.clone());
            let owner =
                owner.or_else(first).ok_or_else(|| Problem::new(Code::NotFound, "there is no owner"))?;
            let access = if may_write { Access::Write } else { Access::Read };
            let groups = groups.into_iter().collect();
            let asked = NewApiToken { owner, label, access, groups, lifetime_ms };
            let reply = control.writer.ask(Command::CreateApiToken(asked)).await?;
            value(&ApiTokenView::made(control, reply))
        }
        Call::PutOwner { id, label } => {
            let Reply::Owner(row) = control.writer.ask(Command::PutOwner { id, label }).await? else {
                unreachable!("an owner is answered by it");
            };
            value(&OwnerEntry { id: row.id, label: row.label })
        }
        Call::ListOwners => {
            let published = control.live.read();
            let entry = |row: &OwnerRow| OwnerEntry { id: row.id.clone(), label: row.label.clone() };
            value(&published.state.owners().map(entry).collect::<Vec<_>>())
        }
        Call::ListApiTokens => {
            let published = control.live.read();
            let tokens = published.state.api_tokens();
            value(&tokens.map(|row| ApiTokenView::new(control, row)).collect::<Vec<_>>())
        }
        Call::RevokeApiToken { id } => {
            control.writer.ask(Command::RevokeApiToken { owner: None, token: id }).await?;
            Ok(Value::Null)
        }
        Call::Status => value(&status(control)),
    }
}

/// Makes a join token; its text is told this once.
pub(crate) async fn make_join_token(
    control: &Control,
    by: Actor,
    group: GroupId,
    member: Option<MemberId>,
    max_uses: u32,
    lifetime_ms: Option<u64>,
) -> Result<Made, Problem> {
    let command = Command::CreateJoinToken { group, member, max_uses, lifetime_ms };
    let Reply::JoinToken(row, secret) = control.writer.ask_as(by, command).await? else {
        unreachable!("a join token is answered by it");
    };
    let token = app::join_token(&control.keys, &control.urls, row.id.clone(), secret).to_string();
    Ok(Made { token, entry: entry(&row) })
}

/// A token as people see it.
pub(crate) fn entry(row: &JoinTokenRow) -> TokenEntry {
    let state = if row.revoked {
        "revoked"
    } else if row.expires_ms.is_some_and(|expires| clock::unix_ms() >= expires) {
        "expired"
    } else if row.max_uses != 0 && row.uses >= row.max_uses {
        "used_up"
    } else {
        "usable"
    };
    TokenEntry {
        id: row.id.clone(),
        group: row.group.clone(),
        member: row.member.clone(),
        uses: row.uses,
        max_uses: row.max_uses,
        expires_ms: row.expires_ms,
        state: state.to_owned(),
    }
}

/// Reads the answer of a call.
pub(crate) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(answer)
}

fn status(control: &Control) -> Status {
    let (published, presence) = (control.live.read(), &control.live.presence);
    let groups = published.state.groups().map(|group| StatusGroup {
        id: group.row.id.clone(),
        label: group.row.label.clone(),
        pool: group.row.pool.to_string(),
        members: group.members.len(),
        peers: group.peers.len(),
        version: group.row.revision.0,
    });
    let nodes = published.state.nodes().map(|node| {
        let seen = presence.seen(&node.id);
        let seen = seen.as_ref();
        StatusNode {
            id: node.id.clone(),
            label: node.label.clone(),
            revoked: node.state == NodeState::Revoked,
            connected_s: seen.map(|seen| clock::unix_ms().saturating_sub(seen.since_ms) / 1_000),
            agent: seen.map(|seen| seen.agent.clone()),
            underlay: seen.map(|seen| seen.underlay.to_string()),
        }
    });
    Status {
        running: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        urls: control.urls.clone(),
        key: control.keys.public,
        connected: presence.connected(),
        relay: control.relays.own().map(|own| StatusRelay {
            id: own.entry().id.clone(),
            udp: own.entry().udp.clone(),
            leases: own.relay().leases(),
        }),
        groups: groups.collect(),
        nodes: nodes.collect(),
    }
}

/// The group of an id or a label; without a name, the only one there is.
/// Changes what an operator has named of relays.
fn name_relay(control: &Control, change: Naming) -> Result<(), Problem> {
    let departed: Vec<_> = control.live.read().state.departed().collect();
    control.relays.name(change, &control.keys, departed)
}

fn find_group<'a>(state: &'a State, name: Option<&str>) -> Result<&'a Group, Problem> {
    let named =
        |group: &&Group| name.is_none_or(|name| group.row.id.as_str() == name || group.row.label == name);
    let mut found = state.groups().filter(named);
    let refuse = |message: String| Err(Problem::new(Code::NotFound, message).in_field("group"));
    match (found.next(), found.next(), name) {
        (Some(group), None, _) => Ok(group),
        (None, _, Some(name)) => refuse(format!("there is no group {name:?}; see lacis-control status")),
        (None, _, None) => refuse("there is no group".to_owned()),
        (Some(_), Some(_), _) => refuse(
            "there are several groups; name one by its id with --group, see lacis-control status".to_owned(),
        ),
    }
}

fn value(answer: &impl Serialize) -> Result<Value, Problem> {
    Ok(serde_json::to_value(answer).expect("every answer has a JSON form"))
}
