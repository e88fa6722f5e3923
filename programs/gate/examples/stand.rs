//! Starts the gate beside this example on a TCP port, with a throw-away authority, for measuring it.
//!
//! ```text
//! cargo build --release -p casemate-gate --bin casemate-gate
//! cargo run --release -p casemate-gate --example stand -- DIRECTORY [UPSTREAM [LISTEN]]
//! ```
//!
//! Into DIRECTORY go `client.pem`, `client.key` and `bundle.pem` for the client's side of TLS, `ticket`
//! (valid for 50 minutes), `jwks.json` for a peer that is measured on the same ticket, and `stand.json`
//! with the addresses and the gate's process id. UPSTREAM is the server behind the gate; without one, the
//! stand answers every request itself. It runs until its standard input ends.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a stand has no callers, and shares its parts with the tests"
)]

#[path = "../tests/it/stand.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod stand;
#[path = "../tests/it/upstream.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stand::{GateProcess, Plan, Realm, now};
use upstream::Upstream;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(
        arguments
            .next()
            .expect("usage: stand DIRECTORY [UPSTREAM [LISTEN]]"),
    );
    std::fs::create_dir_all(&directory).expect("the directory");
    let address = |text: String| text.parse::<SocketAddr>().expect("an address");
    let server = arguments.next().filter(|text| text != "-").map(address);
    let own = server.is_none().then(Upstream::start);
    if let Some(own) = &own {
        let text = "x".repeat(700);
        own.behave(upstream::json(&format!(
            r#"{{"choices":[{{"message":{{"content":"{text}"}}}}]}}"#
        )));
    }
    let mut plan = Plan::new(server.or(own.map(|own| own.address)).expect("a server"));
    if let Some(listen) = arguments.next() {
        plan.listen = address(listen);
    }

    let realm = Realm::new();
    let here = std::env::current_exe().expect("a path");
    let program = here
        .ancestors()
        .nth(2)
        .expect("the build directory")
        .join("casemate-gate");
    let upstream = plan.upstream;
    let gate = GateProcess::start(&program, &realm, plan);

    let anna = realm.client("anna");
    let mut claims = anna.claims("infer");
    claims.exp = now().plus(Duration::from_secs(3000));
    let svid = anna
        .svids
        .as_ref()
        .and_then(|svids| svids.current())
        .expect("an SVID");
    let write = |name: &str, content: &[u8]| {
        std::fs::write(directory.join(name), content).expect("a file in the directory");
    };
    write("client.pem", svid.chain_pem().as_bytes());
    write("client.key", svid.key().to_pem().expose());
    write("bundle.pem", realm.authority.certificate_pem().as_bytes());
    write("ticket", anna.sign(&claims).as_bytes());
    write("jwks.json", realm.signer.jwks().to_json().as_bytes());
    let facts = serde_json::json!({
        "gate": gate.address, "upstream": upstream, "pid": gate.child.id(), "path": stand::CHAT,
        "server-id": realm.stage("infer"), "client-id": anna.id, "body": stand::question(),
        "program": Path::new(&program),
    });
    write("stand.json", facts.to_string().as_bytes());
    println!("{facts}");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("standard input");
}
