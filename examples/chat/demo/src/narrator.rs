//! Says what happens: on stdout for a person, on stderr when stdout is for the JSON object.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place where the demonstration prints"
)]

use std::io::Write as _;

use crate::summary::Summary;

/// Where words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrator {
    json: bool,
}

impl Narrator {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// A new part of the story.
    pub(crate) fn heading(self, text: &str) {
        self.say(&format!("\n{text}\n{}", "-".repeat(text.chars().count())));
    }

    /// A line.
    pub(crate) fn say(self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    /// A piece of a line, shown at once.
    pub(crate) fn piece(self, text: &str) {
        if self.json {
            eprint!("{text}");
        } else {
            print!("{text}");
            // A terminal that went away does not stop the demonstration from cleaning up.
            drop(std::io::stdout().flush());
        }
    }

    /// The last line.
    pub(crate) fn finish(self, summary: &Summary) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(summary)?);
        }
        Ok(())
    }
}
