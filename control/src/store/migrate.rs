//! Migrations: numbered SQL files, forward only, each in one transaction.

use std::path::Path;

use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::StoreError;
use crate::clock;

#[cfg(test)]
mod tests;

/// Each brings the database from the format before it to its own; the first is number 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_peers_without_agent.sql"),
    include_str!("migrations/0003_statements.sql"),
    include_str!("migrations/0004_management.sql"),
    include_str!("migrations/0005_ended_nodes.sql"),
    include_str!("migrations/0006_gateways.sql"),
    include_str!("migrations/0007_gateway_rotations.sql"),
    include_str!("migrations/0008_homes.sql"),
    include_str!("migrations/0009_departures.sql"),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations \
                     (version INTEGER PRIMARY KEY, applied_ms INTEGER NOT NULL) STRICT";
const VERSION: &str = "SELECT coalesce(max(version), 0) AS version FROM migrations";
const APPLIED: &str = "INSERT INTO migrations (version, applied_ms) VALUES ($1, $2)";

pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let opened = |source| StoreError::Open { path: path.to_owned(), source };
    let failed = |source| StoreError::Sql { path: path.to_owned(), doing: "migrate", source };
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(opened)?;
    sqlx::query(TABLE).execute(&mut *tx).await.map_err(opened)?;
    let row = sqlx::query(VERSION).fetch_one(&mut *tx).await.map_err(opened)?;
    let found: i64 = row.try_get("version").map_err(opened)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for (sql, version) in MIGRATIONS.iter().zip(1i64..).filter(|(_, version)| *version > found) {
        sqlx::raw_sql(*sql).execute(&mut *tx).await.map_err(failed)?;
        let applied = sqlx::query(APPLIED).bind(version).bind(clock::unix_ms().cast_signed());
        applied.execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}
