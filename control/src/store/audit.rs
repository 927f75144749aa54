//! What was done, read back for people: on a connection of its own, beside the writer.

use std::path::Path;

use lacis_proto::ScopeId;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Mutex;

use super::{BUSY, StoreError};

const OF_SCOPE: &str = "SELECT revision, at_ms, actor, action, target FROM audit WHERE scope_id = $1 \
    ORDER BY revision DESC, at_ms DESC LIMIT $2 OFFSET $3";

const HAS_BEFORE: &str = "SELECT 1 FROM audit WHERE at_ms < $1 LIMIT 1";

/// Reads the audit.
#[derive(Debug)]
pub(crate) struct AuditLog {
    connection: Mutex<SqliteConnection>,
}

/// One thing that was done.
#[derive(Clone, Debug)]
pub(crate) struct AuditEntry {
    pub(crate) revision: i64,
    pub(crate) at_ms: i64,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) target: String,
}

impl AuditLog {
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
        let connection = options.disable_statement_logging().connect().await;
        let connection = connection.map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Whether anything is kept that was done before this time, in Unix milliseconds.
    pub(crate) async fn has_before(&self, at_ms: u64) -> Result<bool, sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let found = sqlx::query(HAS_BEFORE).bind(at_ms.cast_signed());
        Ok(found.fetch_optional(&mut *connection).await?.is_some())
    }

    /// What was done to a scope, the newest first.
    pub(crate) async fn of_scope(
        &self,
        scope: &ScopeId,
        most: u32,
        offset: u32,
    ) -> Result<Vec<AuditEntry>, sqlx::Error> {
        let mut connection = self.connection.lock().await;
        let rows =
            sqlx::query(OF_SCOPE).bind(scope.to_string()).bind(i64::from(most)).bind(i64::from(offset));
        let rows = rows.fetch_all(&mut *connection).await?;
        let entry = |row: &sqlx::sqlite::SqliteRow| {
            Ok(AuditEntry {
                revision: row.try_get("revision")?,
                at_ms: row.try_get("at_ms")?,
                actor: row.try_get("actor")?,
                action: row.try_get("action")?,
                target: row.try_get("target")?,
            })
        };
        rows.iter().map(entry).collect()
    }
}
