//! One file for each command, with its `Arguments` and its `run`.

pub(crate) mod call;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod model;
pub(crate) mod probe;
pub(crate) mod receipts;
pub(crate) mod render;
pub(crate) mod revoke;
pub(crate) mod scan;
pub(crate) mod schema;
pub(crate) mod status;
pub(crate) mod ticket;
pub(crate) mod up;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use casemate_api::client::Client;
use casemate_core::time::{Clock as _, SystemClock, UnixTime};

use crate::exit::{Exit, Failure};
use crate::home::Home;
use crate::output::Output;

/// What every command can use.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) output: &'a Output,
    pub(crate) socket: PathBuf,
    pub(crate) home: Home,
}

impl Context<'_> {
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

pub(crate) fn now() -> UnixTime {
    SystemClock.now()
}

/// The whole of a file that a person named, or of standard input for `-`.
pub(crate) fn read_named(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(most.saturating_add(1))
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read `{}`", path.display())).because(&error)
    })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(Failure::usage(format!(
            "`{}` has more than {most} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Like [`read_named`], for text.
pub(crate) fn read_named_text(path: &Path, most: u64) -> Result<String, Failure> {
    String::from_utf8(read_named(path, most)?)
        .map_err(|_| Failure::usage(format!("`{}` is not UTF-8 text", path.display())))
}
