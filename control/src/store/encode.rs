//! Rows into the store, one statement per kind of row.

use lacis_control_core::{
    Access, ApiTokenRow, AuditRow, DeletedGroupRow, DepartedRow, GrantRow, GroupRow, JoinTokenRow,
    JoinUseRow, MemberRow, NodeRow, NodeState, OwnerRow, PeerRow, ReleasedHost, Row, TombstoneRow,
};
use lacis_proto::{MemberKind, Revision};
use serde::Serialize;
use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use super::MAX_AUDIT_GONE;

const OWNER: &str = "INSERT INTO owners (id, label) VALUES ($1, $2) \
    ON CONFLICT (id) DO UPDATE SET label = excluded.label";
const GROUP: &str = "INSERT INTO groups (id, owner_id, label, description, tags, pool, prefix6, suffixes, revision, \
    record_revision, floor, next_host, created_ms, gateway_key, gateway_rotations) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
    ON CONFLICT (id) DO UPDATE SET label = excluded.label, description = excluded.description, \
    tags = excluded.tags, pool = excluded.pool, suffixes = excluded.suffixes, revision = excluded.revision, \
    record_revision = excluded.record_revision, floor = excluded.floor, next_host = excluded.next_host, \
    gateway_key = excluded.gateway_key, gateway_rotations = excluded.gateway_rotations";
const MEMBER: &str = "INSERT INTO members (group_id, id, kind, label, domain, of_node, revision) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (group_id, id) DO UPDATE SET kind = excluded.kind, \
    label = excluded.label, domain = excluded.domain, of_node = excluded.of_node, revision = excluded.revision";
const MEMBER_GONE: &str = "DELETE FROM members WHERE group_id = $1 AND id = $2";
const GROUP_BACK: &str = "DELETE FROM deleted_groups WHERE id = $1";
const NODE: &str = "INSERT INTO nodes (id, identity, owner_id, label, state, revision, record_revision, floor, ended_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET label = excluded.label, \
    state = excluded.state, revision = excluded.revision, record_revision = excluded.record_revision, \
    floor = excluded.floor, ended_ms = excluded.ended_ms";
const NODE_GONE: &str = "DELETE FROM nodes WHERE id = $1";
const GRANT: &str = "INSERT INTO grants (node_id, group_id, member_id, issued_ms) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (node_id, group_id, member_id) DO UPDATE SET issued_ms = excluded.issued_ms";
const GRANT_GONE: &str = "DELETE FROM grants WHERE node_id = $1 AND group_id = $2 AND member_id = $3";
const PEER: &str = "INSERT INTO peers (id, group_id, member_id, node_id, instance, host, wg_key, label, hostname, \
    parent_event, endpoints, revision, node_revision, gateway_chosen, gateway_offered, gateway_key, \
    gateway_endpoint, gateway_told_endpoint, relays) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
    ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, wg_key = excluded.wg_key, \
    label = excluded.label, hostname = excluded.hostname, parent_event = excluded.parent_event, endpoints = excluded.endpoints, revision = excluded.revision, \
    node_revision = excluded.node_revision, gateway_chosen = excluded.gateway_chosen, \
    gateway_offered = excluded.gateway_offered, gateway_key = excluded.gateway_key, \
    gateway_endpoint = excluded.gateway_endpoint, gateway_told_endpoint = excluded.gateway_told_endpoint, \
    relays = excluded.relays";
const PEER_GONE: &str = "DELETE FROM peers WHERE group_id = $1 AND id = $2";
const STATEMENT: &str = "INSERT INTO statements (peer_id, group_id, said) VALUES ($1, $2, $3) \
    ON CONFLICT (peer_id) DO UPDATE SET said = excluded.said";
const STATEMENT_GONE: &str = "DELETE FROM statements WHERE group_id = $1 AND peer_id = $2";
const RELEASED: &str = "INSERT INTO released_hosts (group_id, host, released_ms, revision) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (group_id, host) DO UPDATE SET released_ms = excluded.released_ms, revision = excluded.revision";
const TAKEN: &str = "DELETE FROM released_hosts WHERE group_id = $1 AND host = $2";
const TOMBSTONE: &str = "INSERT INTO tombstones (scope_id, record_id, revision) VALUES ($1, $2, $3) \
    ON CONFLICT (scope_id, record_id) DO UPDATE SET revision = excluded.revision";
const REVIVED: &str = "DELETE FROM tombstones WHERE scope_id = $1 AND record_id = $2";
const FORGOTTEN: &str = "DELETE FROM tombstones WHERE scope_id = $1 AND revision <= $2";
const JOIN_TOKEN: &str = "INSERT INTO join_tokens (id, secret_hash, group_id, member_id, max_uses, uses, expires_ms, \
    revoked, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (id) DO UPDATE SET uses = excluded.uses, revoked = excluded.revoked";
