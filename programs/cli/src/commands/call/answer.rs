//! The answer to a call: a refusal, one piece of data, or a stream of tokens.

use bytes::Bytes;
use casemate_core::spiffe::SpiffeId;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::refusals;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::http::collect;
use crate::sse::{Event, Events};

/// A refusal as the gate writes it (RFC 9457, with our own members).
#[derive(Debug, Default, Deserialize, Serialize)]
struct Refusal {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    code: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

pub(super) async fn print(
    context: &Context<'_>,
    peer: &SpiffeId,
    ticket: &str,
    response: Response<Incoming>,
    stream: bool,
    raw: bool,
) -> Result<Exit, Failure> {
    let status = response.status();
    if let Some(code) = refusal_code(response.headers()) {
        let body = collect(response, MAX_REFUSAL).await.unwrap_or_default();
        return refused(context, peer, ticket, status, code, &body);
    }
    let sse = is_sse(response.headers());
    if stream && !sse && status.is_success() {
        context
            .output
            .say("the answer does not stream; ask for it with \"stream\": true in the body");
    }
    let ending = if stream && sse && !raw {
        tokens(context, response).await?
    } else {
        copy(context, response).await?
    };
    if !status.is_success() {
        context.output.say(&format!("the server answered {status}"));
        return Ok(Exit::Found);
    }
    Ok(ending)
}

/// The code of a refusal of the gate; a server behind it cannot set this field.
fn refusal_code(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("casemate-refusal")?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_sse(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next().map(str::trim) == Some("text/event-stream"))
}

fn refused(
    context: &Context<'_>,
    peer: &SpiffeId,
    ticket: &str,
    status: StatusCode,
    code: String,
    body: &[u8],
) -> Result<Exit, Failure> {
    let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    refusal.status = status.as_u16();
    refusal.code = code;
    if refusal.by.is_empty() {
        refusal.by = peer.to_string();
    }
    if context.output.json() {
        context.output.value(&refusal)?;
    }
    context.output.say(&words(&refusal));
    if let Some(fix) = refusals::way_out(&refusal.code, ticket) {
        context.output.say(&format!("  fix: {fix}"));
    }
    Ok(Exit::Found)
}

fn words(refusal: &Refusal) -> String {
    let mut words = format!(
        "refused: {} {} by {}",
        refusal.status, refusal.code, refusal.by
    );
    let detail = if refusal.detail.is_empty() {
        &refusal.title
    } else {
        &refusal.detail
    };
    if !detail.is_empty() {
        words.push_str(&format!(": {detail}"));
    }
    words
}

/// Prints the body as it comes.
async fn copy(context: &Context<'_>, response: Response<Incoming>) -> Result<Exit, Failure> {
    let mut body = response.into_body();
    let mut last = None;
    while let Some(bytes) = next(&mut body).await? {
        last = bytes.last().copied().or(last);
        context.output.bytes(&bytes)?;
    }
    if last.is_some_and(|byte| byte != b'\n') {
        context.output.piece("\n")?;
    }
    Ok(Exit::Held)
}

/// Prints the text of a streamed chat answer, token by token.
async fn tokens(context: &Context<'_>, response: Response<Incoming>) -> Result<Exit, Failure> {
    let mut body = response.into_body();
    let mut events = Events::default();
    let mut printed = false;
    let mut ending = None;
    while let Some(bytes) = next(&mut body).await? {
        let ended = events
            .take(&bytes)
            .map_err(|error| Failure::of(Exit::Unclear, &error))?;
        for event in ended {
            match Piece::of(&event) {
                Piece::Text(text) => {
                    printed |= !text.is_empty();
                    context.output.piece(&text)?;
                }
                Piece::End => ending = Some(Exit::Held),
                Piece::Error(words) => {
                    context.output.say(&format!("the answer was cut: {words}"));
                    ending = Some(Exit::Found);
                }
            }
        }
    }
    if printed {
        context.output.piece("\n")?;
    }
    if ending.is_none() {
        context
            .output
            .say("the answer ended before it was complete");
    }
    Ok(ending.unwrap_or(Exit::Unclear))
}

/// What one event of a streamed answer says.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    End,
    Error(String),
}

impl Piece {
    fn of(event: &Event) -> Self {
        if event.data == "[DONE]" {
            return Self::End;
        }
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&event.data) else {
            return if event.name == "error" {
                Self::Error(event.data.clone())
            } else {
                Self::Text(String::new())
            };
        };
        let text = |pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_str);
        if event.name == "error" || value.get("error").is_some_and(|error| !error.is_null()) {
            let words = ["/detail", "/error/message", "/title", "/error", "/code"];
            let words = words
                .into_iter()
                .find_map(text)
                .unwrap_or("no reason was given");
            return Self::Error(words.to_owned());
        }
        // OpenAI chat and completions, and llama.cpp's own form.
        let words = ["/choices/0/delta/content", "/choices/0/text", "/content"];
        Self::Text(
            words
                .into_iter()
                .find_map(text)
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| Failure::found("the answer was cut").because(&error))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

const MAX_REFUSAL: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(name: &str, data: &str) -> Piece {
        Piece::of(&Event {
            name: name.to_owned(),
            data: data.to_owned(),
        })
    }

    #[test]
    fn tokens_are_found_in_each_form_of_answer() {
        let chat = r#"{"choices":[{"delta":{"content":"Hi"}}]}"#;
        assert_eq!(piece("message", chat), Piece::Text("Hi".to_owned()));
        assert_eq!(
            piece("message", r#"{"choices":[{"text":"Hi"}]}"#),
            Piece::Text("Hi".to_owned())
        );
        assert_eq!(
            piece("message", r#"{"content":"Hi"}"#),
            Piece::Text("Hi".to_owned())
        );
        assert_eq!(
            piece("message", r#"{"choices":[{"delta":{}}]}"#),
            Piece::Text(String::new())
        );
        assert_eq!(
            piece("message", r#"{"content":"Hi","error":null}"#),
            Piece::Text("Hi".to_owned())
        );
        assert_eq!(piece("message", "[DONE]"), Piece::End);
        assert_eq!(piece("message", "not json"), Piece::Text(String::new()));
    }

    #[test]
    fn an_error_inside_a_stream_is_not_an_answer() {
        let error = r#"{"error":{"message":"out of memory"}}"#;
        assert_eq!(
            piece("message", error),
            Piece::Error("out of memory".to_owned())
        );
        let problem = r#"{"code":"ticket_revoked","detail":"the ticket was revoked"}"#;
        assert_eq!(
            piece("error", problem),
            Piece::Error("the ticket was revoked".to_owned())
        );
    }

    #[test]
    fn a_refusal_says_status_code_and_who_decided() {
        let refusal = Refusal {
            status: 403,
            code: "route_denied".to_owned(),
            by: "gate/redact".to_owned(),
            detail: "no flow of yours grants it".to_owned(),
            ..Refusal::default()
        };
        assert_eq!(
            words(&refusal),
            "refused: 403 route_denied by gate/redact: no flow of yours grants it"
        );
    }
}
