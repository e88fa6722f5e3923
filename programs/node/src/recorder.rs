//! Turns the issuer's decisions into receipts, and holds the node back while none can be written.
//!
//! Receipts are written in batches, in order. When the disk is full the batch is tried again until it
//! is written; meanwhile the queue fills, the issuer's reports are not taken, so it issues nothing
//! more, and every gate is closed: no decision is lost, and none is taken without its record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use casemate_core::event::{Event, kind};
use casemate_core::receipt::{Draft, ReceiptKind};

use crate::journal::{ASSURANCE, Journal};

type Listener = Box<dyn Fn() + Send>;

/// Whether receipts cannot be written at the moment; then nothing may be admitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeldBack(Arc<AtomicBool>);

impl HeldBack {
    pub(crate) fn now(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Says how it is from now on; gives how it was.
    pub(crate) fn set(&self, held_back: bool) -> bool {
        self.0.swap(held_back, Ordering::SeqCst)
    }
}

/// The way to the recording thread.
#[derive(Clone)]
pub(crate) struct Recorder {
    drafts: SyncSender<Draft>,
    journal: Journal,
    held_back: HeldBack,
    listener: Arc<Mutex<Option<Listener>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("held_back", &self.held_back)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the thread.
    pub(crate) fn start(journal: Journal) -> std::io::Result<Self> {
        let (drafts, waiting) = sync_channel(QUEUE);
        let recorder = Self {
            drafts,
            journal: journal.clone(),
            held_back: HeldBack::default(),
            listener: Arc::default(),
        };
        let (held_back, listener) = (recorder.held_back.clone(), Arc::clone(&recorder.listener));
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || record_all(&journal, &waiting, &held_back, &listener))?;
        Ok(recorder)
    }

    /// Who is told when the node must be held back and when it may go on.
    pub(crate) fn when_held_back(&self, listener: impl Fn() + Send + 'static) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(listener));
    }

    /// For whoever must ask again and again.
    pub(crate) fn held_back(&self) -> HeldBack {
        self.held_back.clone()
    }

    /// Takes one report of the issuer; waits while receipts cannot be written.
    pub(crate) fn issuer_event(&self, event: Event) {
        let kind = match event.kind.as_ref() {
            kind::TICKET_ISSUED | kind::TRANSACTION_ISSUED => Some(ReceiptKind::TicketIssued),
            kind::SVID_ISSUED | kind::LOGIN_ACCEPTED => Some(ReceiptKind::SvidIssued),
            // Refusals and troubles are events; a receipt is for what was given.
            _ => None,
        };
        if let Some(kind) = kind {
            let mut facts = event.facts.clone();
            if event.kind == kind::TRANSACTION_ISSUED {
                facts.insert("token".to_owned(), "transaction".to_owned());
            }
            let draft = Draft {
                time: event.time,
                kind,
                subject: event.subject.clone().unwrap_or_default(),
                facts,
                assurance: ASSURANCE,
            };
            if self.drafts.send(draft).is_err() {
                tracing::error!("receipt lost: the recording thread has ended");
            }
        }
        self.journal.add(event);
    }
}

fn record_all(
    journal: &Journal,
    waiting: &Receiver<Draft>,
    held_back: &HeldBack,
    listener: &Mutex<Option<Listener>>,
) {
    let tell = |now: bool| {
        if held_back.set(now) != now
            && let Some(listener) = listener
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
        {
            listener();
        }
    };
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(QUEUE));
        while let Err(error) = journal.store().record(batch.clone()) {
            tracing::error!(error = %crate::report(&error), "nothing is admitted until receipts can be written");
            tell(true);
            std::thread::sleep(RETRY);
        }
        tell(false);
    }
}

const QUEUE: usize = 128;
const RETRY: Duration = Duration::from_secs(1);
