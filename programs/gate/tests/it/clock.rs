//! The wall clock jumps, and the gate is still there. In this process, where the clock is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use casemate_api::gate::{Bounds, FromGate, Settings, Svid as SvidLine, SvidRefused};
use casemate_core::event::kind;
use casemate_core::profile;
use casemate_core::time::{Clock, UnixTime};
use casemate_gate::audit::Audit;
use casemate_gate::control::SvidAnswer;
use casemate_gate::gate::Gate;
use casemate_gate::rotate;
use casemate_identity::svid::CertificateRequest;
use tokio::sync::mpsc;

use crate::stand::{Realm, name, now};

struct SetClock(AtomicU64);

impl SetClock {
    fn set(&self, now: UnixTime) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// A gate that keeps its certificate fresh, and a daemon that issues by the same clock.
struct Stand {
    clock: Arc<SetClock>,
    gate: Arc<Gate>,
    rotation: tokio::task::JoinHandle<()>,
    failures: Arc<AtomicU64>,
}

impl Stand {
    async fn start(realm: &Arc<Realm>, lifetime: Duration) -> Self {
        let clock = Arc::new(SetClock(AtomicU64::new(now().0)));
        let (audit, lines) = Audit::channel();
        let settings = Settings {
            enclosure: name("chat"),
            stage: name("infer"),
            trust_domain: realm.domain.clone(),
            profile: profile::built_in("llama.cpp").unwrap(),
            flows: Vec::new(),
            upstream: "127.0.0.1:1".parse().unwrap(),
            listeners: Vec::new(),
            outbound: Vec::new(),
            issuer: None,
            ticket_keys: serde_json::from_str(&realm.signer.jwks().to_json()).unwrap(),
            bundle_pem: realm.authority.certificate_pem(),
            bounds: Bounds::default(),
        };
        let gate = Arc::new(Gate::new(settings, audit, Arc::clone(&clock) as _).unwrap());
        let (answers, mut taken) = mpsc::channel(4);
        let failures = Arc::default();
        tokio::spawn(daemon(
            Arc::clone(realm),
            (Arc::clone(&clock), lifetime),
            (lines, answers),
            Arc::clone(&failures),
        ));
        rotate::rotate(&gate, &mut taken).await.unwrap();
        let rotation = tokio::spawn(rotate::keep(Arc::clone(&gate), taken));
        Self {
            clock,
            gate,
            rotation,
            failures,
        }
    }

    /// Whether the certificate that is shown is good now.
    fn fresh(&self) -> bool {
        let now = self.clock.now();
        let current = self.gate.svids.current();
        current.is_some_and(|svid| !svid.rotation_due(now) && now < svid.not_after())
    }

    async fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "timed out: {what}"
            );
            assert!(!self.rotation.is_finished(), "rotation ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Does what the daemon does: certificates while its authority is valid, and a refusal when it is not.
async fn daemon(
    realm: Arc<Realm>,
    (clock, lifetime): (Arc<SetClock>, Duration),
    (mut lines, answers): (mpsc::Receiver<FromGate>, mpsc::Sender<SvidAnswer>),
    failures: Arc<AtomicU64>,
) {
    while let Some(line) = lines.recv().await {
        match line {
            FromGate::Csr(csr) => {
                let request = CertificateRequest::from_pem(&csr.csr_pem).unwrap();
                let id = realm.stage("infer");
                let issued = realm.authority.issue(&request, &id, lifetime, clock.now());
                let answer = match issued {
                    Ok(issued) => Ok(SvidLine {
                        id: csr.id,
                        chain_pem: issued.chain_pem(),
                    }),
                    Err(error) => Err(SvidRefused {
                        id: csr.id,
                        reason: error.to_string(),
                    }),
                };
                answers.send(answer).await.unwrap();
            }
            FromGate::Event(event) if event.kind == kind::SVID_ROTATION_FAILED => {
                failures.fetch_add(1, Ordering::SeqCst);
            }
            FromGate::Event(_) | FromGate::Ready(_) | FromGate::Stats(_) => {}
        }
    }
}

#[test]
fn a_clock_that_jumps_is_met_with_a_new_certificate_and_never_ends_the_rotation() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let realm = Realm::new();
        let began = now();
        let stand = Stand::start(&realm, Duration::from_secs(600)).await;
        assert!(stand.fresh());
        // Forward past the certificate's end, and back to before the new one begins.
        for jump in [began.plus(Duration::from_secs(7200)), began] {
            stand.clock.set(jump);
            assert!(!stand.fresh());
            stand.wait("a new certificate", Stand::fresh).await;
        }
        // Ten years on nothing is issued any more: the authority itself has ended. The gate keeps asking.
        stand
            .clock
            .set(began.plus(Duration::from_secs(3650 * 86_400)));
        stand
            .wait("two failures", |stand| {
                stand.failures.load(Ordering::SeqCst) >= 2
            })
            .await;
        assert!(!stand.fresh());
        // Far back: before the authority was made.
        stand.clock.set(UnixTime(0));
        let so_far = stand.failures.load(Ordering::SeqCst);
        stand
            .wait("another failure", |stand| {
                stand.failures.load(Ordering::SeqCst) > so_far
            })
            .await;
        assert!(!stand.fresh());
        // Set right again, with nobody's help.
        stand.clock.set(began.plus(Duration::from_secs(3600)));
        stand.wait("a certificate for now", Stand::fresh).await;
    });
}
