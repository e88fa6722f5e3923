//! `casemate revoke`: takes back what was given, at once.

use casemate_api::v1;
use casemate_core::spiffe::SpiffeId;

use super::Context;
use crate::exit::{Exit, Failure};

/// Takes a ticket, or everything of a subject, back at once.
///
/// Gates cut running answers of what was revoked; a revoked subject may log in anew. Needs the daemon's
/// socket.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate revoke --ticket 5d8c0f6e
  casemate revoke --subject spiffe://example.internal/user/idp/ada")]
#[group(required = true, multiple = true)]
pub(crate) struct Arguments {
    /// A ticket's id, as `ticket inspect` shows it.
    #[arg(long, value_name = "ID")]
    ticket: Option<String>,
    /// A SPIFFE ID: everything issued to it until now.
    #[arg(long, value_name = "SPIFFE-ID")]
    subject: Option<SpiffeId>,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    let request = v1::RevokeRequest {
        jti: arguments.ticket,
        sub: arguments.subject.map(|subject| subject.to_string()),
    };
    let revoked = context.client().revoke(&request).await?;
    if context.output.json() {
        context.output.value(&revoked)?;
    } else {
        let message = format!(
            "{} gates were told; receipt {}",
            revoked.gates, revoked.receipt
        );
        context.output.data(&message)?;
    }
    Ok(Exit::Held)
}
