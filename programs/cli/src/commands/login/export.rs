//! `casemate login --export`: the login as files that other programs read.

use std::path::Path;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::home::{Login, write_private};
use crate::output::span;

/// Writes chain, key and bundle into `directory`, each readable by its owner alone.
pub(super) fn write(context: &Context<'_>, login: &Login, directory: &Path) -> Result<(), Failure> {
    for (name, text) in [
        (CHAIN, login.chain_pem.as_str()),
        (KEY, login.key_pem.expose()),
        (BUNDLE, login.bundle_pem.as_str()),
    ] {
        let path = directory.join(name);
        write_private(&path, text.as_bytes()).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot write `{}`", path.display())).because(&error)
        })?;
    }
    let left = crate::commands::now().until(login.expires).as_secs();
    context.output.say(&format!(
        "{CHAIN}, {KEY} and {BUNDLE} are in `{}`, good for {}; whoever reads {KEY} is you",
        directory.display(),
        span(left)
    ));
    Ok(())
}

const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";
const BUNDLE: &str = "trust-bundle.pem";
