//! What all connections of one gate share, and what one connection is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use casemate_api::gate::{Bounds, ListenerKind, Settings, Stats};
use casemate_core::admission::{Rates, Refusal, Stage, Standing};
use casemate_core::name::Name;
use casemate_core::time::{Clock, UnixTime};
use casemate_identity::bundle::{ReadBundleError, TrustBundle};
use casemate_identity::jwks::{JwkSet, JwksError};
use casemate_identity::jws::VerifyingKeys;
use casemate_identity::svid::VerifiedPeer;
use casemate_identity::ticket::{TicketVerifier, VerifierSettings};
use casemate_identity::tls::{self, BundleSource, ClientAuth, Peers, SvidSource, TlsSettingsError};
use tokio::sync::Notify;

use crate::audit::Audit;
use crate::flight::Flights;
use crate::noise::Noise;
use crate::outbound::Neighbour;
use crate::place::{Places, Tally};
use crate::pool::Pool;
use crate::room::{Origin, Room};

/// Why the settings do not make a gate.
#[derive(Debug, thiserror::Error)]
pub enum BuildGateError {
    /// The trust bundle cannot be used.
    #[error("cannot use the trust bundle")]
    Bundle(#[from] ReadBundleError),
    /// The ticket keys cannot be used.
    #[error("cannot use the ticket keys")]
    Keys(#[from] JwksError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsSettingsError),
    /// A stage to call, and no issuer to ask for the token that it takes.
    #[error("the settings name stages to call, and no issuer")]
    NoIssuer,
}

/// What all connections share.
pub struct Gate {
    /// The enclosure.
    pub enclosure: Name,
    /// The stage behind this gate.
    pub stage: Stage,
    /// `gate/<stage>`: who decided.
    pub by: String,
    /// Bounds on peers.
    pub bounds: Bounds,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Verifies tickets, and remembers those it verified.
    pub verifier: TicketVerifier,
    /// The certificate that is shown.
    pub svids: Arc<SvidSource>,
    /// The bundle that peers are judged by.
    pub bundle: Arc<BundleSource>,
    /// TLS for clients at the edge.
    pub exposed_tls: Arc<rustls::ServerConfig>,
    /// TLS for gates of other stages.
    pub mesh_tls: Arc<rustls::ServerConfig>,
    /// Connections to the stage's server.
    pub upstream: Pool,
    /// The stages that this stage may call.
    pub neighbours: Vec<Neighbour>,
    /// Where transaction tokens come from.
    pub issuer: Option<Pool>,
    /// Requests that run.
    pub flights: Flights,
    /// Places for them.
    pub places: Places,
    /// Where decisions are recorded.
    pub audit: Audit,
    /// Refusals that were too many to be recorded one by one.
    pub noise: Noise,
    /// What was counted.
    pub counters: Counters,
    /// Woken when something is to be looked at before the next round.
    pub sweep: Notify,
    standing: Mutex<Arc<Standing>>,
    rates: Mutex<Rates>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    room: Mutex<Room>,
    next_id: AtomicU64,
    started: Instant,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests let through.
    pub admitted: AtomicU64,
    /// Requests refused.
    pub refused: AtomicU64,
    /// Running answers cut.
    pub cut: AtomicU64,
    /// Handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// Certificates taken over.
    pub rotations: AtomicU64,
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Gate {
    /// A gate as `settings` say, closed, without a certificate yet.
    ///
    /// # Errors
    /// When the settings hold something that cannot be used.
    pub fn new(
        settings: Settings,
        audit: Audit,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildGateError> {
        let Settings {
            enclosure,
            stage,
            trust_domain,
            profile,
            bounds,
            ..
        } = settings;
        let id = trust_domain.stage(&enclosure, &stage);
        let bundle = BundleSource::new(TrustBundle::from_pem(
            trust_domain.clone(),
            &settings.bundle_pem,
        )?);
        let svids = SvidSource::empty();
        let server = |alpn: &[&[u8]]| {
            let clients = ClientAuth::Required(Peers::Members);
            let (svids, bundle) = (Arc::clone(&svids), Arc::clone(&bundle));
            tls::server_config(svids, bundle, clients, Arc::clone(&clock), alpn).map(Arc::new)
        };
        let client = |peer| {
            let (svids, bundle) = (Some(Arc::clone(&svids)), Arc::clone(&bundle));
            tls::client_config(
                svids,
                bundle,
                Peers::only(peer),
                Arc::clone(&clock),
                &[b"http/1.1"],
            )
            .map(Arc::new)
        };
        let mut neighbours = Vec::with_capacity(settings.outbound.len());
        for outbound in settings.outbound {
            let config = client(trust_domain.stage(&enclosure, &outbound.to))?;
            neighbours.push(Neighbour {
                pool: Pool::mesh(outbound.socket, config),
                stage: outbound.to,
                listen: outbound.listen,
            });
        }
        let issuer = match settings.issuer {
            Some(socket) => Some(Pool::mesh(socket, client(trust_domain.issuer())?)),
            None if neighbours.is_empty() => None,
            None => return Err(BuildGateError::NoIssuer),
        };
        let keys = parse_keys(&settings.ticket_keys)?;
        let verifier = TicketVerifier::new(
            VerifierSettings {
                issuer: trust_domain.issuer(),
                trust_domain,
                audience: Some(id.clone()),
                max_ticket_lifetime: Duration::from_secs(3600),
                max_transaction_lifetime: Duration::from_secs(600),
                cache_entries: 4096,
            },
            keys,
        );
        Ok(Self {
            enclosure,
            by: format!("gate/{stage}"),
            exposed_tls: server(&[b"h2", b"http/1.1"])?,
            mesh_tls: server(&[b"http/1.1"])?,
            upstream: Pool::tcp(settings.upstream),
            stage: Stage {
                id,
                name: stage,
                profile,
            },
            standing: Mutex::new(Arc::new(Standing {
                flows: settings.flows,
                ..Standing::default()
            })),
            places: Places::new(bounds.requests),
            room: Mutex::new(Room::new(bounds.connections)),
            bounds,
            clock,
            verifier,
            svids,
            bundle,
            neighbours,
            issuer,
            flights: Flights::default(),
            audit,
            noise: Noise::default(),
            counters: Counters::default(),
            sweep: Notify::new(),
            rates: Mutex::default(),
            connections: Mutex::default(),
            next_id: AtomicU64::new(1),
            started: Instant::now(),
        })
    }

    /// What holds right now.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&lock(&self.standing))
    }

    /// Changes what holds, and has everything that runs looked at again at once.
    pub fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(Arc::make_mut(&mut *lock(&self.standing)));
        self.sweep.notify_one();
    }

    /// The requests of the last minute.
    pub fn rates(&self) -> MutexGuard<'_, Rates> {
        lock(&self.rates)
    }

    /// Now.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Milliseconds since the gate started: a clock that does not jump.
    pub fn ticks(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A number that was not given out before.
    pub fn fresh_number(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A new connection, when there is room for it. It is forgotten when the guard is dropped.
    pub fn connect(self: &Arc<Self>, origin: Origin) -> Option<ConnectionGuard> {
        if !lock(&self.room).enter(&origin) {
            return None;
        }
        let mut connections = lock(&self.connections);
        let connection = Arc::new(Connection {
            id: self.fresh_number(),
            control: Mutex::default(),
            running: AtomicU64::new(0),
            idle_since: AtomicU64::new(self.ticks()),
            head_since: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            places: Tally::default(),
            gate: Arc::clone(self),
        });
        connections.insert(connection.id, Arc::clone(&connection));
        if connections.len() == 1 {
            self.sweep.notify_one();
        }
        Some(ConnectionGuard { connection, origin })
    }

    /// All connections that are open now.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.connections).values().map(Arc::clone).collect()
    }

    /// The counters, for the daemon.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            admitted: read(&self.counters.admitted),
            refused: read(&self.counters.refused),
            cut: read(&self.counters.cut),
            handshakes_failed: read(&self.counters.handshakes_failed),
            rotations: read(&self.counters.rotations),
            events_dropped: self.audit.dropped(),
            running: self.flights.len() as u64,
            connections: lock(&self.connections).len() as u64,
        }
    }
}

