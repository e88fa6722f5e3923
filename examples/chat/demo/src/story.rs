//! The demonstration from start to end.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use casemate_isolation::expected::expected_open;
use casemate_testkit::leftovers::{Snapshot, plaintext_files};
use casemate_testkit::{Chat, IdentityProvider, Node, Person, Tools};
use serde_json::Value;

use crate::narrator::Narrator;
use crate::refusals::{SHORT_SECONDS, Stand};
use crate::summary::{Probe, Receipts, Refusal, Summary};
use crate::{ask, attack, refusals};

/// Whether somebody asked to stop early; looked at between the steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn request(&self, narrator: Narrator) {
        if !self.0.swap(true, Ordering::Relaxed) {
            narrator.say("\ninterrupted; cleaning up, some seconds ...");
        }
    }

    fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.is_requested() {
            bail!("interrupted");
        }
        Ok(())
    }
}

/// How it ended.
pub(crate) enum End {
    /// To the end, with what was seen.
    Told(Box<Summary>),
    /// Early, as somebody wished; what is still there all the same.
    Interrupted(Vec<String>),
}

/// Tells it all and returns what was seen.
pub(crate) fn tell(narrator: Narrator, stop: &Stop) -> anyhow::Result<End> {
    let before = Snapshot::take();
    let tools = Tools::locate();
    narrator.heading("Preparing");
    let provider = IdentityProvider::start(&tools)?;
    narrator.say(&format!(
        "an OpenID provider listens on {}",
        provider.issuer()
    ));
    let node = Node::start()?;
    narrator.say(&format!(
        "casemated runs, with its state below {}",
        node.directory().display()
    ));
    let mut ports = vec![node.issuer().port()];
    let told = perform(narrator, stop, &node, &provider, &tools, &mut ports);
    // A command that Ctrl-C ended too fails with words about its end, which nobody needs to read.
    if told.is_err() && stop.is_requested() {
        return take_down(node, provider, &ports, &before, &tools).map(End::Interrupted);
    }
    let mut summary = told?;
    summary.leftovers = take_down(node, provider, &ports, &before, &tools)?;
    if summary.leftovers.is_empty() {
        narrator
            .say("nothing is left: no process, mount, namespace, cgroup, port or plaintext file");
    }
    for leftover in &summary.leftovers {
        narrator.say(&format!("left over: {leftover}"));
    }
    Ok(End::Told(Box::new(summary)))
}

