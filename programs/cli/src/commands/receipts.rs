//! `casemate receipts`: lists, exports and verifies the signed record of decisions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_core::receipt::{Head, Receipt, verify_chain, verify_chain_from};
use casemate_identity::jws::verify_detached;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::{Context, read_named, read_named_text};
use crate::exit::{Exit, Failure};
use crate::home::write_private;
use crate::output::Table;

/// Lists, exports and verifies the signed record of decisions.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the record.
    List,
    Export(Export),
    Verify(Verify),
}

/// Writes the record to a file that verifies anywhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate receipts export receipts.json
  casemate receipts export -")]
struct Export {
    /// The file; `-` writes to standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks every signature and link of the record.
///
/// Without a file, the daemon's record is checked with the daemon's key, and its end is remembered: a
/// record that was cut or rewritten since you last looked is found. With a file, nothing is asked of
/// anybody: give the key that you got when you still trusted its sender.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate receipts verify
  casemate receipts verify receipts.json --key receipt-key.pem
  casemate receipts verify receipts.json --key receipt-key.pem --seen 41:9f86d081884c7d65...")]
struct Verify {
    /// An exported record.
    #[arg(value_name = "FILE", requires = "key")]
    file: Option<PathBuf>,
    /// The public receipt key, as PEM.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An end that was seen earlier and must still be there: NUMBER:DIGEST.
    #[arg(long, value_name = "HEAD", value_parser = parse_head)]
    seen: Option<Head>,
}

/// An exported record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Exported {
    receipts: Vec<Receipt>,
}

pub(crate) async fn run(context: &Context<'_>, arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.command {
        Command::List => list(context).await,
        Command::Export(export) => self::export(context, &export).await,
        Command::Verify(verify) => self::verify(context, verify).await,
    }
}

async fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let list = context.client().receipts().await?;
    if context.output.json() {
        context.output.value(&Exported {
            receipts: list.receipts,
        })?;
        return Ok(Exit::Held);
    }
    let mut table = Table::new(&["NUMBER", "TIME", "KIND", "ASSURANCE", "SUBJECT", "FACTS"]);
    for receipt in &list.receipts {
        let facts: Vec<String> = receipt
            .facts
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        table.row([
            receipt.seq.to_string(),
            receipt.time.to_string(),
            receipt.kind.as_str().to_owned(),
            receipt.assurance.as_str().to_owned(),
            receipt.subject.clone(),
            facts.join(" "),
        ]);
    }
    context.output.data(&table.text())?;
    Ok(Exit::Held)
}

async fn export(context: &Context<'_>, arguments: &Export) -> Result<Exit, Failure> {
    let list = context.client().receipts().await?;
    let exported = Exported {
        receipts: list.receipts,
    };
    if arguments.file == Path::new("-") {
        context.output.value(&exported)?;
        return Ok(Exit::Held);
    }
    let text = serde_json::to_vec_pretty(&exported)
        .map_err(|error| Failure::ours("cannot write the record", error))?;
    write_private(&arguments.file, &text).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("cannot write `{}`", arguments.file.display()),
        )
        .because(&error)
    })?;
    let count = exported.receipts.len();
    let head = exported.receipts.last().map(Head::of);
    let head = head.map_or_else(String::new, |head| {
        format!(", end {}:{}", head.seq, head.digest)
    });
    context.output.say(&format!(
        "{count} receipts in `{}`{head}",
        arguments.file.display()
    ));
    Ok(Exit::Held)
}

async fn verify(context: &Context<'_>, arguments: Verify) -> Result<Exit, Failure> {
    let given_key = arguments
        .key
        .as_deref()
        .map(|path| read_named_text(path, MAX_KEY).and_then(|text| checked_key(path, text)))
        .transpose()?;
    if let Some(file) = &arguments.file {
        let key = given_key.ok_or_else(|| Failure::usage("name the receipt key with --key"))?;
        let receipts = read_exported(file)?;
        return judge(context, &receipts, &key, arguments.seen.as_ref(), None);
    }
    let receipts = context.client().receipts().await?.receipts;
    let (key, id) = match given_key {
        Some(key) => (key, None),
        None => {
            let key = context.client().receipt_key().await?;
            (key.public_key_pem, Some(key.key_id))
        }
    };
    // One remembered end for each key: another node has another chain.
    let mut heads: BTreeMap<String, Head> = context.home.kept(HEADS)?.unwrap_or_default();
    let id = id.unwrap_or_else(|| key.clone());
    let seen = arguments.seen.or_else(|| heads.get(&id).cloned());
    let remember = |head: &Head| {
        heads.insert(id.clone(), head.clone());
        context.home.keep(HEADS, &heads).map(drop)
    };
    judge(
        context,
        &receipts,
        &key,
        seen.as_ref(),
        Some(Box::new(remember)),
    )
}