const JOIN_USE: &str = "INSERT INTO join_uses (token_id, identity, member_id) VALUES ($1, $2, $3)";
const JOIN_TOKEN_GONE: &str = "DELETE FROM join_tokens WHERE id = $1";
const JOIN_USE_GONE: &str = "DELETE FROM join_uses WHERE token_id = $1 AND identity = $2";
const API_TOKEN: &str = "INSERT INTO api_tokens (id, secret_hash, owner_id, label, access, groups, created_ms, \
    expires_ms, last_used_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
    ON CONFLICT (id) DO UPDATE SET last_used_ms = excluded.last_used_ms";
const API_TOKEN_GONE: &str = "DELETE FROM api_tokens WHERE id = $1";
const DEPARTED: &str = "INSERT INTO departures (group_id, wg_key, at_ms) VALUES ($1, $2, $3) \
    ON CONFLICT (group_id, wg_key) DO UPDATE SET at_ms = excluded.at_ms";
const DEPARTED_FORGOTTEN: &str = "DELETE FROM departures WHERE at_ms < $1";
const AUDIT: &str =
    "INSERT INTO audit (scope_id, revision, at_ms, actor, action, target) VALUES ($1, $2, $3, $4, $5, $6)";
const AUDIT_GONE: &str = "DELETE FROM audit WHERE at_ms < $1 AND at_ms <= \
    (SELECT max(at_ms) FROM (SELECT at_ms FROM audit ORDER BY at_ms LIMIT $2) AS oldest)";

/// What is left of a group, in its last statement.
const GROUP_GONE: [&str; 2] = [
    "DELETE FROM groups WHERE id = $1",
    "INSERT INTO deleted_groups (id, revision, deleted_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, deleted_ms = excluded.deleted_ms",
];

type Statement = Query<'static, Sqlite, SqliteArguments>;

pub(super) async fn write(connection: &mut SqliteConnection, row: &Row) -> Result<(), sqlx::Error> {
    if let Row::GroupGone(gone) = row {
        sql(GROUP_GONE[0]).bind(gone.id.to_string()).execute(&mut *connection).await?;
    }
    statement(row).execute(connection).await.map(drop)
}

fn statement(row: &Row) -> Statement {
    match row {
        Row::Owner(OwnerRow { id, label }) => sql(OWNER).bind(id.to_string()).bind(label.clone()),
        Row::Group(row) => group(row),
        Row::GroupGone(DeletedGroupRow { id, revision, deleted_ms }) => {
            sql(GROUP_GONE[1]).bind(id.to_string()).bind(number(*revision)).bind(deleted_ms.cast_signed())
        }
        Row::GroupBack(id) => sql(GROUP_BACK).bind(id.to_string()),
        Row::Member(row) => member(row),
        Row::MemberGone(group, id) => sql(MEMBER_GONE).bind(group.to_string()).bind(id.to_string()),
        Row::Node(row) => node(row),
        Row::NodeGone(id) => sql(NODE_GONE).bind(id.to_string()),
        Row::Grant(GrantRow { node, group, member, issued_ms }) => sql(GRANT)
            .bind(node.to_string())
            .bind(group.to_string())
            .bind(member.to_string())
            .bind(issued_ms.cast_signed()),
        Row::GrantGone(node, group, member) => {
            sql(GRANT_GONE).bind(node.to_string()).bind(group.to_string()).bind(member.to_string())
        }
        Row::Peer(row) => peer(row),
        Row::PeerGone(group, id) => sql(PEER_GONE).bind(group.to_string()).bind(id.to_string()),
        Row::Statement(said) => sql(STATEMENT)
            .bind(said.statement.peer.to_string())
            .bind(said.statement.group.to_string())
            .bind(json(said)),
        Row::StatementGone(group, id) => sql(STATEMENT_GONE).bind(group.to_string()).bind(id.to_string()),
        Row::Released(ReleasedHost { group, host, released_ms, revision }) => sql(RELEASED)
            .bind(group.to_string())
            .bind(i64::from(host.0))
            .bind(released_ms.cast_signed())
            .bind(number(*revision)),
        Row::Taken(group, host) => sql(TAKEN).bind(group.to_string()).bind(i64::from(host.0)),
        Row::Tombstone(TombstoneRow { scope, record, revision }) => {
            sql(TOMBSTONE).bind(scope.to_string()).bind(record.to_string()).bind(number(*revision))
        }
        Row::Revived(scope, record) => sql(REVIVED).bind(scope.to_string()).bind(record.to_string()),
        Row::Forgotten(scope, floor) => sql(FORGOTTEN).bind(scope.to_string()).bind(number(*floor)),
        Row::JoinToken(row) => join_token(row),
        Row::JoinTokenGone(id) => sql(JOIN_TOKEN_GONE).bind(id.to_string()),
        Row::JoinUseGone(token, identity) => {
            sql(JOIN_USE_GONE).bind(token.to_string()).bind(identity.as_bytes().to_vec())
        }
        Row::JoinUse(JoinUseRow { token, identity, member }) => {
            sql(JOIN_USE).bind(token.to_string()).bind(identity.as_bytes().to_vec()).bind(member.to_string())
        }
        Row::ApiToken(row) => api_token(row),
        Row::ApiTokenGone(id) => sql(API_TOKEN_GONE).bind(id.to_string()),
        Row::Departed(DepartedRow { group, key, at_ms }) => {
            sql(DEPARTED).bind(group.to_string()).bind(key.as_bytes().to_vec()).bind(at_ms.cast_signed())
        }
        Row::DepartedForgotten(before_ms) => sql(DEPARTED_FORGOTTEN).bind(before_ms.cast_signed()),
        Row::Audit(AuditRow { scope, revision, at_ms, actor, action, target }) => sql(AUDIT)
            .bind(scope.as_ref().map(ToString::to_string))
            .bind(number(*revision))
            .bind(at_ms.cast_signed())
            .bind(actor.to_string())
            .bind(*action)
            .bind(target.clone()),
        Row::AuditGone(before_ms) => sql(AUDIT_GONE).bind(before_ms.cast_signed()).bind(MAX_AUDIT_GONE),
    }
}

