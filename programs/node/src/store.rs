//! What the node remembers: receipts, events, and which processes it started.
//!
//! One SQLite file in write-ahead mode. Receipts are committed with `synchronous=FULL` by one thread
//! that signs them in order; [`Store::record`] returns only when they are on the disk, so whoever
//! needs a receipt first can wait for it. Losing an event is a gap in the log; losing a receipt would
//! be a decision nobody can prove, so a decision whose receipt cannot be written is not carried out.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use casemate_core::receipt::{Draft, Receipt};
use casemate_core::time::UnixTime;
use rusqlite::Connection;

use crate::keys::ReceiptKey;

mod events;
mod instances;
mod receipts;

pub(crate) use instances::{Instance, InstanceKind, Revocation};

/// Why something was not stored or could not be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot open the database `{path}`")]
    Open {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("the disk that holds the receipts is full")]
    Full,
    #[error("the database refused")]
    Database(#[source] rusqlite::Error),
    #[error("receipt {seq} in the database is not a receipt")]
    Receipt { seq: u64, source: serde_json::Error },
    #[error("an event in the database is not an event")]
    Event(#[source] serde_json::Error),
    #[error("a revocation in the database names no subject that can be")]
    Revocation(#[from] casemate_core::spiffe::ParseSpiffeError),
    #[error("a receipt cannot be signed")]
    Sign(#[source] crate::keys::KeepKeyError),
    #[error("the thread that writes receipts has ended")]
    WriterGone,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure) => {
                Self::Full
            }
            Some(_) | None => Self::Database(error),
        }
    }
}

/// The node's memory. Shared by every thread; each part has its own connection.
#[derive(Debug)]
pub(crate) struct Store {
    writer: receipts::Writer,
    events: events::Writer,
    rows: Mutex<Connection>,
}

impl Store {
    /// Opens the database in `state`, making it when there is none, and starts the receipt writer.
    pub(crate) fn open(state: &Path, key: std::sync::Arc<ReceiptKey>) -> Result<Self, StoreError> {
        let path = state.join("casemated.db");
        let connect = |synchronous| {
            connection(&path, synchronous).map_err(|source| StoreError::Open {
                path: path.clone(),
                source,
            })
        };
        let receipts = connect("FULL")?;
        receipts
            .execute_batch(SCHEMA)
            .and_then(|()| events::prepare(&receipts))
            .map_err(|source| StoreError::Open {
                path: path.clone(),
                source,
            })?;
        Ok(Self {
            writer: receipts::Writer::start(receipts, key)?,
            events: events::Writer::start(connect("NORMAL")?)?,
            rows: Mutex::new(connect("NORMAL")?),
        })
    }

    /// Signs and stores receipts, in this order, all or none. Returns when they are on the disk.
    pub(crate) fn record(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, StoreError> {
        self.writer.record(drafts)
    }

    /// The whole chain, oldest first.
    pub(crate) fn receipts(&self) -> Result<Vec<Receipt>, StoreError> {
        receipts::all(&self.rows())
    }

    /// How many receipts there are.
    pub(crate) fn receipt_count(&self) -> Result<u64, StoreError> {
        receipts::count(&self.rows())
    }

    /// The latest time that a receipt names, which need not be the last one's.
    pub(crate) fn newest_receipt(&self) -> Result<UnixTime, StoreError> {
        receipts::newest(&self.rows())
    }

    fn rows(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held left no half-done write: SQLite's own transactions see to it.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connection(path: &Path, synchronous: &str) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS receipts (seq INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL, ring TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE IF NOT EXISTS instances (
        kind TEXT NOT NULL, name TEXT NOT NULL, pid INTEGER NOT NULL,
        start_ticks INTEGER NOT NULL, boot TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS revocations (time INTEGER NOT NULL, jti TEXT, sub TEXT) STRICT;
    CREATE TABLE IF NOT EXISTS epochs (model TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
";

#[cfg(test)]
mod tests;
