//! Where words and data go: data to stdout, words and progress to stderr.
//!
//! Much of what is printed was chosen by somebody else: a stage, a model, a file. Nothing of it reaches
//! a terminal with control characters in it.

mod table;

use std::io::{self, IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

pub(crate) use self::table::Table;

/// Prints what a command has to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    stdout_is_terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stdout_is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether data is asked for as JSON.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Data for a person: one piece of text, ending its line.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let ended = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.piece(&format!("{text}{ended}"))
    }

    /// Data that is harmless already and may have colours.
    #[expect(
        clippy::unused_self,
        reason = "said through the same value as other data"
    )]
    pub(crate) fn styled(&self, text: &str) -> Result<(), Failure> {
        write(text.as_bytes())
    }

    /// How many characters a line of data may have.
    pub(crate) fn width(&self) -> usize {
        if self.stdout_is_terminal {
            terminal_size::terminal_size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
        } else {
            USUAL_WIDTH
        }
    }

    /// Whether data may have colours: on a terminal, unless it or the person says no.
    pub(crate) fn colour(&self) -> bool {
        let said = |name: &str, no: &dyn Fn(&std::ffi::OsStr) -> bool| {
            std::env::var_os(name).is_some_and(|value| no(&value))
        };
        self.stdout_is_terminal
            && !said("NO_COLOR", &|value| !value.is_empty())
            && !said("TERM", &|value| value == "dumb")
    }

    /// Data as it comes, such as one token of an answer.
    pub(crate) fn piece(&self, text: &str) -> Result<(), Failure> {
        if self.stdout_is_terminal {
            write(visible(text).as_bytes())
        } else {
            write(text.as_bytes())
        }
    }

    /// Bytes as they are; cleaned only for a terminal.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.stdout_is_terminal {
            write(visible(&String::from_utf8_lossy(bytes)).as_bytes())
        } else {
            write(bytes)
        }
    }

    /// Data as one JSON value on its own line.
    pub(crate) fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(value)
            .map_err(|error| Failure::ours("cannot write the answer as JSON", error))?;
        text.push(b'\n');
        write(&text)
    }

    /// Words for the person at the terminal.
    #[expect(clippy::unused_self, reason = "said through the same value as data")]
    pub(crate) fn say(&self, text: &str) {
        // Nobody is there to be told that stderr is gone.
        _ = writeln!(io::stderr().lock(), "{}", visible(text));
    }

    /// Why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if !failure.is_unheard() {
            self.say(&format!("error: {failure}"));
        }
    }

    /// A bar of `total` bytes; shown only when stderr is a terminal.
    #[expect(clippy::unused_self, reason = "made through the same value as data")]
    pub(crate) fn bar(&self, what: &str, total: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar
    }

    /// A sign of life for work of unknown length; shown only when stderr is a terminal.
    #[expect(clippy::unused_self, reason = "made through the same value as data")]
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_message(visible(what));
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        bar
    }
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::unheard(),
            _ => Failure::ours("cannot write to stdout", error),
        })
}

/// The text with every character that could move the cursor or reorder the line made harmless.
pub(crate) fn visible(text: &str) -> String {
    let clean = |character: char| match character {
        '\n' | '\t' => character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        control if control.is_control() => '\u{fffd}',
        other => other,
    };
    text.chars().map(clean).collect()
}

/// A number of bytes for a person.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A number of seconds for a person: the two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count} {name}"));
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

const USUAL_WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_cannot_move_the_cursor() {
        assert_eq!(
            visible("a\u{1b}[2Jb\r\u{202e}c\n\té"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n\té"
        );
    }

    #[test]
    fn a_span_shows_its_two_largest_units() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(59), "59 s");
        assert_eq!(span(3_661), "1 h 1 min");
        assert_eq!(span(90_000), "1 d 1 h");
    }
}