/// The verifying keys of a JSON Web Key Set.
///
/// # Errors
/// When it is none, or holds no key that could be used.
pub fn parse_keys(jwks: &serde_json::Value) -> Result<VerifyingKeys, JwksError> {
    JwkSet::parse(jwks.to_string().as_bytes()).map(|set| VerifyingKeys::from_jwks(&set))
}

/// Locks a mutex that is never held over an await. A panic elsewhere does not make its content unsound:
/// every change under these locks is a single assignment or insertion.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is at the other end, verified in the handshake.
#[derive(Debug)]
pub struct Caller {
    /// The peer.
    pub peer: VerifiedPeer,
    /// Through which listener.
    pub kind: ListenerKind,
}

/// One connection, as the sweeper sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its number.
    pub id: u64,
    gate: Arc<Gate>,
    control: Mutex<Control>,
    /// Requests that run on it.
    running: AtomicU64,
    /// Since when none runs, in ticks.
    idle_since: AtomicU64,
    /// Since when a head is incomplete, in ticks; 0 when none is.
    head_since: AtomicU64,
    overdue: AtomicBool,
    /// Requests of it that are read or run.
    pub places: Tally,
}

#[derive(Debug, Default)]
struct Control {
    order: Order,
    verdict: Option<Refusal>,
    waker: Option<Waker>,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Go on.
    #[default]
    Serve,
    /// End after what runs.
    Finish,
    /// End now.
    Close,
}

