//! The chain of receipts: signed and committed in order by one thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use casemate_core::receipt::{Draft, Head, Receipt};
use casemate_core::time::UnixTime;
use rusqlite::{Connection, OptionalExtension as _};

use super::StoreError;
use crate::keys::ReceiptKey;

struct Batch {
    drafts: Vec<Draft>,
    reply: SyncSender<Result<Vec<Receipt>, StoreError>>,
}

/// The way to the thread that owns the chain.
#[derive(Debug)]
pub(super) struct Writer {
    batches: SyncSender<Batch>,
}

impl Writer {
    /// Reads the end of the chain and starts the thread; it ends when the last sender is dropped.
    pub(super) fn start(connection: Connection, key: Arc<ReceiptKey>) -> Result<Self, StoreError> {
        let head = last(&connection)?.as_ref().map(Head::of);
        let (batches, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("receipts".to_owned())
            .spawn(move || write_all(connection, &key, head, &waiting))
            .map_err(|_| StoreError::WriterGone)?;
        Ok(Self { batches })
    }

    pub(super) fn record(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, StoreError> {
        let (reply, answer) = sync_channel(1);
        self.batches
            .send(Batch { drafts, reply })
            .map_err(|_| StoreError::WriterGone)?;
        answer.recv().map_err(|_| StoreError::WriterGone)?
    }
}

fn write_all(
    mut connection: Connection,
    key: &ReceiptKey,
    mut head: Option<Head>,
    waiting: &Receiver<Batch>,
) {
    while let Ok(first) = waiting.recv() {
        // One flush of the disk serves everyone who is waiting by now.
        let mut batches = vec![first];
        batches.extend(waiting.try_iter().take(QUEUE));
        let drafts = batches
            .iter()
            .map(|batch| batch.drafts.clone())
            .collect::<Vec<_>>();
        match write(&mut connection, key, head.as_ref(), drafts) {
            Ok((written, next)) => {
                head = next;
                for (batch, receipts) in batches.into_iter().zip(written) {
                    batch.reply.send(Ok(receipts)).ok();
                }
            }
            Err(error) => {
                tracing::error!(error = %crate::report(&error), "receipt not written");
                let mut error = Some(error);
                for batch in batches {
                    let reason = error.take().unwrap_or(StoreError::Full);
                    batch.reply.send(Err(reason)).ok();
                }
            }
        }
    }
}

type Written = (Vec<Vec<Receipt>>, Option<Head>);

fn write(
    connection: &mut Connection,
    key: &ReceiptKey,
    head: Option<&Head>,
    batches: Vec<Vec<Draft>>,
) -> Result<Written, StoreError> {
    let mut head = head.cloned();
    let mut written = Vec::with_capacity(batches.len());
    let transaction = connection.transaction()?;
    for drafts in batches {
        let mut receipts = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let receipt = draft
                .sign(head.as_ref(), |bytes| key.sign(bytes))
                .map_err(StoreError::Sign)?;
            let json = serde_json::to_string(&receipt).map_err(|source| StoreError::Receipt {
                seq: receipt.seq,
                source,
            })?;
            transaction.execute(
                "INSERT INTO receipts (seq, json) VALUES (?1, ?2)",
                (i64::try_from(receipt.seq).unwrap_or(i64::MAX), json),
            )?;
            head = Some(Head::of(&receipt));
            receipts.push(receipt);
        }
        written.push(receipts);
    }
    transaction.commit()?;
    Ok((written, head))
}

/// The end of the chain.
fn last(connection: &Connection) -> Result<Option<Receipt>, StoreError> {
    let row: Option<(i64, String)> = connection
        .query_row(
            "SELECT seq, json FROM receipts ORDER BY seq DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    row.map(|(seq, json)| parse(seq, &json)).transpose()
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Receipt>, StoreError> {
    let mut statement = connection.prepare("SELECT seq, json FROM receipts ORDER BY seq")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut receipts = Vec::new();
    for row in rows {
        let (seq, json) = row?;
        receipts.push(parse(seq, &json)?);
    }
    Ok(receipts)
}

pub(super) fn count(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection.query_row("SELECT COUNT(*) FROM receipts", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn newest(connection: &Connection) -> Result<UnixTime, StoreError> {
    let newest: Option<i64> = connection.query_row(
        "SELECT MAX(CAST(json ->> 'time' AS INTEGER)) FROM receipts",
        [],
        |row| row.get(0),
    )?;
    Ok(UnixTime(newest.unwrap_or(0).unsigned_abs()))
}

fn parse(seq: i64, json: &str) -> Result<Receipt, StoreError> {
    serde_json::from_str(json).map_err(|source| StoreError::Receipt {
        seq: seq.unsigned_abs(),
        source,
    })
}

const QUEUE: usize = 256;
