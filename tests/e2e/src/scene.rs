//! A running enclosure of one stage, and a person with a ticket for it.

use std::time::Duration;

use anyhow::Context as _;
use casemate_testkit::client::Client;
use casemate_testkit::http::{Answer, Request};
use casemate_testkit::{IdentityProvider, Node, Person, StandIn, Tools, wait_for};
use serde_json::Value;

pub(crate) struct Scene {
    pub(crate) node: Node,
    pub(crate) provider: IdentityProvider,
    pub(crate) stand_in: StandIn,
    pub(crate) person: Person,
    pub(crate) client: Client,
    pub(crate) ticket: String,
}

impl Scene {
    /// A server that behaves so, up and admitting, and a person with a ticket.
    pub(crate) fn start(behaviour: &str) -> anyhow::Result<Self> {
        Self::start_with(behaviour, &[])
    }

    /// The same with more arguments for the daemon.
    pub(crate) fn start_with(behaviour: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let provider = IdentityProvider::start(&Tools::locate())?;
        let node = Node::start_with(arguments)?;
        let stand_in = StandIn::prepare(&node, &provider, behaviour)?;
        node.run_casemate(&["up", &stand_in.file().display().to_string()])?;
        let person = Person::log_in(&node, &provider, "anna", &["analysts"])?;
        let client = person.client(&node, stand_in.gate(), StandIn::stage_id())?;
        let ticket = person.ticket(&node, "server", &[])?;
        Ok(Self {
            node,
            provider,
            stand_in,
            person,
            client,
            ticket,
        })
    }

    /// The request that is admitted.
    pub(crate) fn request(&self, stream: bool) -> Request {
        self.holding(Request::post_json(
            "/v1/chat/completions",
            &StandIn::question(stream),
        ))
    }

    /// A request with the ticket.
    pub(crate) fn holding(&self, request: Request) -> Request {
        request.with("authorization", &format!("Bearer {}", self.ticket))
    }

    pub(crate) fn ask(&self) -> anyhow::Result<Answer> {
        self.client
            .send(&self.request(false))
            .with_context(|| self.node.log())
    }

    /// The stage's part of `casemate status --json`.
    pub(crate) fn stage(&self) -> anyhow::Result<Value> {
        // Its exit status says whether every stage admits, which is not asked here.
        let output = self
            .node
            .casemate(&self.node.path("home"))
            .args(["status", "--json"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status: Value = serde_json::from_str(&text)?;
        status
            .pointer("/enclosures/0/stages/0")
            .cloned()
            .with_context(|| text.clone())
    }

    /// Waits until the stage's state is `state`.
    pub(crate) fn wait_for_state(&self, state: &str, seconds: u64) -> anyhow::Result<()> {
        wait_for(
            &format!("the stage to be {state}"),
            Duration::from_secs(seconds),
            || {
                let stage = self.stage()?;
                let held = stage.get("state").and_then(Value::as_str) == Some(state);
                Ok(held.then_some(()))
            },
        )
    }
}

/// The refusal code of an answer.
pub(crate) fn code(answer: &Answer) -> String {
    answer
        .head
        .header("casemate-refusal")
        .unwrap_or_default()
        .to_owned()
}
