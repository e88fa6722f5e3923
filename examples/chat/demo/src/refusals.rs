//! Calls that must not work, each with what refused it.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use casemate_testkit::client::Client;
use casemate_testkit::http::{Answer, Request};
use casemate_testkit::person::stage_id;
use casemate_testkit::{Chat, Node, Person};
use serde_json::Value;

use crate::summary::Refusal;

/// Everything the calls need.
pub(crate) struct Stand<'a> {
    pub(crate) node: &'a Node,
    pub(crate) chat: &'a Chat,
    /// Who holds the tickets.
    pub(crate) holder: &'a Person,
    /// Somebody else with a valid login.
    pub(crate) other: &'a Person,
    /// A ticket that was given a short life, and when it was given.
    pub(crate) short: (String, Instant),
}

/// How long the short ticket lives.
pub(crate) const SHORT_SECONDS: u64 = 5;

/// Tries each call; `each` is told as they come.
pub(crate) fn collect(
    stand: &Stand<'_>,
    mut each: impl FnMut(&Refusal),
) -> anyhow::Result<Vec<Refusal>> {
    let gate = stand.chat.gate();
    let redact = stage_id("redact");
    let bundle = stand.node.bundle()?;
    let nobody = Client::new(gate, &bundle, &redact, None)?;
    let holder = stand.holder.client(stand.node, gate, &redact)?;
    let other = stand.other.client(stand.node, gate, &redact)?;
    let ticket = stand.holder.ticket(stand.node, "redact", &[])?;

    let chat = |model: &str| {
        let mut body = Chat::question("hello", 8, false);
        if let Some(place) = body.get_mut("model") {
            *place = Value::from(model);
        }
        Request::post_json("/v1/chat/completions", &body)
    };
    let ask = || chat(casemate_testkit::chat::MODEL);
    let holding = |request: Request| request.with("authorization", &format!("Bearer {ticket}"));
    let get = |target: &str| holding(Request::get(target));
    let post = |target: &str| {
        let mut request = holding(ask());
        target.clone_into(&mut request.target);
        request
    };

    let mut seen = Vec::new();
    let mut note = |refusal: Refusal| {
        each(&refusal);
        seen.push(refusal);
    };
    note(judge("no client certificate", nobody.send(&holding(ask()))));
    note(judge("no ticket", holder.send(&ask())));
    note(judge(
        "another holder's ticket",
        other.send(&holding(ask())),
    ));
    note(judge(
        "a model version the ticket does not name",
        holder.send(&holding(chat("smollm2-135m-instruct@2"))),
    ));
    note(judge("an admin route: /slots", holder.send(&get("/slots"))));
    note(judge("an admin route: /props", holder.send(&get("/props"))));
    note(judge(
        "an admin route: /lora-adapters",
        holder.send(&get("/lora-adapters")),
    ));
    note(judge(
        "a path in disguise: //",
        holder.send(&post("//v1/chat/completions")),
    ));
    note(judge(
        "a path in disguise: %2e",
        holder.send(&post("/v1/%2e%2e/slots")),
    ));
    note(judge(
        "a path in disguise: case",
        holder.send(&post("/V1/chat/completions")),
    ));
    for (stage, port) in [("redact", 8080), ("infer", 8000)] {
        note(around(stage, SocketAddr::from(([127, 0, 0, 1], port))));
    }
    let (short, since) = &stand.short;
    thread::sleep(Duration::from_secs(SHORT_SECONDS + 1).saturating_sub(since.elapsed()));
    let expired = ask().with("authorization", &format!("Bearer {short}"));
    note(judge("an expired ticket", holder.send(&expired)));
    Ok(seen)
}

/// What a gate's answer says, or why there was none.
fn judge(name: &str, answer: anyhow::Result<Answer>) -> Refusal {
    match answer {
        Err(error) => {
            let reason = format!("{error:#}");
            // Only the server's own alert is a refusal; anything else is a failure to look.
            let refused = reason.contains("CertificateRequired");
            let reason = if refused {
                "TLS alert: certificate required".to_owned()
            } else {
                reason
            };
            Refusal {
                name: name.to_owned(),
                status: None,
                reason,
                by: "gate/redact".to_owned(),
                refused,
            }
        }
        Ok(answer) => {
            let problem = answer.json().unwrap_or_default();
            let text = |member: &str| {
                problem
                    .get(member)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (code, by) = (text("code"), text("by"));
            let refused = (400..500).contains(&answer.head.status)
                && !code.is_empty()
                && answer.head.header("casemate-refusal") == Some(code.as_str());
            Refusal {
                name: name.to_owned(),
                status: Some(answer.head.status),
                reason: if text("detail").is_empty() {
                    code
                } else {
                    format!("{code}: {}", text("detail"))
                },
                by,
                refused,
            }
        }
    }
}

/// A connection from the host to the port on which the stage's server listens in its own namespace.
fn around(stage: &str, server: SocketAddr) -> Refusal {
    let connected = TcpStream::connect_timeout(&server, Duration::from_secs(2));
    Refusal {
        name: format!("straight to {stage}, around its gate"),
        status: None,
        reason: match &connected {
            Ok(_) => format!("something answers on {server} of the host"),
            Err(error) => format!("{server} on the host: {error}"),
        },
        by: "network namespace".to_owned(),
        refused: connected.is_err(),
    }
}
