//! The gate, tried through the real program.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

mod bounds;
mod chain;
mod clock;
mod refusals;
mod smuggling;
mod stand;
mod streams;
mod upstream;

use std::path::Path;
use std::sync::Arc;

use stand::{GateProcess, Plan, Realm};
use upstream::Upstream;

/// A gate before a server, and somebody with a ticket.
struct Scene {
    realm: Arc<Realm>,
    server: Upstream,
    gate: GateProcess,
    anna: stand::Client,
    ticket: String,
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_casemate-gate"))
}

fn scene() -> Scene {
    scene_with(|_| {})
}

fn scene_with(change: impl FnOnce(&mut Plan)) -> Scene {
    let realm = Realm::new();
    let server = Upstream::start();
    let mut plan = Plan::new(server.address);
    change(&mut plan);
    let gate = GateProcess::start(program(), &realm, plan);
    let anna = realm.client("anna");
    let ticket = anna.ticket("infer");
    Scene {
        realm,
        server,
        gate,
        anna,
        ticket,
    }
}

impl Scene {
    fn ask(&self, request: &[u8]) -> stand::Reply {
        self.anna.connect(self.gate.address).exchange(request)
    }
}
