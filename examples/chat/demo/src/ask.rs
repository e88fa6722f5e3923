//! Asks the model through the command line and shows the answer as it streams.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use casemate_testkit::{Chat, Node, Person};
use serde_json::Value;

use crate::narrator::Narrator;

/// What came back.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) first_token_ms: u64,
}

/// Asks `question` as `person` and prints each token when it arrives.
pub(crate) fn ask(
    narrator: Narrator,
    node: &Node,
    chat: &Chat,
    person: &Person,
    question: &str,
) -> anyhow::Result<Answer> {
    let body = Chat::question(question, 96, true).to_string();
    let mut call = person.casemate(node);
    call.args([
        "call",
        "redact",
        "/v1/chat/completions",
        "--stream",
        "-d",
        &body,
    ]);
    call.args(["--url", &format!("https://{}", chat.gate())]);
    let start = Instant::now();
    let mut child = call
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start casemate call")?;
    let stdout = child.stdout.take().context("no stdout")?;
    let mut answer = Answer {
        text: String::new(),
        first_token_ms: 0,
    };
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let Some(event) = line
            .strip_prefix("data: ")
            .filter(|event| *event != "[DONE]")
        else {
            continue;
        };
        let event: Value = serde_json::from_str(event)?;
        let token = event
            .pointer("/choices/0/delta/content")
            .and_then(Value::as_str);
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            if answer.text.is_empty() {
                answer.first_token_ms = u64::try_from(start.elapsed().as_millis())?;
            }
            answer.text.push_str(token);
            narrator.piece(token);
        }
    }
    narrator.say("");
    let status = child.wait()?;
    if !status.success() || answer.text.is_empty() {
        let mut words = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut words)?;
        }
        bail!(
            "the question was not answered ({status})\n{words}\ncasemated's log:\n{}",
            node.log()
        );
    }
    Ok(answer)
}
