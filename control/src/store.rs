//! The store: one SQLite file, one connection that writes.
//!
//! ```text
//! open (settings, migrations) ─▶ load ─▶ commit* ─▶ close
//! ```
//! It knows rows and no rules. Statements are constants that PostgreSQL would take as well.
//!
//! Invariants: a commit is whole or not there; it counts `installation.change` up by compare-and-set, so a
//! writer whose memory is older than the file finds out before it writes. A load is one snapshot, or an
//! error: never a part.

mod audit;
mod decode;
mod encode;
mod migrate;

use std::path::{Path, PathBuf};

pub(crate) use self::audit::AuditLog;
use lacis_control_core::Row;
use lacis_proto::{ControlId, Epoch};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::clock;

/// How long a statement waits for another process that holds the file: longer than any of our commits.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    path: PathBuf,
}

/// What an installation is, apart from its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) control: ControlId,
    pub(crate) epoch: Epoch,
}

/// All rows at one change of the store.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rows: Vec<Row>,
    pub(crate) change: i64,
}

/// The store could not do what was asked; what it holds is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened as a database.
    #[error(
        "cannot open the database {path:?}; make room where its disk is full, restore it from a backup where the file is damaged"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Made by a newer control.
    #[error(
        "the database {path:?} has format {found}, this control knows up to {known}; start the newer control"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format of this build.
        known: i64,
    },
    /// A statement failed.
    #[error("the database {path:?} failed to {doing}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A stored value is none that control writes.
    #[error(
        "the database holds a value that control does not write: {table}.{column} {value:?}; restore it from a backup"
    )]
    Value {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The value, cut.
        value: String,
    },
    /// Somebody else has written since the last load.
    #[error("another process has changed the database {path:?}")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

const INSTALLATION: &str = "SELECT control_id, epoch, change FROM installation WHERE id = 1";
const INSTALL: &str =
    "INSERT INTO installation (id, control_id, epoch, change, created_ms) VALUES (1, $1, $2, 1, $3)";
/// Entries of the audit that are kept, however young: years of a busy installation, some hundred megabytes at most.
const KEPT_AUDIT: i64 = 1_000_000;

/// How many commits lie between two looks at the length of the audit.
const PRUNE_EVERY: i64 = 1_000;

/// Most entries that go by one commit: some 50 ms of the writer. Ten for each commit between two looks.
pub(crate) const MAX_AUDIT_GONE: i64 = 10_000;

const PRUNE: &str = "DELETE FROM audit WHERE at_ms < (SELECT at_ms FROM audit ORDER BY at_ms DESC LIMIT 1 OFFSET $1) \
    AND at_ms <= (SELECT max(at_ms) FROM (SELECT at_ms FROM audit ORDER BY at_ms LIMIT $2) AS oldest)";
const CHANGE: &str = "UPDATE installation SET change = change + 1 WHERE id = 1 AND change = $1";

impl Store {
    /// Opens the file, makes it where there is none, and brings it to this build's format.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = |source| StoreError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(opened)?;
        migrate::migrate(&mut connection, path).await?;
        Ok(Self { connection, options, path: path.to_owned() })
    }

    /// The installation, once the first start has made it.
    pub(crate) async fn installation(&mut self) -> Result<Option<Installation>, StoreError> {
        let row = sqlx::query(INSTALLATION).fetch_optional(&mut self.connection).await;
        let Some(row) = row.map_err(|source| self.failed("read the installation", source))? else {
            return Ok(None);
        };
        let read = decode::Reader::new("installation", &row);
        let control = read.parsed("control_id", ControlId::parse)?;
        let epoch = Epoch(read.number("epoch")?.cast_unsigned());
        Ok(Some(Installation { control, epoch }))
    }

    /// Makes the installation: the commit point of a first start.
    pub(crate) async fn install(&mut self, made: &Installation, rows: &[Row]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::Sql { path: path.clone(), doing: "make the installation", source };
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let insert = sqlx::query(INSTALL)
            .bind(made.control.as_str())
            .bind(made.epoch.0.cast_signed())
            .bind(clock::unix_ms().cast_signed());
        insert.execute(&mut *tx).await.map_err(failed)?;
        for row in rows {
            encode::write(&mut tx, row).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// Reads everything, in one snapshot.
    pub(crate) async fn load(&mut self) -> Result<Loaded, StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::Sql { path: path.clone(), doing: "read all rows", source };
        let mut tx = self.connection.begin().await.map_err(failed)?;
        let change: i64 = sqlx::query(INSTALLATION)
            .fetch_one(&mut *tx)
            .await
            .and_then(|row| row.try_get("change"))
            .map_err(failed)?;
        let rows = decode::all(&mut tx, &path).await?;
        tx.commit().await.map_err(failed)?;
        Ok(Loaded { rows, change })
    }

    /// Writes rows on top of `change`, which becomes the next.
    pub(crate) async fn commit(&mut self, change: i64, rows: &[Row]) -> Result<i64, StoreError> {
        let written = self.write(change, rows).await;
        if matches!(written, Err(StoreError::Sql { .. })) {
            self.reopen().await;
        }
        written
    }

    /// Takes a new connection in place of one whose transaction broke: SQLite has rolled it back by itself,
    /// say for want of room on the disk, and the old connection would believe itself inside of it for ever.
    async fn reopen(&mut self) {
        match self.options.connect().await {
            Ok(fresh) => {
                let broken = std::mem::replace(&mut self.connection, fresh);
                // Nothing that counts is in it.
                let _ = broken.close_hard().await;
            }
            Err(error) => {
                tracing::warn!(%error, "the database cannot be opened anew; the next write tries again")
            }
        }
    }

    async fn write(&mut self, change: i64, rows: &[Row]) -> Result<i64, StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::Sql { path: path.clone(), doing: "write", source };
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let counted = sqlx::query(CHANGE).bind(change).execute(&mut *tx).await.map_err(failed)?;
        if counted.rows_affected() != 1 {
            return Err(StoreError::Foreign { path });
        }
        for row in rows {
            encode::write(&mut tx, row).await.map_err(failed)?;
        }
        if change % PRUNE_EVERY == 0 {
            sqlx::query(PRUNE)
                .bind(KEPT_AUDIT)
                .bind(MAX_AUDIT_GONE)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        Ok(change + 1)
    }

    /// Opens the audit of the same file, for reading.
    pub(crate) async fn audit(&self) -> Result<AuditLog, StoreError> {
        AuditLog::open(&self.path).await
    }

    /// Closes the file; the write-ahead log is folded into it.
    pub(crate) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    fn failed(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        StoreError::Sql { path: self.path.clone(), doing, source }
    }
}