type Remember<'a> = Box<dyn FnOnce(&Head) -> Result<(), Failure> + 'a>;

fn judge(
    context: &Context<'_>,
    receipts: &[Receipt],
    key: &str,
    seen: Option<&Head>,
    remember: Option<Remember<'_>>,
) -> Result<Exit, Failure> {
    let signed = |message: &[u8], signature: &[u8]| verify_detached(key, message, signature);
    let verified = match seen {
        Some(seen) => verify_chain_from(receipts, seen, signed).map(Some),
        None => verify_chain(receipts, signed),
    };
    let head = match &verified {
        Ok(head) => head.as_ref(),
        Err(_) => None,
    };
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "receipts": receipts.len(),
            "verified": verified.is_ok(),
            "head": head,
            "compared-with": seen,
            "error": verified.as_ref().err().map(ToString::to_string),
        }))?;
    }
    match &verified {
        Err(error) => {
            let failure = Failure::found(format!("the record does not hold: {error}"));
            Err(failure
                .fix("keep this record as evidence, and ask who could write to the node's state"))
        }
        Ok(None) => {
            // Nothing was verified, which is not the same as that it held.
            context
                .output
                .say("no receipts: there is nothing to verify yet");
            Ok(Exit::Unclear)
        }
        Ok(Some(head)) => {
            if !context.output.json() {
                let count = receipts.len();
                context.output.data(&format!(
                    "{count} receipts hold; end {}:{}",
                    head.seq, head.digest
                ))?;
            }
            match (remember, seen) {
                (Some(remember), seen) => {
                    remember(head)?;
                    if seen.is_none() {
                        context
                            .output
                            .say("its end is remembered: if it is cut later, that is found");
                    }
                }
                (None, None) => {
                    context
                        .output
                        .say("whether its end was cut cannot be told without --seen");
                }
                (None, Some(_)) => {}
            }
            Ok(Exit::Held)
        }
    }
}

fn read_exported(file: &Path) -> Result<Vec<Receipt>, Failure> {
    let bytes = read_named(file, MAX_EXPORT)?;
    let exported: Exported = serde_json::from_slice(&bytes).map_err(|error| {
        // A record that does not even parse was not written by us.
        Failure::found(format!("`{}` is not an exported record", file.display())).because(&error)
    })?;
    Ok(exported.receipts)
}

/// The key, when it is one: with text that is none, every receipt would look forged.
fn checked_key(path: &Path, text: String) -> Result<String, Failure> {
    let body: String = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "-----BEGIN PUBLIC KEY-----")
        .skip(1)
        .take_while(|line| *line != "-----END PUBLIC KEY-----")
        .collect();
    match STANDARD.decode(body) {
        Ok(bytes) if !bytes.is_empty() => Ok(text),
        Ok(_) | Err(_) => Err(
            Failure::usage(format!("`{}` is not a public key", path.display()))
                .fix("export the node's RUN/receipt-key.pem: a `PUBLIC KEY` in PEM"),
        ),
    }
}

fn parse_head(text: &str) -> Result<Head, String> {
    let error = || "write NUMBER:DIGEST, as `receipts verify` prints it".to_owned();
    let (seq, digest) = text.split_once(':').ok_or_else(error)?;
    let legal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digest.len() != 64 || !digest.bytes().all(legal) {
        return Err(error());
    }
    Ok(Head {
        seq: seq.parse().map_err(|_| error())?,
        digest: digest.to_owned(),
    })
}

const HEADS: &str = "receipt-heads.json";
const MAX_KEY: u64 = 64 * 1024;
const MAX_EXPORT: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
