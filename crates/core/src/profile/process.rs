//! What surrounds a server's process: its variables, flags, keys, and the hosts it calls on its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{command, pattern};

/// The environment a server runs with. It starts empty: nothing is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Environment {
    /// Variables that are always set, and may not be changed by an enclosure.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Variables that an enclosure may not set; `*` stands for any run of characters.
    #[serde(default)]
    pub forbid: Vec<String>,
    /// Variables that are set unless the enclosure sets them.
    #[serde(default)]
    pub default: BTreeMap<String, String>,
    /// The lines of the profile's sources that say so, counted from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<u16>,
}

impl Environment {
    /// Whether an enclosure may not set the variable `name`.
    #[must_use]
    pub fn forbids(&self, name: &str) -> bool {
        self.require.contains_key(name)
            || self
                .forbid
                .iter()
                .any(|forbidden| pattern::matches(forbidden, name))
    }
}

/// Command line flags of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flags {
    /// Flags that a command may not contain, alone or with any value. With a value, as `--mode=poll`, only
    /// that value is meant, in one word or in two.
    #[serde(default)]
    pub forbid: Vec<String>,
    /// Flags that a command must contain, because the server has no other way to be told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<RequiredFlag>,
    /// Whether the server takes the beginning of a long flag for the whole of it, as Python's and GNU's
    /// readers do. Every beginning of a forbidden flag is then forbidden.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
    /// The lines of the profile's sources that say so, counted from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<u16>,
}

/// A flag without which the server is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequiredFlag {
    /// The flag; with `=` and a value when the value matters.
    pub flag: String,
    /// What is open without it.
    pub why: String,
}

impl Flags {
    /// The first word of `command` that is forbidden.
    #[must_use]
    pub fn forbidden_in<'command>(&self, command: &'command [String]) -> Option<&'command str> {
        let mut words = command.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if self.forbids(word, words.peek().copied()) {
                return Some(word);
            }
        }
        None
    }

    /// Whether `word`, followed by `next`, is forbidden.
    #[must_use]
    pub fn forbids(&self, word: &str, next: Option<&str>) -> bool {
        self.forbid
            .iter()
            .any(|forbidden| self.is_given(forbidden, word, next))
    }

    /// The flags that `command` should have and has not.
    pub fn missing_in(&self, command: &[String]) -> impl Iterator<Item = &RequiredFlag> {
        self.require.iter().filter(|required| {
            let mut words = command.iter().map(String::as_str).peekable();
            while let Some(word) = words.next() {
                if self.is_given(&required.flag, word, words.peek().copied()) {
                    return false;
                }
            }
            true
        })
    }

    /// Whether `word` and `next` give what `wanted` describes. The servers read `_` as `-` inside a long
    /// flag, so a flag has two spellings and both count.
    fn is_given(&self, wanted: &str, word: &str, next: Option<&str>) -> bool {
        let (wanted, value) = split(wanted);
        let (flag, given) = split(word);
        // `--config.member value` sets a member of what `--config` takes as JSON.
        let flag = flag.split_once('.').map_or(flag, |(flag, _)| flag);
        let long = flag.strip_prefix("--").is_some_and(|name| !name.is_empty());
        let beginning = wanted.get(..flag.len()).filter(|_| self.shortened && long);
        let same = same_flag(wanted, flag) || beginning.is_some_and(|start| same_flag(start, flag));
        same && value.is_none_or(|value| given.or(next) == Some(value))
    }
}

/// A word as a flag and the value behind its `=`.
fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once('=')
        .map_or((word, None), |(flag, value)| (flag, Some(value)))
}

/// Whether two spellings are one flag.
fn same_flag(one: &str, other: &str) -> bool {
    let dash = |byte: u8| if byte == b'_' { b'-' } else { byte };
    if one.starts_with("--") {
        one.len() == other.len() && one.bytes().map(dash).eq(other.bytes().map(dash))
    } else {
        one == other
    }
}

/// The value of the flag or variable `name`; the last one given wins, as with every server here. A flag
/// that is given alone has an empty value.
pub(super) fn value_of<'given>(
    name: &str,
    words: &'given [String],
    environment: &'given BTreeMap<String, String>,
) -> Option<&'given str> {
    if !name.starts_with('-') {
        return environment.get(name).map(String::as_str);
    }
    let mut found = None;
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let (flag, value) = split(word);
        if same_flag(name, flag) {
            let next = words.peek().filter(|next| !next.starts_with('-'));
            found = Some(value.or_else(|| next.copied()).unwrap_or_default());
        }
    }
    found
}

/// Whether a value says no.
pub(super) fn is_off(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "0" | "false" | "off" | "no" | "none"
    )
}

/// A key or password that the server can be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Secret {
    /// The variable, or the flag with its dashes. `*` stands for any run of characters.
    pub name: String,
    /// What it opens.
    pub what: String,
    /// When the server needs it; a key for fetching has no place in a server that runs.
    pub phase: Phase,
    /// The line of the profile's sources that says so, counted from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub source: u16,
}

impl Secret {
    /// Whether this is a flag, and not a variable.
    #[must_use]
    pub fn is_flag(&self) -> bool {
        self.name.starts_with('-')
    }

    /// Whether `name`, a variable or the flag part of a word, is this secret.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_flag() {
            same_flag(&self.name, name)
        } else {
            pattern::matches(&self.name, name)
        }
    }
}

/// A part of a server's life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before it serves: weights are brought to the cache.
    Fetch,
    /// While it starts.
    Start,
    /// While it answers.
    Run,
    /// At any time, to tell its maker.
    Telemetry,
}

impl Phase {
    /// Every phase, in the order of a server's life.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::Start, Self::Run, Self::Telemetry];

    /// The phase in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Start => "start",
            Self::Run => "run",
            Self::Telemetry => "telemetry",
        }
    }
}

/// A host the server reaches out to on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outbound {
    /// The host name.
    pub host: String,
    /// What it wants there.
    pub purpose: String,
    /// When it does.
    pub phase: Phase,
    /// How the server is told not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<String>,
    /// Flags and variables without which it does not; with `=`, only for a value of that pattern, as in
    /// `NIM_MODEL_PATH=s3://*`. Empty when it does so unasked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_when: Vec<String>,
    /// The line of the profile's sources that says so, counted from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub source: u16,
}

impl Outbound {
    /// Whether a server with `command` and `environment` has a reason to call. A variable whose value is not
    /// known is given as an empty text, and may then be any value.
    #[must_use]
    pub fn is_wanted(&self, command: &[String], environment: &BTreeMap<String, String>) -> bool {
        let words = command::words(command);
        self.only_when.is_empty()
            || self.only_when.iter().any(|condition| {
                let (name, wanted) = split(condition);
                value_of(name, &words, environment).is_some_and(|given| {
                    wanted.map_or(!is_off(given), |wanted| {
                        given.is_empty() || pattern::matches(wanted, given)
                    })
                })
            })
    }
}

/// The number of the first source, which a row has unless it says otherwise.
pub(super) const fn first() -> u16 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(super) const fn is_first(number: &u16) -> bool {
    *number == 1
}
