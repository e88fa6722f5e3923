//! Asks the model through the command line and shows the answer as it streams.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, bail};
use casemate_testkit::{Chat, Node, Person};

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
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut bytes = Vec::new();
    let mut shown = 0;
    let mut first_token_ms = None;
    let mut piece = [0; 256];
    loop {
        let read = stdout.read(&mut piece)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
        if first_token_ms.is_none() {
            first_token_ms = Some(u64::try_from(start.elapsed().as_millis())?);
        }
        // A token may end in the middle of a character; it is shown with the next one.
        let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
        narrator.piece(&String::from_utf8_lossy(
            bytes.get(shown..whole).unwrap_or_default(),
        ));
        shown = whole;
    }
    let status = child.wait()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match first_token_ms {
        Some(first_token_ms) if status.success() && !text.is_empty() => Ok(Answer {
            text,
            first_token_ms,
        }),
        _ => {
            let mut words = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut words)?;
            }
            bail!(
                "the question was not answered ({status})\n{words}\ncasemated's log:\n{}",
                node.log()
            )
        }
    }
}
