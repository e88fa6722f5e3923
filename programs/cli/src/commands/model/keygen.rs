//! `casemate model keygen`: development keys as files. Production keys belong into a vault or an HSM.

use std::path::{Path, PathBuf};

use casemate_weights::key_release::generate_identity;
use casemate_weights::signing::{generate_key, save_private};

use crate::commands::Context;
use crate::exit::{Exit, Failure};

/// Makes development keys: one to open models, one to sign them.
///
/// Writes four files: identity.age (secret) and recipient.txt open sealed models; signing.key (secret) and
/// signing.pub sign them. Existing files are never replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate model keygen --out keys")]
pub(super) struct Keygen {
    /// The directory for the keys.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(context: &Context<'_>, arguments: &Keygen) -> Result<Exit, Failure> {
    let out = &arguments.out;
    std::fs::create_dir_all(out).map_err(|error| cannot_write(out, &error))?;
    let place = |name: &str| out.join(name);
    for name in [
        "identity.age",
        "recipient.txt",
        "signing.key",
        "signing.pub",
    ] {
        if place(name).exists() {
            let message = format!(
                "`{}` exists, and keys are never replaced",
                place(name).display()
            );
            return Err(Failure::usage(message).fix("name another directory with --out"));
        }
    }
    let (identity, recipient) = generate_identity();
    let signing = generate_key().map_err(|error| Failure::ours("cannot make a key", error))?;
    let signing_pem = signing
        .to_pem()
        .map_err(|error| Failure::ours("cannot write a key", error))?;
    save_private(&place("identity.age"), &identity)
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    save_private(&place("signing.key"), &signing_pem)
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let public = signing.public();
    for (name, text) in [
        ("recipient.txt", format!("{recipient}\n")),
        ("signing.pub", public.to_pem()),
    ] {
        std::fs::write(place(name), text).map_err(|error| cannot_write(&place(name), &error))?;
    }
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "identity": place("identity.age"),
            "recipient": recipient.to_string(),
            "signing-key": place("signing.key"),
            "signing-pub": place("signing.pub"),
            "fingerprint": public.fingerprint(),
        }))?;
    } else {
        context.output.data(&format!(
            "recipient    {recipient}\nfingerprint  {}",
            public.fingerprint()
        ))?;
    }
    context
        .output
        .say("keep identity.age and signing.key secret; only you can read them");
    Ok(Exit::Held)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write `{}`", path.display())).because(error)
}
