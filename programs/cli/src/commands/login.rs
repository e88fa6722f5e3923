//! `casemate login`: a corporate token becomes a certificate for a key that never leaves this machine.

mod export;

use std::path::{Path, PathBuf};

use casemate_api::issuer::{LoginRequest, LoginResponse, TokenRefusal};
use casemate_core::spiffe::TrustDomain;
use casemate_core::time::UnixTime;
use casemate_identity::bundle::TrustBundle;
use casemate_identity::svid::{KeyPair, Svid, make_csr};
use http::{Method, Request, StatusCode, header};
use zeroize::Zeroize as _;

use super::{Context, now, read_named_text};
use crate::exit::{Exit, Failure};
use crate::home::{Login, SecretText};
use crate::http::{Peer, Version, collect, server_url};
use crate::output::span;

/// Turns a corporate login into a workload identity.
///
/// Makes a key pair here, sends the corporate ID token and a certificate request to the issuer, and keeps
/// what comes back where only you can read it. The issuer is known by its SPIFFE ID and the trust bundle:
/// the daemon's, when it runs here, or the one you name with --bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate login --token-file token.jwt
  corporate-login --print-id-token | casemate login --token-file -
  casemate login --export pem              for curl and your own programs: chain.pem, key.pem, trust-bundle.pem
  casemate login --token-file token.jwt --issuer https://gpu-7.example.com:8444 --bundle trust-bundle.pem")]
pub(crate) struct Arguments {
    /// The corporate ID token; `-` reads it from standard input. It is never an argument, which every
    /// user of this machine could read.
    #[arg(long, value_name = "FILE", required_unless_present = "export")]
    token_file: Option<PathBuf>,
    /// The issuer, when it is not the one of the daemon here.
    #[arg(long, value_name = "URL", requires = "bundle")]
    issuer: Option<String>,
    /// The trust bundle that vouches for the issuer, as PEM.
    #[arg(long, value_name = "FILE", requires = "issuer")]
    bundle: Option<PathBuf>,
    /// Writes certificate chain, key and trust bundle as PEM files, for a client of your own; of the
    /// login that you have, when no token is given. The key is then as safe as that directory.
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
}

/// Whom to log in at.
struct Realm {
    domain: TrustDomain,
    issuer_url: String,
    bundle_pem: String,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let login = match &arguments.token_file {
        Some(token_file) => log_in(context, &arguments, token_file).await?,
        None => context.home.login(now())?,
    };
    if let Some(directory) = &arguments.export {
        export::write(context, &login, directory)?;
    }
    Ok(Exit::Held)
}

async fn log_in(
    context: &Context<'_>,
    arguments: &Arguments,
    token_file: &Path,
) -> Result<Login, Failure> {
    let mut text = read_named_text(token_file, MAX_TOKEN)?;
    let id_token = SecretText::new(text.trim().to_owned());
    text.zeroize();
    if id_token.expose().split('.').count() != 3 || id_token.expose().contains(char::is_whitespace)
    {
        let message = format!("`{}` does not hold one ID token", token_file.display());
        return Err(Failure::usage(message).fix("a token is three parts with dots between them"));
    }
    let realm = realm(context, arguments).await?;
    let bundle = bundle_of(&realm)?;
    let key = KeyPair::generate().map_err(|error| Failure::ours("cannot make a key", error))?;
    let csr =
        make_csr(&key).map_err(|error| Failure::ours("cannot ask for a certificate", error))?;
    let response = ask(&realm, bundle.clone(), &id_token, csr).await?;

    let key_pem = String::from_utf8(key.to_pem().expose().to_vec())
        .map_err(|error| Failure::ours("cannot write the key", error))?;
    // What came back must be a certificate for our key; a wrong one would only fail later and darker.
    let svid = Svid::from_pem(&response.svid_pem, key)
        .map_err(|error| Failure::ours("the issuer's certificate cannot be used", error))?;
    if *svid.id() != response.spiffe_id || svid.id().trust_domain() != &realm.domain {
        return Err(Failure::ours("cannot log in", UnexpectedIdentity));
    }
    let login = Login {
        spiffe_id: response.spiffe_id,
        trust_domain: realm.domain,
        issuer_url: realm.issuer_url,
        bundle_pem: realm.bundle_pem,
        chain_pem: response.svid_pem,
        key_pem: SecretText::new(key_pem),
        id_token,
        groups: response.groups,
        expires: response.expires,
    };
    let path = context.home.keep_login(&login)?;
    report(context, &login, now())?;
    context.output.say(&format!(
        "kept in `{}`, which only you can read",
        path.display()
    ));
    Ok(login)
}

#[derive(Debug, thiserror::Error)]
#[error("the certificate names another identity than the issuer's answer")]
struct UnexpectedIdentity;