/// From the keys to `casemate down`.
fn perform(
    narrator: Narrator,
    stop: &Stop,
    node: &Node,
    provider: &IdentityProvider,
    tools: &Tools,
    ports: &mut Vec<u16>,
) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    stop.check()?;
    let started = Instant::now();
    let chat = Chat::prepare(node, tools, provider)?;
    ports.push(chat.gate().port());
    narrator.say(&format!(
        "keys made, model sealed, image packed in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    stop.check()?;

    narrator.heading("casemate up");
    let started = Instant::now();
    node.run_casemate(&["up", &chat.file().display().to_string()])?;
    narrator.say(&format!(
        "both stages admit calls after {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    narrator.say(node.run_casemate(&["status"])?.trim_end());
    stop.check()?;

    narrator.heading("Login and ticket");
    let alice = Person::log_in(node, provider, "alice", &["analysts"])?;
    let bob = Person::log_in(node, provider, "bob", &["analysts"])?;
    let lifetime = SHORT_SECONDS.to_string();
    let short = alice.ticket(node, "redact", &["--lifetime", &lifetime])?;
    let short = (short, Instant::now());
    let exchanged = casemate_testkit::programs::output(
        alice
            .casemate(node)
            .args(["ticket", "exchange", "--stage", "redact"]),
    )?;
    narrator.say(exchanged.trim_end());
    stop.check()?;

    narrator.heading("A question");
    narrator.say(&format!("> {QUESTION}"));
    let answer = ask::ask(narrator, node, &chat, &alice, QUESTION)?;
    narrator.say(&format!("(first token after {} ms)", answer.first_token_ms));
    summary.first_token_ms = answer.first_token_ms;
    summary.answer = answer.text;
    summary.passed_on = passed_on(node)?;
    narrator.say(&format!(
        "`redact` masked it; what it sent on to `infer` was: {}",
        summary.passed_on
    ));
    stop.check()?;

    narrator.heading("What does not work, and who decided");
    let stand = Stand {
        node,
        chat: &chat,
        holder: &alice,
        other: &bob,
        short,
    };
    summary.refusals = refusals::collect(&stand, |refusal| narrator.say(&line(refusal)))?;
    stop.check()?;
    let (egress, probe) = attack::attack(node)?;
    narrator.say(&line(&egress));
    summary.refusals.push(egress);

    narrator.heading("casemate probe: attacks from inside");
    show_probe(narrator, &probe);
    summary.probe = probe;
    stop.check()?;

    narrator.heading("Receipts");
    summary.receipts = receipts(narrator, node)?;
    stop.check()?;

    narrator.heading("casemate down");
    node.run_casemate(&["down", "chat"])?;
    Ok(summary)
}

/// What the pre-processor's own log says that it sent to the next stage.
fn passed_on(node: &Node) -> anyhow::Result<String> {
    let log = node.run_casemate(&["logs", "redact"])?;
    let line = log.lines().rev().find_map(|line| {
        let (_, text) = line.split_once("passed on: ")?;
        Some(text.to_owned())
    });
    line.with_context(|| format!("`redact` logged no message:\n{log}"))
}

fn show_probe(narrator: Narrator, probe: &Probe) {
    for stage in &probe.stages {
        narrator.say(&format!(
            "{}: {} checks: {} blocked, {} open by argument, {} open, {} not applicable, {} could not be told",
            stage.stage,
            stage.checks,
            stage.blocked,
            stage.open_argued.len(),
            stage.open_unexpected.len(),
            stage.not_applicable,
            stage.inconclusive
        ));
    }
    for id in &probe.open_argued {
        if let Some(expected) = expected_open(id) {
            let stages: Vec<&str> = probe
                .stages
                .iter()
                .filter(|stage| stage.open_argued.contains(id))
                .map(|stage| stage.stage.as_str())
                .collect();
            narrator.say(&format!(
                "left open in {}: {id}: {}",
                stages.join(" and "),
                expected.reason
            ));
        }
    }
    for id in &probe.open_unexpected {
        narrator.say(&format!("OPEN: {id}"));
    }
}

fn line(refusal: &Refusal) -> String {
    let status = refusal
        .status
        .map_or_else(|| "---".to_owned(), |status| status.to_string());
    let mark = if refusal.refused {
        "refused"
    } else {
        "NOT REFUSED"
    };
    format!(
        "{mark} {status}  {:<42} {} [{}]",
        refusal.name, refusal.reason, refusal.by
    )
}

fn receipts(narrator: Narrator, node: &Node) -> anyhow::Result<Receipts> {
    let text = node.run_casemate(&["receipts", "list", "--json"])?;
    let list: Value = serde_json::from_str(text.trim()).context("receipts list --json")?;
    let receipts = list.as_array().or_else(|| list.get("receipts")?.as_array());
    let receipts = receipts.context("receipts list --json has no list")?;
    let mut kinds: Vec<&str> = receipts
        .iter()
        .filter_map(|receipt| receipt.get("kind")?.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    narrator.say(&format!(
        "{} receipts: {}",
        receipts.len(),
        kinds.join(", ")
    ));
    let verify = node
        .casemate(&node.path("home"))
        .args(["receipts", "verify"])
        .output()?;
    narrator.say(&format!(
        "receipts verify: {}",
        String::from_utf8_lossy(&verify.stdout).trim_end()
    ));
    Ok(Receipts {
        count: u64::try_from(receipts.len())?,
        verified: verify.status.success(),
    })
}

/// Ends everything and looks for what is still there.
fn take_down(
    mut node: Node,
    provider: IdentityProvider,
    ports: &[u16],
    before: &Snapshot,
    tools: &Tools,
) -> anyhow::Result<Vec<String>> {
    node.stop()?;
    drop(provider);
    // A piece from the middle of the model: no file of ours may hold it in plain.
    let model = fs::read(tools.model()?)?;
    let middle = model.len() / 2;
    let needle = model
        .get(middle..middle + 64)
        .context("the model is too short")?;
    let mut left = Snapshot::leftovers(before, node.directory(), ports);
    for file in plaintext_files(node.directory(), needle)? {
        left.push(format!("plaintext {}", file.display()));
    }
    let directory = node.directory().to_owned();
    drop(node);
    if directory.exists() {
        left.push(format!("directory {}", directory.display()));
    }
    Ok(left)
}

const QUESTION: &str =
    "My address is alice@example.org. What is a fortress? Answer in one sentence.";
