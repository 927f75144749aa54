//! Rows out of the store. A value that control does not write is an error, never a default.

use std::path::Path;

use lacis_control_core::{
    Access, ApiTokenRow, DeletedGroupRow, DepartedRow, GatewayRow, GrantRow, GroupRow, JoinTokenRow,
    JoinUseRow, MemberRow, NodeRow, NodeState, OwnerRow, PeerRow, ReleasedHost, Row, TombstoneRow,
};
use lacis_proto::{
    GroupId, Host, IdentityKey, MemberId, MemberKind, NodeId, OwnerId, PeerId, PublicKey, RecordId, Revision,
    ScopeId, TokenId,
};
use serde::de::DeserializeOwned;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::StoreError;

type Decode = fn(&Reader<'_>) -> Result<Row, StoreError>;

/// Tables in the order in which their rows can be taken in.
const TABLES: &[(&str, &str, Decode)] = &[
    ("owners", "SELECT * FROM owners", owner),
    ("groups", "SELECT * FROM groups", group),
    ("deleted_groups", "SELECT * FROM deleted_groups", deleted_group),
    ("nodes", "SELECT * FROM nodes", node),
    ("members", "SELECT * FROM members", member),
    ("grants", "SELECT * FROM grants", grant),
    ("peers", "SELECT * FROM peers", peer),
    ("statements", "SELECT * FROM statements", statement),
    ("released_hosts", "SELECT * FROM released_hosts", released),
    ("tombstones", "SELECT * FROM tombstones", tombstone),
    ("join_tokens", "SELECT * FROM join_tokens", join_token),
    ("join_uses", "SELECT * FROM join_uses", join_use),
    ("api_tokens", "SELECT * FROM api_tokens", api_token),
    ("departures", "SELECT * FROM departures", departure),
];

pub(super) async fn all(connection: &mut SqliteConnection, path: &Path) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for (table, sql, decode) in TABLES {
        let failed = |source| StoreError::Sql { path: path.to_owned(), doing: "read all rows", source };
        let found = sqlx::query(*sql).fetch_all(&mut *connection).await.map_err(failed)?;
        for row in &found {
            rows.push(decode(&Reader::new(table, row))?);
        }
    }
    Ok(rows)
}

/// Reads the columns of one row.
pub(super) struct Reader<'a> {
    table: &'static str,
    row: &'a SqliteRow,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(table: &'static str, row: &'a SqliteRow) -> Self {
        Self { table, row }
    }

    pub(super) fn number(&self, column: &'static str) -> Result<i64, StoreError> {
        self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))
    }

    pub(super) fn parsed<T, E>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, StoreError> {
        let text = self.text(column)?;
        parse(&text).map_err(|_| self.odd(column, &text))
    }

    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))
    }

    fn maybe<T, E>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        self.maybe_text(column)?.map(|text| parse(&text).map_err(|_| self.odd(column, &text))).transpose()
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))
    }

    fn maybe_bytes(&self, column: &'static str) -> Result<Option<[u8; 32]>, StoreError> {
        let bytes: Option<&[u8]> =
            self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))?;
        bytes.map(|bytes| bytes.try_into().map_err(|_| self.odd(column, "not 32 bytes"))).transpose()
    }

    fn maybe_key(&self, column: &'static str) -> Result<Option<PublicKey>, StoreError> {
        let key = self.maybe_bytes(column)?.map(PublicKey::try_new).transpose();
        key.map_err(|_| self.odd(column, "zero"))
    }

    fn bytes(&self, column: &'static str) -> Result<[u8; 32], StoreError> {
        let bytes: &[u8] = self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))?;
        bytes.try_into().map_err(|_| self.odd(column, "not 32 bytes"))
    }

    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        self.parsed(column, |text| serde_json::from_str(text))
    }

    fn revision(&self, column: &'static str) -> Result<Revision, StoreError> {
        self.unsigned(column).map(Revision)
    }

    fn unsigned(&self, column: &'static str) -> Result<u64, StoreError> {
        let number = self.number(column)?;
        u64::try_from(number).map_err(|_| self.odd(column, &number.to_string()))
    }

    fn maybe_unsigned(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> =
            self.row.try_get(column).map_err(|error| self.odd(column, &error.to_string()))?;
        Ok(number.map(i64::cast_unsigned))
    }

    fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        let number = self.number(column)?;
        u32::try_from(number).map_err(|_| self.odd(column, &number.to_string()))
    }

    fn odd(&self, column: &'static str, value: &str) -> StoreError {
        StoreError::Value { table: self.table, column, value: value.chars().take(80).collect() }
    }
}

fn owner(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Owner(OwnerRow { id: row.parsed("id", OwnerId::parse)?, label: row.text("label")? }))
}

fn group(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Group(GroupRow {
        id: row.parsed("id", GroupId::parse)?,
        owner: row.parsed("owner_id", OwnerId::parse)?,
        label: row.text("label")?,
        description: row.text("description")?,
        tags: row.json("tags")?,
        pool: row.parsed("pool", str::parse)?,
        prefix6: row.parsed("prefix6", str::parse)?,
        suffixes: row.json("suffixes")?,
        revision: row.revision("revision")?,
        record_revision: row.revision("record_revision")?,
        floor: row.revision("floor")?,
        next_host: Host(row.small("next_host")?),
        created_ms: row.unsigned("created_ms")?,
        gateway_key: row.maybe_key("gateway_key")?,
        gateway_rotations: row.small("gateway_rotations")?,
    }))
}

fn deleted_group(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::GroupGone(DeletedGroupRow {
        id: row.parsed("id", GroupId::parse)?,
        revision: row.revision("revision")?,
        deleted_ms: row.unsigned("deleted_ms")?,
    }))
}

