//! What the node says about what it does: one event becomes a log line and a row, one decision a receipt.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_core::event::{Event, Severity};
use casemate_core::receipt::{Assurance, Draft, Receipt, ReceiptKind};
use casemate_core::time::{Clock, UnixTime};

use crate::store::{Store, StoreError};

/// What this node's decisions rest on. Nothing but our own software measures here.
pub(crate) const ASSURANCE: Assurance = Assurance::Software;

/// Facts of a receipt, by name.
pub(crate) type Facts = BTreeMap<String, String>;

/// Writes events and receipts.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Journal")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Journal {
    pub(crate) const fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Now, or the time of the newest receipt when the clock has gone back behind it. Whatever was issued
    /// has a receipt, so nothing of it is later than this.
    pub(crate) fn now_or_newest(&self) -> Result<UnixTime, StoreError> {
        Ok(self.store.newest_receipt()?.max(self.now()))
    }

    /// An event of now.
    pub(crate) fn event(&self, kind: &'static str, severity: Severity) -> Event {
        Event::new(self.now(), kind, severity)
    }

    /// Logs and stores an event; waits while the store cannot keep up.
    pub(crate) fn add(&self, event: Event) {
        log(&event);
        if let Err(error) = self.store.add_event(event) {
            tracing::error!(error = %crate::report(&error), "event not stored");
        }
    }

    /// Signs and stores a receipt. Returns when it is on the disk: carry the decision out after.
    pub(crate) fn record(
        &self,
        kind: ReceiptKind,
        subject: impl Into<String>,
        facts: Facts,
    ) -> Result<Receipt, StoreError> {
        let draft = self.draft(kind, subject, facts);
        self.store
            .record(vec![draft])?
            .pop()
            .ok_or(StoreError::WriterGone)
    }

    /// A receipt of now that is not yet in the chain.
    pub(crate) fn draft(
        &self,
        kind: ReceiptKind,
        subject: impl Into<String>,
        facts: Facts,
    ) -> Draft {
        Draft {
            time: self.now(),
            kind,
            subject: subject.into(),
            facts,
            assurance: ASSURANCE,
        }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn receipts(&self) -> Result<Vec<Receipt>, StoreError> {
        self.store.receipts()
    }

    pub(crate) fn events(&self, after: u64, limit: u32) -> Result<Vec<(u64, Event)>, StoreError> {
        self.store.events(after, limit)
    }
}

/// One fact of a receipt.
pub(crate) fn fact(name: &str, value: impl std::fmt::Display) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn log(event: &Event) {
    let stage = match (&event.enclosure, &event.stage) {
        (Some(enclosure), Some(stage)) => format!("{enclosure}/{stage}"),
        (Some(enclosure), None) => enclosure.to_string(),
        (None, _) => String::new(),
    };
    let subject = event.subject.as_deref().unwrap_or_default();
    let (code, by) = event.decision.as_ref().map_or(("", ""), |decision| {
        (decision.code.as_str(), decision.by.as_str())
    });
    let facts = event
        .facts
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ");
    let kind = event.kind.as_ref();
    match event.severity {
        // One line a request would drown the rest; the rows have them.
        Severity::Info if kind.starts_with("request.") => {
            tracing::debug!(kind, stage, subject, code, by, facts, "event");
        }
        Severity::Info => tracing::info!(kind, stage, subject, code, by, facts, "event"),
        Severity::Warning => tracing::warn!(kind, stage, subject, code, by, facts, "event"),
        Severity::Error => tracing::error!(kind, stage, subject, code, by, facts, "event"),
    }
}