async fn realm(context: &Context<'_>, arguments: &Arguments) -> Result<Realm, Failure> {
    if let (Some(issuer), Some(bundle)) = (&arguments.issuer, &arguments.bundle) {
        let bundle_pem = read_named_text(bundle, MAX_BUNDLE)?;
        let domain = TrustBundle::domain_named_in(&bundle_pem).ok_or_else(|| {
            Failure::usage(format!("`{}` is not a trust bundle", bundle.display()))
                .fix("ask for the node's trust-bundle.pem")
        })?;
        return Ok(Realm {
            domain,
            issuer_url: issuer.clone(),
            bundle_pem,
        });
    }
    let trust = context.client().trust().await.map_err(|error| {
        Failure::from(error).fix("name the issuer with --issuer URL and --bundle FILE")
    })?;
    let domain = trust
        .trust_domain
        .parse()
        .map_err(|error| Failure::ours("the daemon named an odd trust domain", error))?;
    Ok(Realm {
        domain,
        issuer_url: trust.issuer_url,
        bundle_pem: trust.bundle_pem,
    })
}

fn bundle_of(realm: &Realm) -> Result<TrustBundle, Failure> {
    TrustBundle::from_pem(realm.domain.clone(), &realm.bundle_pem).map_err(|error| {
        Failure::of(Exit::Usage, &error).fix("ask for the node's trust-bundle.pem")
    })
}

async fn ask(
    realm: &Realm,
    bundle: TrustBundle,
    id_token: &SecretText,
    csr_pem: String,
) -> Result<LoginResponse, Failure> {
    let url = server_url(&realm.issuer_url)?;
    let peer = Peer {
        url: &url,
        expected: realm.domain.issuer(),
        bundle,
        login: None,
        version: Version::One,
    };
    let mut connection = peer.connect().await?;
    let mut request = LoginRequest {
        id_token: id_token.expose().to_owned(),
        csr_pem,
        nonce: None,
    };
    let body = serde_json::to_vec(&request)
        .map_err(|error| Failure::ours("cannot write the request", error))?;
    request.id_token.zeroize();
    let head = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/json");
    let response = connection.send(head, "/v1/login", body).await?;
    let status = response.status();
    let body = collect(response, MAX_ANSWER).await?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body)
            .map_err(|error| Failure::ours("the issuer's answer cannot be read", error));
    }
    Err(refusal(status, &body, "the login"))
}

/// A refusal of the issuer, in its own words, and what to do about it where we know.
pub(super) fn refusal(status: StatusCode, body: &[u8], what: &str) -> Failure {
    let status = status.as_u16();
    let Ok(refusal) = serde_json::from_slice::<TokenRefusal>(body) else {
        return Failure::found(format!("{what} was refused: {status} by issuer"));
    };
    let words = refusal.error_description.unwrap_or_default();
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    };
    let failure = Failure::found(format!(
        "{what} was refused: {status} {} by issuer{said}",
        refusal.error
    ));
    match fix_of(&words) {
        Some(fix) => failure.fix(fix),
        None => failure,
    }
}

/// What a person can do about a refusal; the issuer's descriptions are fixed words.
fn fix_of(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "id_token_issuer" => "no enclosure that is up names the identity provider of this token",
        "id_token_audience" | "several_audiences" => {
            "get a token for the audience that the enclosure file names"
        }
        "id_token_expired" | "id_token_too_old" | "certificate_expired" => {
            "get a new corporate token, then: casemate login --token-file FILE"
        }
        "id_token_malformed" | "id_token_type" | "id_token_header" => {
            "give the ID token of the login, not an access or refresh token"
        }
        "id_token_from_the_future" => "the clocks of the identity provider and of this host differ",
        "provider_keys" => "the issuer cannot reach the identity provider; look at casemate events",
        "id_token_of_another_key" => {
            "an ID token is good for one login: get a fresh one, then casemate login --token-file FILE"
        }
        "models" => {
            "ask without --model: you get all that your groups allow, and see which they are"
        }
        "routes" => {
            "ask without --routes: you get all that your groups allow, and see which they are"
        }
        "unknown_stage" => "casemate status shows which stages are up",
        "no_flow" | "nothing_left" => {
            "no flow grants your groups this: compare them with the flows of the enclosure file"
        }
        "rate_limited" => "wait a minute and ask again",
        _ => return None,
    })
}

fn report(context: &Context<'_>, login: &Login, now: UnixTime) -> Result<(), Failure> {
    if context.output.json() {
        return context.output.value(&serde_json::json!({
            "spiffe-id": login.spiffe_id,
            "groups": login.groups,
            "expires": login.expires,
            "issuer-url": login.issuer_url,
        }));
    }
    let groups = if login.groups.is_empty() {
        "none".to_owned()
    } else {
        login.groups.join(", ")
    };
    context.output.data(&format!(
        "you are   {}\ngroups    {groups}\nexpires   {} (in {})",
        login.spiffe_id,
        login.expires,
        span(now.until(login.expires).as_secs()),
    ))
}

const MAX_TOKEN: u64 = 64 * 1024;
const MAX_BUNDLE: u64 = 1024 * 1024;
const MAX_ANSWER: usize = 256 * 1024;

#[cfg(test)]
mod tests;
