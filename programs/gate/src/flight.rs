//! Requests that run: who may still listen, and how an answer is cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use casemate_core::admission::{Permit, Refusal, Standing};
use casemate_core::name::Name;
use casemate_core::time::UnixTime;

use crate::gate::{Connection, Gate, Order, lock};
use crate::place::{Place, Tally};

/// Why a request may run.
#[derive(Debug)]
pub enum Hold {
    /// It was admitted here.
    Permit(Box<Permit>),
    /// The stage made it while it worked on this one, which was admitted here.
    Branch(Arc<Flight>),
}

/// A token that lets a caller speak for a request at the next stage.
#[derive(Clone, Debug)]
pub struct Onward {
    /// The token.
    pub token: Arc<str>,
    /// Not to be used from this second on.
    pub expires: UnixTime,
}

/// The token that a request came with.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The token itself, to be exchanged for one for the next stage.
    pub token: Arc<str>,
    /// What kind of token it is, in the words of RFC 8693.
    pub kind: &'static str,
}

/// One request that runs.
#[derive(Debug)]
pub struct Flight {
    /// Its number.
    pub id: u64,
    hold: Hold,
    connection: Arc<Connection>,
    started: u64,
    /// When something last moved, in ticks.
    moved: AtomicU64,
    /// The server's answer has begun.
    answering: AtomicBool,
    over: AtomicBool,
    cut: Mutex<Cut>,
    /// What the request came with; only where the stage may call others.
    pub shown: Option<Shown>,
    /// Tokens for the next stages, by name.
    pub onward: Mutex<HashMap<Name, Onward>>,
    /// Calls that the stage makes under it.
    pub branches: Tally,
}

#[derive(Debug, Default)]
struct Cut {
    reason: Option<(Refusal, u64)>,
    waker: Option<Waker>,
}

impl Flight {
    /// Why the request must stop, once it must; whoever asks is woken when that changes.
    pub fn cut(&self, context: &Context<'_>) -> Option<Refusal> {
        let mut cut = lock(&self.cut);
        if !cut
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            cut.waker = Some(context.waker().clone());
        }
        cut.reason.map(|(refusal, _)| refusal)
    }

    /// Notes that something moved.
    pub fn touch(&self, ticks: u64) {
        self.moved.store(ticks, Ordering::Relaxed);
    }

    /// Notes that the server's answer has begun.
    pub fn answering(&self, ticks: u64) {
        self.answering.store(true, Ordering::Relaxed);
        self.touch(ticks);
    }

    /// The permit that the request runs under, its own or that of the request it was made for.
    pub fn permit(&self) -> &Permit {
        match &self.hold {
            Hold::Permit(permit) => permit,
            Hold::Branch(parent) => parent.permit(),
        }
    }

    /// Whether it was admitted here, rather than made by the stage.
    pub const fn is_admitted_here(&self) -> bool {
        matches!(self.hold, Hold::Permit(_))
    }

    /// When it started, in ticks.
    pub const fn started(&self) -> u64 {
        self.started
    }

    /// Looks at the flight again: cuts it when it must stop, and its connection when that does not help.
    pub fn sweep(&self, gate: &Gate, standing: &Standing, now: UnixTime, ticks: u64) {
        let since_cut = lock(&self.cut)
            .reason
            .map(|(_, at)| ticks.saturating_sub(at));
        match since_cut {
            // The client takes nothing, so hyper does not ask for the end of the answer.
            Some(since) if since >= CUT_GRACE_MS => self.connection.give(Order::Close),
            Some(_) => {}
            None => {
                if let Err(refusal) = self.valid(gate, standing, now, ticks) {
                    self.stop(refusal, ticks);
                }
            }
        }
    }

    fn valid(
        &self,
        gate: &Gate,
        standing: &Standing,
        now: UnixTime,
        ticks: u64,
    ) -> Result<(), Refusal> {
        if let Hold::Branch(parent) = &self.hold
            && parent.over.load(Ordering::Relaxed)
        {
            return Err(Refusal::NoTransaction);
        }
        self.permit().still_valid(standing, now)?;
        let still = ticks.saturating_sub(self.moved.load(Ordering::Relaxed));
        let answering = self.answering.load(Ordering::Relaxed);
        let most_still = if answering {
            gate.bounds.stream_idle_ms
        } else {
            gate.bounds.first_byte_ms
        };
        let all = ticks.saturating_sub(self.started);
        if still >= most_still || all >= gate.bounds.stream_total_ms {
            return Err(Refusal::UpstreamTimeout);
        }
        Ok(())
    }

    fn stop(&self, refusal: Refusal, ticks: u64) {
        let mut cut = lock(&self.cut);
        cut.reason = Some((refusal, ticks));
        if let Some(waker) = cut.waker.take() {
            waker.wake();
        }
    }
}

/// All requests that run.
#[derive(Debug, Default)]
pub struct Flights {
    running: Mutex<HashMap<u64, Arc<Flight>>>,
    /// By the handle that the stage passes on; only where it may call other stages.
    by_handle: Mutex<HashMap<String, Arc<Flight>>>,
}

impl Flights {
    /// How many run.
    pub fn len(&self) -> usize {
        lock(&self.running).len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        lock(&self.running).is_empty()
    }

    /// The admitted request with this handle.
    pub fn find(&self, handle: &str) -> Option<Arc<Flight>> {
        lock(&self.by_handle).get(handle).map(Arc::clone)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Flight>> {
        lock(&self.running).values().map(Arc::clone).collect()
    }
}

/// Keeps a flight in the list of those that run.
#[derive(Debug)]
pub struct FlightGuard {
    /// The flight.
    pub flight: Arc<Flight>,
    /// The handle that the stage passes on, when it may call other stages.
    pub handle: Option<String>,
    gate: Arc<Gate>,
    /// Its place among those that run.
    _place: Place,
}

impl FlightGuard {
    /// Starts a flight.
    pub fn start(
        gate: &Arc<Gate>,
        hold: Hold,
        place: Place,
        connection: Arc<Connection>,
        shown: Option<Shown>,
        handle: Option<String>,
    ) -> Self {
        let ticks = gate.ticks();
        let mut running = lock(&gate.flights.running);
        let flight = Arc::new(Flight {
            id: gate.fresh_number(),
            hold,
            connection,
            started: ticks,
            moved: AtomicU64::new(ticks),
            answering: AtomicBool::new(false),
            over: AtomicBool::new(false),
            cut: Mutex::default(),
            shown,
            onward: Mutex::default(),
            branches: Tally::default(),
        });
        running.insert(flight.id, Arc::clone(&flight));
        if running.len() == 1 {
            gate.sweep.notify_one();
        }
        drop(running);
        if let Some(handle) = &handle {
            lock(&gate.flights.by_handle).insert(handle.clone(), Arc::clone(&flight));
        }
        Self {
            flight,
            handle,
            gate: Arc::clone(gate),
            _place: place,
        }
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flight.over.store(true, Ordering::Relaxed);
        lock(&self.gate.flights.running).remove(&self.flight.id);
        if let Some(handle) = &self.handle {
            lock(&self.gate.flights.by_handle).remove(handle);
            // What the stage still does for this request ends with it.
            self.gate.sweep.notify_one();
        }
    }
}

/// After this long, a connection whose answer was cut is closed under it.
const CUT_GRACE_MS: u64 = 120;
