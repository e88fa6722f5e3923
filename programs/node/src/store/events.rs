//! The log of events: bounded by rings, numbered, never reused, written in batches by one thread.
//!
//! The queue is bounded: when the disk cannot keep up, whoever reports an event waits, and a gate
//! whose reports are not taken refuses calls rather than let them pass unrecorded.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use casemate_core::event::Event;
use rusqlite::Connection;

use super::{Store, StoreError};

mod ring;

use ring::ring_of;

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
        let rings = Rings::read(&connection)?;
        let (orders, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || write_all(connection, rings, &waiting))
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

fn write_all(mut connection: Connection, mut rings: Rings, waiting: &Receiver<Order>) {
    while let Ok(first) = waiting.recv() {
        let mut events = Vec::new();
        let mut flushes = Vec::new();
        for order in std::iter::once(first).chain(waiting.try_iter().take(QUEUE)) {
            match order {
                Order::Add(event) => events.push(event),
                Order::Flush(reply) => flushes.push(reply),
            }
        }
        if let Err(error) = write(&mut connection, &mut rings, &events) {
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

/// Gives the events of an earlier version a ring of their own, and makes rings quick to find.
pub(super) fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    let columns = "SELECT COUNT(*) FROM pragma_table_info('events') WHERE name = 'ring'";
    let has_rings: i64 = connection.query_row(columns, [], |row| row.get(0))?;
    if has_rings == 0 {
        connection.execute_batch("ALTER TABLE events ADD COLUMN ring TEXT NOT NULL DEFAULT ''")?;
    }
    connection.execute_batch("CREATE INDEX IF NOT EXISTS rings ON events (ring, number)")
}

/// How many events each ring has, so that nobody has to count them for every batch.
#[derive(Debug, Default)]
struct Rings(HashMap<String, i64>);

impl Rings {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement =
            connection.prepare("SELECT ring, COUNT(*) FROM events GROUP BY ring")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let counts = rows.collect::<Result<_, _>>()?;
        Ok(Self(counts))
    }
}

/// Adds events, and forgets the oldest of each ring that has too many by now.
fn write(
    connection: &mut Connection,
    rings: &mut Rings,
    events: &[Box<Event>],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut added: HashMap<String, (i64, i64)> = HashMap::new();
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare_cached("INSERT INTO events (ring, json) VALUES (?1, ?2)")?;
        for event in events {
            let (ring, kept) = ring_of(event);
            let json = serde_json::to_string(event).map_err(StoreError::Event)?;
            insert.execute((&ring, json))?;
            added.entry(ring).or_insert((0, kept)).0 += 1;
        }
        let mut forget = transaction.prepare_cached(
            "DELETE FROM events WHERE number IN
             (SELECT number FROM events WHERE ring = ?1 ORDER BY number LIMIT ?2)",
        )?;
        for (ring, (count, kept)) in &mut added {
            *count += rings.0.get(ring).copied().unwrap_or(0);
            // Not one by one: a full ring would cost every batch a search.
            if *count > *kept + *kept / SLACK {
                forget.execute((ring, *count - *kept))?;
                *count = *kept;
            }
        }
    }
    transaction.commit()?;
    // Only now: a batch that was not written counts for nothing.
    let counts = added.into_iter().map(|(ring, (count, _))| (ring, count));
    rings.0.extend(counts);
    Ok(())
}

/// A ring may have a part of this size more than it keeps.
const SLACK: i64 = 10;
const QUEUE: usize = 1024;