fn node(row: &Reader<'_>) -> Result<Row, StoreError> {
    let identity = row.bytes("identity")?;
    let state = match row.text("state")?.as_str() {
        "active" => NodeState::Active,
        "revoked" => NodeState::Revoked,
        other => return Err(row.odd("state", other)),
    };
    Ok(Row::Node(NodeRow {
        id: row.parsed("id", NodeId::parse)?,
        identity: IdentityKey::try_new(identity).map_err(|_| row.odd("identity", "zero"))?,
        owner: row.maybe("owner_id", OwnerId::parse)?,
        label: row.text("label")?,
        state,
        revision: row.revision("revision")?,
        record_revision: row.revision("record_revision")?,
        floor: row.revision("floor")?,
        ended_ms: row.maybe_unsigned("ended_ms")?,
    }))
}

fn member(row: &Reader<'_>) -> Result<Row, StoreError> {
    let kind = match row.text("kind")?.as_str() {
        "APPLICATION" => MemberKind::Application,
        "ADDON" => MemberKind::Addon,
        "EXTERNAL" => MemberKind::External,
        other => return Err(row.odd("kind", other)),
    };
    Ok(Row::Member(MemberRow {
        group: row.parsed("group_id", GroupId::parse)?,
        id: row.parsed("id", MemberId::parse)?,
        kind,
        label: row.text("label")?,
        domain: row.text("domain")?,
        of_node: row.maybe("of_node", NodeId::parse)?,
        revision: row.revision("revision")?,
    }))
}

fn grant(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Grant(GrantRow {
        node: row.parsed("node_id", NodeId::parse)?,
        group: row.parsed("group_id", GroupId::parse)?,
        member: row.parsed("member_id", MemberId::parse)?,
        issued_ms: row.unsigned("issued_ms")?,
    }))
}

fn peer(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Peer(PeerRow {
        id: row.parsed("id", PeerId::parse)?,
        group: row.parsed("group_id", GroupId::parse)?,
        member: row.parsed("member_id", MemberId::parse)?,
        node: row.maybe("node_id", NodeId::parse)?,
        instance: row.text("instance")?,
        host: Host(row.small("host")?),
        key: row.maybe_key("wg_key")?,
        label: row.text("label")?,
        hostname: row.maybe_text("hostname")?,
        parent_event: row.maybe_text("parent_event")?,
        endpoints: row.json("endpoints")?,
        relays: row.json("relays")?,
        revision: row.revision("revision")?,
        node_revision: row.revision("node_revision")?,
        gateway: gateway(row)?,
    }))
}

fn gateway(row: &Reader<'_>) -> Result<GatewayRow, StoreError> {
    Ok(GatewayRow {
        chosen: row.maybe_unsigned("gateway_chosen")?.map(|chosen| chosen != 0),
        offered: row.number("gateway_offered")? != 0,
        key: row.maybe_key("gateway_key")?,
        endpoint: row.maybe("gateway_endpoint", str::parse)?,
        told_endpoint: row.maybe("gateway_told_endpoint", str::parse)?,
    })
}

fn statement(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Statement(row.json("said")?))
}

fn released(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Released(ReleasedHost {
        group: row.parsed("group_id", GroupId::parse)?,
        host: Host(row.small("host")?),
        released_ms: row.unsigned("released_ms")?,
        revision: row.revision("revision")?,
    }))
}

fn tombstone(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::Tombstone(TombstoneRow {
        scope: row.parsed("scope_id", ScopeId::parse)?,
        record: row.parsed("record_id", RecordId::parse)?,
        revision: row.revision("revision")?,
    }))
}

fn join_token(row: &Reader<'_>) -> Result<Row, StoreError> {
    Ok(Row::JoinToken(JoinTokenRow {
        id: row.parsed("id", TokenId::parse)?,
        secret_hash: row.bytes("secret_hash")?,
        group: row.parsed("group_id", GroupId::parse)?,
        member: row.maybe("member_id", MemberId::parse)?,
        max_uses: row.small("max_uses")?,
        uses: row.small("uses")?,
        expires_ms: row.maybe_unsigned("expires_ms")?,
        revoked: row.number("revoked")? != 0,
        created_ms: row.unsigned("created_ms")?,
    }))
}

fn join_use(row: &Reader<'_>) -> Result<Row, StoreError> {
    let identity = row.bytes("identity")?;
    Ok(Row::JoinUse(JoinUseRow {
        token: row.parsed("token_id", TokenId::parse)?,
        identity: IdentityKey::try_new(identity).map_err(|_| row.odd("identity", "zero"))?,
        member: row.parsed("member_id", MemberId::parse)?,
    }))
}

fn departure(row: &Reader<'_>) -> Result<Row, StoreError> {
    let key = row.bytes("wg_key")?;
    Ok(Row::Departed(DepartedRow {
        group: row.parsed("group_id", GroupId::parse)?,
        key: PublicKey::try_new(key).map_err(|_| row.odd("wg_key", "zero"))?,
        at_ms: row.unsigned("at_ms")?,
    }))
}

fn api_token(row: &Reader<'_>) -> Result<Row, StoreError> {
    let access = match row.text("access")?.as_str() {
        "read" => Access::Read,
        "write" => Access::Write,
        other => return Err(row.odd("access", other)),
    };
    Ok(Row::ApiToken(ApiTokenRow {
        id: row.parsed("id", TokenId::parse)?,
        secret_hash: row.bytes("secret_hash")?,
        owner: row.parsed("owner_id", OwnerId::parse)?,
        label: row.text("label")?,
        access,
        groups: row.json("groups")?,
        created_ms: row.unsigned("created_ms")?,
        expires_ms: row.maybe_unsigned("expires_ms")?,
        last_used_ms: row.maybe_unsigned("last_used_ms")?,
    }))
}