fn sql(text: &'static str) -> Statement {
    sqlx::query(text)
}

fn group(row: &GroupRow) -> Statement {
    sql(GROUP)
        .bind(row.id.to_string())
        .bind(row.owner.to_string())
        .bind(row.label.clone())
        .bind(row.description.clone())
        .bind(json(&row.tags))
        .bind(row.pool.to_string())
        .bind(row.prefix6.to_string())
        .bind(json(&row.suffixes))
        .bind(number(row.revision))
        .bind(number(row.record_revision))
        .bind(number(row.floor))
        .bind(i64::from(row.next_host.0))
        .bind(row.created_ms.cast_signed())
        .bind(row.gateway_key.map(|key| key.as_bytes().to_vec()))
        .bind(i64::from(row.gateway_rotations))
}

fn member(row: &MemberRow) -> Statement {
    sql(MEMBER)
        .bind(row.group.to_string())
        .bind(row.id.to_string())
        .bind(kind(row.kind))
        .bind(row.label.clone())
        .bind(row.domain.clone())
        .bind(row.of_node.as_ref().map(ToString::to_string))
        .bind(number(row.revision))
}

fn node(row: &NodeRow) -> Statement {
    let state = match row.state {
        NodeState::Active => "active",
        NodeState::Revoked => "revoked",
    };
    sql(NODE)
        .bind(row.id.to_string())
        .bind(row.identity.as_bytes().to_vec())
        .bind(row.owner.as_ref().map(ToString::to_string))
        .bind(row.label.clone())
        .bind(state)
        .bind(number(row.revision))
        .bind(number(row.record_revision))
        .bind(number(row.floor))
        .bind(row.ended_ms.map(u64::cast_signed))
}

fn peer(row: &PeerRow) -> Statement {
    sql(PEER)
        .bind(row.id.to_string())
        .bind(row.group.to_string())
        .bind(row.member.to_string())
        .bind(row.node.as_ref().map(ToString::to_string))
        .bind(row.instance.clone())
        .bind(i64::from(row.host.0))
        .bind(row.key.map(|key| key.as_bytes().to_vec()))
        .bind(row.label.clone())
        .bind(row.hostname.clone())
        .bind(row.parent_event.clone())
        .bind(json(&row.endpoints))
        .bind(number(row.revision))
        .bind(number(row.node_revision))
        .bind(row.gateway.chosen.map(i64::from))
        .bind(i64::from(row.gateway.offered))
        .bind(row.gateway.key.map(|key| key.as_bytes().to_vec()))
        .bind(row.gateway.endpoint.as_ref().map(ToString::to_string))
        .bind(row.gateway.told_endpoint.as_ref().map(ToString::to_string))
        .bind(json(&row.relays))
}

fn join_token(row: &JoinTokenRow) -> Statement {
    sql(JOIN_TOKEN)
        .bind(row.id.to_string())
        .bind(row.secret_hash.to_vec())
        .bind(row.group.to_string())
        .bind(row.member.as_ref().map(ToString::to_string))
        .bind(i64::from(row.max_uses))
        .bind(i64::from(row.uses))
        .bind(row.expires_ms.map(u64::cast_signed))
        .bind(i64::from(row.revoked))
        .bind(row.created_ms.cast_signed())
}

fn api_token(row: &ApiTokenRow) -> Statement {
    let access = match row.access {
        Access::Read => "read",
        Access::Write => "write",
    };
    sql(API_TOKEN)
        .bind(row.id.to_string())
        .bind(row.secret_hash.to_vec())
        .bind(row.owner.to_string())
        .bind(row.label.clone())
        .bind(access)
        .bind(json(&row.groups))
        .bind(row.created_ms.cast_signed())
        .bind(row.expires_ms.map(u64::cast_signed))
        .bind(row.last_used_ms.map(u64::cast_signed))
}

const fn kind(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Application => "APPLICATION",
        MemberKind::Addon => "ADDON",
        MemberKind::External => "EXTERNAL",
    }
}

fn number(revision: Revision) -> i64 {
    revision.0.cast_signed()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lists of text, endpoints and relays have a JSON form")
}