impl Connection {
    /// What is to become of it; whoever asks is woken when that changes.
    pub fn order(&self, context: &Context<'_>) -> Order {
        let mut control = lock(&self.control);
        if !control
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            control.waker = Some(context.waker().clone());
        }
        control.order
    }

    /// Orders what is to become of it; a later order is never weaker.
    pub fn give(&self, order: Order) {
        let mut control = lock(&self.control);
        control.order = control.order.max(order);
        if let Some(waker) = control.waker.take() {
            waker.wake();
        }
    }

    /// Notes what the stand-in request is to be answered with.
    pub fn refuse(&self, refusal: Refusal) {
        lock(&self.control).verdict.get_or_insert(refusal);
        self.head_amid(false);
    }

    /// What the stand-in request is to be answered with, when it is the one asked for.
    pub fn verdict(&self) -> Option<Refusal> {
        lock(&self.control).verdict
    }

    /// Notes whether a head is incomplete.
    pub fn head_amid(&self, amid: bool) {
        if !amid {
            self.head_since.store(0, Ordering::Relaxed);
        } else if self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since
                .store(self.gate.ticks().max(1), Ordering::Relaxed);
        }
    }

    /// Whether an incomplete head has taken too long.
    pub fn head_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Nothing is served any more; what is left is to be read within a moment.
    pub fn linger(&self) {
        let soon = self.gate.ticks() + LINGER_MS;
        self.idle_since.store(
            soon.saturating_sub(self.gate.bounds.idle_ms),
            Ordering::Relaxed,
        );
    }

    /// Notes that a request starts; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Looks at the connection's own deadlines.
    pub fn sweep(&self, ticks: u64) {
        let bounds = &self.gate.bounds;
        let head_since = self.head_since.load(Ordering::Relaxed);
        if head_since != 0 && ticks.saturating_sub(head_since) >= bounds.header_ms {
            self.overdue.store(true, Ordering::Relaxed);
            if let Some(waker) = lock(&self.control).waker.take() {
                waker.wake();
            }
        }
        let idle = ticks.saturating_sub(self.idle_since.load(Ordering::Relaxed));
        if self.running.load(Ordering::Relaxed) == 0 && head_since == 0 && idle >= bounds.idle_ms {
            self.give(if idle >= bounds.idle_ms + GRACE_MS {
                Order::Close
            } else {
                Order::Finish
            });
        }
    }
}

/// Keeps a connection in the gate's list.
#[derive(Debug)]
pub struct ConnectionGuard {
    /// The connection.
    pub connection: Arc<Connection>,
    /// Whose room it takes.
    origin: Origin,
}

impl ConnectionGuard {
    /// Takes the room of `origin` instead, when there is some.
    #[must_use]
    pub fn becomes(&mut self, origin: Origin) -> bool {
        let mut room = lock(&self.connection.gate.room);
        if !room.enter(&origin) {
            return false;
        }
        room.leave(&std::mem::replace(&mut self.origin, origin));
        true
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let gate = &self.connection.gate;
        lock(&gate.connections).remove(&self.connection.id);
        lock(&gate.room).leave(&self.origin);
    }
}

/// Keeps a connection from counting as idle.
#[derive(Debug)]
pub struct Running(Arc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0
                .idle_since
                .store(self.0.gate.ticks(), Ordering::Relaxed);
        }
    }
}

/// How long a peer may take to read the refusal of a malformed request.
const LINGER_MS: u64 = 2_000;
/// How long an idle connection may take to end by itself.
const GRACE_MS: u64 = 2_000;
