//! The gate beside Envoy 1.40: mTLS kept open, a ticket, one route, a kilobyte of JSON both ways.
//!
//! Both verify the same client certificate and the same ES256 ticket (Envoy with its token cache), allow
//! the same one route, and pass to the same server. Ours also reads the body for the model's name and
//! bounds; Envoy is not asked to. The proxy has one core, the load and the server the other.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use casemate_core::time::{Clock as _, SystemClock};
use casemate_identity::authority::Authority;
use casemate_identity::svid::{CertificateRequest, KeyPair, make_csr};
use casemate_testkit::client::Client;
use casemate_testkit::http::Request;
use casemate_testkit::identity_provider::free_address;
use casemate_testkit::{IdentityProvider, Node, Person, Programs, StandIn, Tools, wait_for};

use super::load::{Target, at_rate, pin, saturate};
use super::peers::{Envoy, EnvoyPolicy};
use crate::measure::{alternate, median, processor_time, quantile, resident};
use crate::report::Line;

/// Processor time a request, added delay, idle memory.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let provider = IdentityProvider::start(&Tools::locate())?;
    let node = Node::start()?;
    let scenario = StandIn::prepare(&node, &provider, "answer")?;
    node.run_casemate(&["up", &scenario.file().display().to_string()])?;
    let person = Person::log_in(&node, &provider, "bench", &["analysts"])?;
    let credentials = person.credentials()?;
    let gate = gate_pid(&node)?;

    let upstream = free_address()?;
    let server = Server(
        Command::new(Programs::locate()?.path("stand-in"))
            .arg(upstream.port().to_string())
            .stdin(Stdio::null())
            .spawn()?,
    );
    wait_for("the server", Duration::from_secs(5), || {
        Ok(std::net::TcpStream::connect(upstream).ok())
    })?;

    // Envoy's own certificate, from an authority of its own.
    let now = SystemClock.now();
    let day = Duration::from_secs(86_400);
    let authority = Authority::new("peer.internal".parse()?, day, now)?;
    let key = KeyPair::generate()?;
    let csr = CertificateRequest::from_pem(&make_csr(&key)?)?;
    let issued = authority.issue(&csr, &ENVOY.parse()?, day, now)?;
    let (chain, private) = (node.path("envoy.pem"), node.path("envoy.key"));
    fs::write(&chain, issued.chain_pem())?;
    fs::write(&private, key.to_pem().expose())?;
    let issuer = Client::new(node.issuer(), &node.bundle()?, ISSUER, None)?;
    let jwks = issuer.send(&Request::get("/jwks.json"))?.text();
    let listen = free_address()?;
    let client_id = client_id(&credentials.chain_pem)?;
    let envoy = Envoy::start(
        node.directory(),
        &EnvoyPolicy {
            listen,
            upstream,
            chain: &chain,
            key: &private,
            bundle: &node.run().join("trust-bundle.pem"),
            issuer: ISSUER,
            audience: StandIn::stage_id(),
            jwks: &jwks,
            client: &client_id,
        },
    )?;

    let ours = Target::Gate(person.client(&node, scenario.gate(), StandIn::stage_id())?);
    let theirs = Target::Gate(Client::new(
        listen,
        &authority.certificate_pem(),
        ENVOY,
        Some(&credentials),
    )?);
    let direct = Target::Direct(upstream);
    // Both enforce what they are compared in: the same request without its ticket is refused.
    let mut bare = request(&node, &person)?;
    bare.headers.retain(|(name, _)| name != "authorization");
    for target in [&ours, &theirs] {
        ensure!(
            saturate(target, &bare, 1, 1).is_err(),
            "a request without a ticket was answered"
        );
    }
    pin(gate, 0)?;
    pin(envoy.pid(), 0)?;
    pin(std::process::id(), 1)?;
    pin(server.0.id(), 1)?;
    let idle = (resident(gate)?, resident(envoy.pid())?);

    let request = || request(&node, &person);
    let per_request = |target: &Target, pid: u32| -> anyhow::Result<f64> {
        let request = request()?;
        saturate(target, &request, 4, 50)?;
        let before = processor_time(pid)?;
        saturate(target, &request, 4, 1000)?;
        let spent = processor_time(pid)?.saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / 4000.0)
    };
    let (mine, peer) = alternate(
        5,
        || per_request(&ours, gate),
        || per_request(&theirs, envoy.pid()),
    )?;
    let mut lines = vec![Line::cheaper(
        "gate: processor time a request, saturated",
        "µs",
        mine,
        "Envoy 1.40",
        peer,
        0.5,
    )];

    let mut p99: [Vec<f64>; 3] = Default::default();
    for _ in 0..3 {
        let request = request()?;
        for (target, all) in [&ours, &theirs, &direct].into_iter().zip(&mut p99) {
            all.push(quantile(&mut at_rate(target, &request, 8, 1000, 5)?, 0.99));
        }
    }
    let [mine, peer, direct] = p99.map(median);
    let what = "gate: p99 at 1,000 requests/s";
    lines.push(Line::added(what, "ms", mine, "direct, no TLS", direct, 0.5));
    lines.push(Line::added(what, "ms", mine, "Envoy 1.40", peer, 0.0));
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    lines.push(Line::cheaper(
        "gate: idle memory",
        "MiB",
        mebibytes(idle.0),
        "Envoy 1.40",
        mebibytes(idle.1),
        1.0,
    ));
    node.run_casemate(&["down", "stand-in"])?;
    Ok(lines)
}

fn request(node: &Node, person: &Person) -> anyhow::Result<Request> {
    let ticket = person.ticket(node, "server", &[])?;
    let mut body = StandIn::question(false);
    if let Some(text) = body.pointer_mut("/messages/0/content") {
        *text = "x".repeat(900).into();
    }
    Ok(Request::post_json("/v1/chat/completions", &body)
        .with("authorization", &format!("Bearer {ticket}"))
        .with("connection", "keep-alive"))
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The one gate of this node.
fn gate_pid(node: &Node) -> anyhow::Result<u32> {
    let parent = format!("PPid:\t{}\n", node.pid().context("casemated")?);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        if comm.trim() == "casemate-gate"
            && status.contains(&parent)
            && let Some(pid) = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok())
        {
            found.push(pid);
        }
    }
    match found.as_slice() {
        [only] => Ok(*only),
        _ => anyhow::bail!("{} gates belong to this node, not one", found.len()),
    }
}

/// The SPIFFE ID in a chain's leaf.
fn client_id(chain_pem: &str) -> anyhow::Result<String> {
    let chain = casemate_identity::svid::chain_from_pem(chain_pem).context("chain")?;
    let leaf = chain.first().context("leaf")?;
    let leaf = casemate_identity::svid::Leaf::from_der(leaf)?;
    Ok(leaf.id.to_string())
}

const ISSUER: &str = "spiffe://example.internal/issuer";
const ENVOY: &str = "spiffe://peer.internal/envoy";
