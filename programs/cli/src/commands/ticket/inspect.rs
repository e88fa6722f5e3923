//! `casemate ticket inspect`: what a ticket says. The signature is for gates to judge, and is not shown.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_core::ticket::{MAX_TOKEN_BYTES, TicketClaims};
use casemate_identity::svid::{KeyPair, Svid};

use crate::commands::{Context, now, read_named_text};
use crate::exit::{Exit, Failure};
use crate::home::{Login, SavedTicket};
use crate::output::{Table, span};
use crate::stage::StageName;

/// Shows what a ticket allows, never the ticket itself.
///
/// Exits with 1 when the ticket has expired or is not bound to your login.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate ticket inspect                  the only one that you saved
  casemate ticket inspect redact
  casemate ticket inspect --token-file ticket.jwt")]
#[group(multiple = false)]
pub(crate) struct Inspect {
    /// The stage whose saved ticket to show; not needed while only one is saved.
    #[arg(value_name = "STAGE")]
    stage: Option<StageName>,
    /// A file with a ticket; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context<'_>, arguments: Inspect) -> Result<Exit, Failure> {
    let login = context.home.login(now());
    let text = match (&arguments.stage, &arguments.token_file) {
        (_, Some(path)) => read_named_text(path, u64::try_from(MAX_TOKEN_BYTES).unwrap_or(8192))?,
        (Some(stage), None) => {
            let login = context.home.login(now())?;
            let id = stage.identity(context, &login.trust_domain).await?;
            let saved = context.home.ticket(&id)?.ok_or_else(|| {
                Failure::found(format!("no ticket to `{id}` was saved"))
                    .fix("casemate ticket exchange --stage STAGE")
            })?;
            saved.ticket.expose().to_owned()
        }
        (None, None) => only(context.home.tickets())?.ticket.expose().to_owned(),
    };
    print(context, text.trim(), login.ok().as_ref())
}

/// The ticket that is meant when none is named.
fn only(mut saved: Vec<SavedTicket>) -> Result<SavedTicket, Failure> {
    let stages: Vec<String> = saved
        .iter()
        .filter_map(|ticket| ticket.stage_id.as_stage())
        .map(|(enclosure, stage)| format!("{enclosure}/{stage}"))
        .collect();
    match (saved.pop(), saved.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Failure::usage("several tickets are saved")
            .fix(format!("name one of {}", stages.join(", ")))),
        (None, _) => {
            Err(Failure::found("no ticket was saved").fix("casemate ticket exchange --stage STAGE"))
        }
    }
}

/// Prints the claims; whether the ticket can be used now, by this login.
pub(super) fn print(
    context: &Context<'_>,
    ticket: &str,
    login: Option<&Login>,
) -> Result<Exit, Failure> {
    let claims = claims(ticket).ok_or_else(|| Failure::found("this is not a ticket of ours"))?;
    let now = now();
    let living = claims.exp > now;
    let yours = login
        .and_then(thumbprint)
        .map(|thumbprint| thumbprint == claims.cnf.thumbprint);
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "claims": claims,
            "expired": !living,
            "bound-to-your-login": yours,
            "signature": "not checked here",
        }))?;
    } else {
        let list = |words: Vec<String>| match words.as_slice() {
            [] => "none".to_owned(),
            words => words.join(", "),
        };
        let mut table = Table::new(&["CLAIM", "VALUE"]);
        table.row(["id".to_owned(), claims.jti.clone()]);
        table.row(["for".to_owned(), claims.sub.to_string()]);
        table.row(["stage".to_owned(), claims.aud.to_string()]);
        for grant in &claims.authorization_details {
            let bound = |bound: Option<u32>| {
                bound.map_or_else(|| "the server's own".to_owned(), |bound| bound.to_string())
            };
            table.row([
                "routes".to_owned(),
                list(grant.routes.iter().map(ToString::to_string).collect()),
            ]);
            table.row([
                "models".to_owned(),
                list(grant.models.iter().map(ToString::to_string).collect()),
            ]);
            table.row(["max tokens".to_owned(), bound(grant.limits.max_tokens)]);
            table.row([
                "requests per minute".to_owned(),
                bound(grant.limits.requests_per_minute),
            ]);
        }
        table.row(["groups".to_owned(), list(claims.groups.clone())]);
        let end = if living {
            format!(
                "{} (in {})",
                claims.exp,
                span(now.until(claims.exp).as_secs())
            )
        } else {
            format!("{} (over)", claims.exp)
        };
        table.row(["expires".to_owned(), end]);
        let holder = match yours {
            Some(true) => "your login",
            Some(false) => "another login than yours",
            None => "a key; you are not logged in",
        };
        table.row(["bound to".to_owned(), holder.to_owned()]);
        context.output.data(&table.text())?;
    }
    Ok(if living && yours != Some(false) {
        Exit::Held
    } else {
        Exit::Found
    })
}

/// The claims of a ticket, unverified: good for showing, never for deciding.
pub(in crate::commands) fn claims(ticket: &str) -> Option<TicketClaims> {
    if ticket.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (head, _) = ticket.rsplit_once('.')?;
    let (_, payload) = head.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn thumbprint(login: &Login) -> Option<String> {
    let key = KeyPair::from_pem(login.key_pem.expose()).ok()?;
    Svid::from_pem(&login.chain_pem, key)
        .ok()
        .map(|svid| svid.thumbprint().to_owned())
}
