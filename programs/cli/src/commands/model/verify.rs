//! `casemate model verify`: whether a sealed model is the signed one, as far as can be told with what is given.

use std::path::{Path, PathBuf};

use casemate_core::name::ModelVersion;
use casemate_weights::bundle::BundleError;
use casemate_weights::digest::Digest;
use casemate_weights::format::header::HeaderError;
use casemate_weights::key_release::unwrap;
use casemate_weights::open::{Depth, check};
use casemate_weights::signing::{PublicKey, load_public};
use casemate_weights::unlock::{OpenedModel, unlock};
use casemate_weights::verify::{Expectation, VerifiedModel, VerifyModelError, verify};

use super::advance;
use crate::commands::Context;
use crate::exit::{Exit, Failure};

/// What a model must be, as it is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Expected {
    /// A public key, one of which must have signed. May be given more than once.
    #[arg(long, value_name = "FILE", required = true)]
    signer: Vec<PathBuf>,
    /// The model that it must be, as NAME@VERSION.
    #[arg(long, value_name = "MODEL")]
    model: Option<ModelVersion>,
    /// The root digest that it must have.
    #[arg(long, value_name = "DIGEST")]
    root_digest: Option<Digest>,
    /// The oldest epoch that is accepted.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    minimum_epoch: u64,
}

/// Checks that a sealed model is the signed one.
///
/// Without a key to open it, this proves who signed it and that header, index and tags are theirs; the
/// encrypted bytes themselves are proven only with --identity.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate model verify ./smollm2.sealed --signer keys/signing.pub
  casemate model verify ./smollm2.sealed --signer keys/signing.pub --identity keys/identity.age
  casemate model verify ./smollm2.sealed --signer keys/signing.pub --identity keys/identity.age --deep")]
pub(super) struct Verify {
    /// The sealed directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    expected: Expected,
    /// The age identity that opens it: checks every encrypted byte.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Also compares every file's digest with the OpenSSF signature.
    #[arg(long, requires = "identity")]
    deep: bool,
}

pub(super) fn run(context: &Context<'_>, arguments: &Verify) -> Result<Exit, Failure> {
    let model = verified(&arguments.directory, &arguments.expected)?;
    let header = model.header().clone();
    let (signer, seal_digest) = (model.signer().fingerprint(), model.seal_digest());
    let data = match &arguments.identity {
        None => "length-only",
        Some(identity) => {
            let opened = opened(model, identity)?;
            let depth = if arguments.deep {
                Depth::Digests
            } else {
                Depth::Tags
            };
            let bar = context.output.bar("checking", header.data_bytes);
            let checked = check(&opened, depth, &|progress| advance(&bar, progress));
            bar.finish_and_clear();
            checked.map_err(|error| Failure::of(Exit::Found, &error))?;
            if arguments.deep { "digests" } else { "tags" }
        }
    };
    if context.output.json() {
        context.output.value(&serde_json::json!({
            "model": header.model,
            "epoch": header.epoch,
            "root-digest": header.root_digest,
            "seal-digest": seal_digest,
            "signer": signer,
            "data": data,
        }))?;
    } else {
        context.output.data(&format!(
            "model        {}\nepoch        {}\nroot digest  {}\nseal digest  {seal_digest}\nsigned by    {signer}",
            header.model, header.epoch, header.root_digest,
        ))?;
    }
    context.output.say(match data {
        "length-only" => {
            "signature, key, index and tags hold; the encrypted bytes were not read: add --identity FILE"
        }
        "tags" => "signature, key, index, tags and every encrypted byte hold",
        _ => "signature, key, index, tags, every encrypted byte and every file's signed digest hold",
    });
    Ok(Exit::Held)
}

/// The model in `directory`, when it is what was expected.
pub(super) fn verified(directory: &Path, expected: &Expected) -> Result<VerifiedModel, Failure> {
    let signers: Result<Vec<PublicKey>, Failure> = expected
        .signer
        .iter()
        .map(|path| load_public(path).map_err(|error| Failure::of(Exit::Usage, &error)))
        .collect();
    let expectation = Expectation {
        signers: signers?,
        model: expected.model.clone(),
        root_digest: expected.root_digest,
        minimum_epoch: expected.minimum_epoch,
    };
    verify(directory, &expectation).map_err(|error| {
        let failure = Failure::of(Exit::Found, &error);
        match &error {
            VerifyModelError::Header(HeaderError::Bundle(BundleError::UnknownSigner { .. })) => failure.fix(
                "give the public key of whoever sealed it with --signer, if you trust it; `casemate model inspect` shows which key it claims",
            ),
            VerifyModelError::OtherModel { .. } | VerifyModelError::OtherDigest { .. } => {
                failure.fix("name the sealed directory of the model that you expect")
            }
            _ => failure,
        }
    })
}

/// The model, opened with the keys in `identity`.
pub(super) fn opened(model: VerifiedModel, identity: &Path) -> Result<OpenedModel, Failure> {
    let key = unwrap(&model, identity).map_err(|error| Failure::of(Exit::Found, &error))?;
    unlock(model, &key).map_err(|error| Failure::of(Exit::Found, &error))
}
