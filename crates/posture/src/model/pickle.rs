//! Whether loading a pickle runs somebody's code, told by walking through it and running nothing.
//!
//! The machine below does what the interpreter's own does with marks, stack and memo, so that each name that is
//! imported is known. A name that is not on the list of harmless ones is unsafe; what cannot be followed to the
//! end is not analysable. Neither is ever "safe".

mod allowed;
mod machine;

use std::collections::BTreeSet;

use self::machine::{End, Machine};

/// What loading a pickle does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It makes data, and calls nothing but what makes data.
    Safe,
    /// It calls what is not known to be harmless; each name with what is said about it.
    Unsafe {
        /// Whether one of the names is known to run commands or code.
        attack: bool,
        /// What it does.
        reasons: Vec<String>,
    },
    /// Nobody can say: it is broken, or of a form that is not read here.
    NotAnalysable(String),
}

/// Judges the bytes of a file (or of an archive's member). Several pickles may stand one behind the other; in
/// the old form of PyTorch's files, five of them and then bytes that are none.
pub(crate) fn judge(bytes: &[u8]) -> Verdict {
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    let mut rest = bytes;
    let mut broken = None;
    let mut old_torch = false;
    for number in 0.. {
        let mut machine = Machine::new(rest);
        let end = machine.run();
        names.append(&mut machine.imports);
        faults.append(&mut machine.faults);
        match end {
            End::Stopped { rest: behind } => rest = behind,
            End::Broken(why) => {
                broken = Some(why);
                break;
            }
        }
        if number == 0 && machine.last_long.as_deref() == Some(TORCH_MAGIC) {
            old_torch = true;
        }
        // The old form: magic number, version, machine, object, keys of storages; then their bytes.
        if rest.is_empty() || (old_torch && number >= 4) {
            break;
        }
        if number >= MAX_PICKLES {
            broken = Some(format!(
                "more than {MAX_PICKLES} pickles stand one behind the other"
            ));
            break;
        }
    }
    let unlisted: Vec<&(String, String)> = names
        .iter()
        .filter(|(module, name)| !allowed::is_harmless(module, name))
        .collect();
    if unlisted.is_empty() && faults.is_empty() {
        return broken.map_or(Verdict::Safe, Verdict::NotAnalysable);
    }
    let attack = !faults.is_empty()
        || unlisted
            .iter()
            .any(|(module, name)| allowed::runs_code(module, name));
    let mut reasons: Vec<String> = unlisted
        .iter()
        .map(|(module, name)| format!("it calls `{}.{}`", clean(module), clean(name)))
        .chain(faults)
        .collect();
    reasons.truncate(MAX_REASONS);
    Verdict::Unsafe { attack, reasons }
}

/// A name out of a stranger's file, fit for a terminal.
fn clean(name: &str) -> String {
    name.chars()
        .filter(|character| !character.is_control())
        .take(80)
        .collect()
}

/// The number that PyTorch's old form starts with, as the interpreter writes it.
const TORCH_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const MAX_PICKLES: usize = 64;
const MAX_REASONS: usize = 8;

#[cfg(test)]
mod tests;
