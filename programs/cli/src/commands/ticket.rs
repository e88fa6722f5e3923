//! `casemate ticket`: gets and shows tickets. A ticket itself is printed only when asked for.

mod inspect;

pub(super) use inspect::claims;

use casemate_api::issuer::{TokenResponse, names};
use casemate_core::name::{ModelVersion, Name};
use casemate_core::spiffe::SpiffeId;
use casemate_identity::bundle::TrustBundle;
use clap::Subcommand;
use http::{Method, Request, StatusCode, header};
use url::form_urlencoded::Serializer;

use super::login::refusal;
use super::{Context, now};
use crate::exit::{Exit, Failure};
use crate::home::{Login, SavedTicket, SecretText};
use crate::http::{Peer, Version, collect, server_url};
use crate::output::span;
use crate::stage::StageName;

/// Gets and shows tickets.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Exchange(Exchange),
    Inspect(inspect::Inspect),
}

/// Exchanges your login for a ticket to one stage.
///
/// The ticket is bound to your key: nobody else can use it. It is kept for `casemate call`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate ticket exchange --stage redact
  casemate ticket exchange --stage chat/infer --model smollm2-135m-instruct@1 --routes chat
  TICKET=$(casemate ticket exchange --stage redact --print)     for a client of your own")]
struct Exchange {
    /// The stage to call: STAGE, ENCLOSURE/STAGE or its SPIFFE ID.
    #[arg(long, value_name = "STAGE")]
    stage: StageName,
    /// A model version to name, as NAME@VERSION; all that your groups allow when absent.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<ModelVersion>,
    /// Route classes to call, separated by commas; all that your groups allow when absent.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',')]
    routes: Vec<Name>,
    /// Asks for a ticket that ends sooner than usual.
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u64>,
    /// Prints the ticket to stdout instead of what it allows. Treat it as a password.
    #[arg(long)]
    print: bool,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.command {
        Command::Exchange(exchange) => self::exchange(context, exchange).await,
        Command::Inspect(inspect) => inspect::run(context, inspect).await,
    }
}

async fn exchange(context: &Context<'_>, arguments: Exchange) -> Result<Exit, Failure> {
    let login = context.home.login(now())?;
    let stage = arguments
        .stage
        .identity(context, &login.trust_domain)
        .await?;
    let response = ask(&login, &stage, &arguments).await?;
    let expires = now().plus(std::time::Duration::from_secs(response.expires_in));
    let saved = SavedTicket {
        stage_id: stage,
        ticket: SecretText::new(response.access_token),
        expires,
        models: arguments.models,
    };
    context.home.keep_ticket(&saved)?;
    if arguments.print {
        context.output.data(saved.ticket.expose())?;
        return Ok(Exit::Held);
    }
    inspect::print(context, saved.ticket.expose(), Some(&login))?;
    context.output.say(&format!(
        "kept for `casemate call`; it ends in {}",
        span(response.expires_in)
    ));
    Ok(Exit::Held)
}

async fn ask(
    login: &Login,
    stage: &SpiffeId,
    arguments: &Exchange,
) -> Result<TokenResponse, Failure> {
    let url = server_url(&login.issuer_url)?;
    let bundle = TrustBundle::from_pem(login.trust_domain.clone(), &login.bundle_pem)
        .map_err(|error| Failure::of(Exit::Ours, &error).fix("log in again"))?;
    let peer = Peer {
        url: &url,
        expected: login.trust_domain.issuer(),
        bundle,
        login: Some(login),
        version: Version::One,
    };
    let mut connection = peer.connect().await?;
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", names::GRANT_TYPE)
        .append_pair("subject_token_type", names::ID_TOKEN)
        .append_pair("subject_token", login.id_token.expose())
        .append_pair("requested_token_type", names::ACCESS_TOKEN)
        .append_pair("audience", &stage.to_string());
    if !arguments.routes.is_empty() {
        let routes: Vec<&str> = arguments.routes.iter().map(Name::as_str).collect();
        form.append_pair("scope", &routes.join(" "));
    }
    for model in &arguments.models {
        form.append_pair("resource", &model.to_string());
    }
    if let Some(lifetime) = arguments.lifetime {
        form.append_pair(names::REQUESTED_LIFETIME, &lifetime.to_string());
    }
    let head = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = connection
        .send(head, "/token", form.finish().into_bytes())
        .await?;
    let status = response.status();
    let body = collect(response, MAX_ANSWER).await?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body)
            .map_err(|error| Failure::ours("the issuer's answer cannot be read", error));
    }
    Err(refusal(status, &body, "the exchange"))
}

const MAX_ANSWER: usize = 64 * 1024;
