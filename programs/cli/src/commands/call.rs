//! `casemate call`: curl with a ticket and an identity.

mod answer;
mod refusals;

use std::path::{Path, PathBuf};

use casemate_core::spiffe::SpiffeId;
use casemate_core::ticket::MAX_TOKEN_BYTES;
use casemate_identity::bundle::TrustBundle;
use http::{Method, Request, header};

use super::{Context, now, read_named, read_named_text};
use crate::exit::{Exit, Failure};
use crate::home::{Login, SecretText};
use crate::http::{Peer, Version, server_url};
use crate::stage::StageName;

/// Calls a stage with your identity and ticket.
///
/// The stage is known by its SPIFFE ID: whoever else answers at the address gets nothing. A refusal is
/// printed to stderr with its status, its reason and who decided, and exits with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate call redact /v1/chat/completions --stream -d @question.json
  casemate call redact /v1/chat/completions -d '{\"model\":\"smollm2-135m-instruct@1\",\"messages\":[]}'
  casemate call chat/redact /health --url https://gpu-7.example.com:8443

With --stream, the text of a chat answer is printed token by token as it comes; the body must ask for
it with \"stream\": true. With --raw as well, the server-sent events are printed as they come.")]
pub(crate) struct Arguments {
    /// The stage: STAGE, ENCLOSURE/STAGE or its SPIFFE ID.
    #[arg(value_name = "STAGE")]
    stage: StageName,
    /// The path, starting with `/`.
    #[arg(value_name = "PATH")]
    path: String,
    /// The body: text, `@FILE`, or `@-` for standard input. Makes the method POST and the type JSON.
    #[arg(long, short, value_name = "BODY")]
    data: Option<String>,
    /// The method, when it is not GET, or POST with a body.
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<Method>,
    /// Prints an answer that streams as it comes.
    #[arg(long)]
    stream: bool,
    /// Prints the answer's own bytes, whatever they are.
    #[arg(long)]
    raw: bool,
    /// Where the stage is exposed; asked of the daemon when absent.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Speaks HTTP/2.
    #[arg(long)]
    http2: bool,
    /// A file with the ticket, instead of the one that was saved; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    ticket_file: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    if !arguments.path.starts_with('/') {
        return Err(
            Failure::usage(format!("`{}` is not a path", arguments.path))
                .fix(format!("write `/{}`", arguments.path)),
        );
    }
    let login = context.home.login(now())?;
    let stage = arguments
        .stage
        .identity(context, &login.trust_domain)
        .await?;
    let ticket = ticket(context, &stage, arguments.ticket_file.as_deref())?;
    let url = match &arguments.url {
        Some(url) => server_url(url)?,
        None => server_url(&listener(context, &arguments.stage).await?)?,
    };
    let body = body(arguments.data.as_deref())?;
    let mut connection = peer(&login, &url, stage, arguments.http2)?
        .connect()
        .await?;

    let method = arguments.method.clone();
    let default = if body.is_some() {
        Method::POST
    } else {
        Method::GET
    };
    let mut authorization = header::HeaderValue::try_from(format!("Bearer {}", ticket.expose()))
        .map_err(|_| {
            Failure::usage("the ticket is not one").fix("casemate ticket exchange --stage STAGE")
        })?;
    // Keeps it out of whatever prints or compresses headers.
    authorization.set_sensitive(true);
    let mut head = Request::builder()
        .method(method.unwrap_or(default))
        .header(header::AUTHORIZATION, authorization);
    if body.is_some() {
        head = head.header(header::CONTENT_TYPE, "application/json");
    }
    let response = connection
        .send(head, &arguments.path, body.unwrap_or_default())
        .await?;
    answer::print(
        context,
        connection.peer(),
        ticket.expose(),
        response,
        arguments.stream,
        arguments.raw,
    )
    .await
}

fn peer<'a>(
    login: &'a Login,
    url: &'a url::Url,
    stage: SpiffeId,
    http2: bool,
) -> Result<Peer<'a>, Failure> {
    let bundle = TrustBundle::from_pem(login.trust_domain.clone(), &login.bundle_pem)
        .map_err(|error| Failure::of(Exit::Ours, &error).fix("log in again"))?;
    let version = if http2 { Version::Two } else { Version::One };
    Ok(Peer {
        url,
        expected: stage,
        bundle,
        login: Some(login),
        version,
    })
}

fn ticket(
    context: &Context<'_>,
    stage: &SpiffeId,
    file: Option<&Path>,
) -> Result<SecretText, Failure> {
    if let Some(file) = file {
        let text = read_named_text(file, u64::try_from(MAX_TOKEN_BYTES).unwrap_or(8192))?;
        return Ok(SecretText::new(text.trim().to_owned()));
    }
    let (_, name) = stage
        .as_stage()
        .ok_or_else(|| Failure::usage("name a stage"))?;
    let exchange = format!("casemate ticket exchange --stage {name}");
    let saved = context
        .home
        .ticket(stage)?
        .ok_or_else(|| Failure::found(format!("you have no ticket to `{stage}`")).fix(&exchange))?;
    if saved.expires <= now() {
        let message = format!("your ticket to `{stage}` ended at {}", saved.expires);
        return Err(Failure::found(message).fix(&exchange));
    }
    Ok(saved.ticket)
}

/// Where the daemon exposes the stage.
async fn listener(context: &Context<'_>, stage: &StageName) -> Result<String, Failure> {
    let (_, stage) = stage.running(context).await.map_err(|failure| {
        failure.fix_when_unclear("name where the stage is exposed with --url https://HOST:PORT")
    })?;
    stage
        .listens
        .first()
        .map(|listen| format!("https://{listen}"))
        .ok_or_else(|| {
            Failure::found(format!("`{}` is not exposed", stage.name))
                .fix("call a stage that the enclosure exposes")
        })
}

fn body(data: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    match data.map(|data| data.strip_prefix('@').ok_or(data)) {
        None => Ok(None),
        Some(Err(text)) => Ok(Some(text.as_bytes().to_vec())),
        Some(Ok(file)) => read_named(Path::new(file), MAX_BODY).map(Some),
    }
}

const MAX_BODY: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
