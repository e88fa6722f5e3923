//! Whether what an enclosure file names is there, before the daemon is asked.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

use casemate_core::enclosure::{Expected, Mentioned, Trouble};

/// What is wrong at a path; nothing is read but what kind of thing lies there.
pub(super) fn trouble_at(mentioned: &Mentioned) -> Option<Trouble> {
    let Mentioned { path, expected } = mentioned;
    let what = name(*expected);
    let place = path.display();
    let trouble = |message: String, fix: &str| {
        Some(Trouble {
            message,
            fix: fix.to_owned(),
        })
    };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return trouble(format!("there is no {what} at `{place}`"), fix(*expected));
        }
        Err(error) => {
            let message = format!("the {what} at `{place}` cannot be looked at: {error}");
            return trouble(message, "name a path that you can reach yourself");
        }
    };
    let (directory, file) = (found.is_dir(), found.is_file());
    let fits = match expected {
        Expected::SealedModel | Expected::HostDirectory => directory,
        Expected::Signer | Expected::Key => file,
        Expected::Image => directory || file,
        Expected::Program => file && found.permissions().mode() & 0o111 != 0,
    };
    let wanted = match expected {
        Expected::SealedModel | Expected::HostDirectory => "a directory",
        Expected::Signer | Expected::Key => "a file",
        Expected::Image => "a directory or a file",
        Expected::Program => "a program that can be executed",
    };
    if fits {
        return None;
    }
    trouble(format!("`{place}` is not {wanted}"), fix(*expected))
}

const fn name(expected: Expected) -> &'static str {
    match expected {
        Expected::SealedModel => "sealed model",
        Expected::Signer => "signer's public key",
        Expected::Key => "key",
        Expected::Image => "image",
        Expected::HostDirectory => "directory",
        Expected::Program => "program",
    }
}

const fn fix(expected: Expected) -> &'static str {
    match expected {
        Expected::SealedModel => "name the directory that `casemate model seal` wrote",
        Expected::Signer => {
            "name the public key of whoever sealed the model, such as the signing.pub of `casemate model keygen`"
        }
        Expected::Key => {
            "name the age identity that the model is sealed to, such as the identity.age of `casemate model keygen`"
        }
        Expected::Image => "copy it first, for example: skopeo copy docker://... oci-archive:FILE",
        Expected::HostDirectory => "name directories of this host: the server's and its libraries'",
        Expected::Program => "write the whole path of the server's program on this host",
    }
}
