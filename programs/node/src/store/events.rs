//! The log of events: bounded, numbered, never reused, written in batches by one thread.
//!
//! The queue is bounded: when the disk cannot keep up, whoever reports an event waits, and a gate
//! whose reports are not taken refuses calls rather than let them pass unrecorded.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use casemate_core::event::Event;
use rusqlite::Connection;

use super::{Store, StoreError};

enum Order {
    Add(Box<Event>),
    /// Answered when everything before it is in the database.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes events.
#[derive(Debug)]
pub(super) struct Writer {
    orders: SyncSender<Order>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (orders, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || write_all(connection, &waiting))
            .map_err(|_| StoreError::WriterGone)?;
        Ok(Self { orders })
    }
}

impl Store {
    /// Queues an event; waits while the queue is full. Events may be lost with the power.
    pub(crate) fn add_event(&self, event: Event) -> Result<(), StoreError> {
        self.events
            .orders
            .send(Order::Add(Box::new(event)))
            .map_err(|_| StoreError::WriterGone)
    }

    /// At most `limit` events with a number above `after`, oldest first.
    pub(crate) fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, Event)>, StoreError> {
        let (reply, written) = sync_channel(1);
        self.events
            .orders
            .send(Order::Flush(reply))
            .map_err(|_| StoreError::WriterGone)?;
        written.recv().map_err(|_| StoreError::WriterGone)?;
        let rows = self.rows();
        let mut statement = rows.prepare_cached(
            "SELECT number, json FROM events WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?;
        let found = statement
            .query_map((i64::try_from(after).unwrap_or(i64::MAX), limit), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
        let mut events = Vec::new();
        for row in found {
            let (number, json) = row?;
            let event = serde_json::from_str(&json).map_err(StoreError::Event)?;
            events.push((number.unsigned_abs(), event));
        }
        Ok(events)
    }
}

fn write_all(mut connection: Connection, waiting: &Receiver<Order>) {
    while let Ok(first) = waiting.recv() {
        let mut events = Vec::new();
        let mut flushes = Vec::new();
        for order in std::iter::once(first).chain(waiting.try_iter().take(QUEUE)) {
            match order {
                Order::Add(event) => events.push(event),
                Order::Flush(reply) => flushes.push(reply),
            }
        }
        if let Err(error) = write(&mut connection, &events) {
            tracing::error!(
                lost = events.len(),
                error = %crate::report(&error),
                "events not written"
            );
        }
        for reply in flushes {
            // Whoever asked may have given up.
            reply.send(()).ok();
        }
    }
}

fn write(connection: &mut Connection, events: &[Box<Event>]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare_cached("INSERT INTO events (json) VALUES (?1)")?;
        for event in events {
            statement.execute([serde_json::to_string(event).map_err(StoreError::Event)?])?;
        }
    }
    let last = transaction.last_insert_rowid();
    transaction.execute("DELETE FROM events WHERE number <= ?1", [last - KEPT])?;
    transaction.commit()?;
    Ok(())
}

const KEPT: i64 = 100_000;
const QUEUE: usize = 1024;
