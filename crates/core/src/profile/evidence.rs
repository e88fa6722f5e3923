//! Recognises a server from what can be seen of a container, and never from what somebody called it.
//!
//! An image or a command says what runs. Variables say it only together, because the server's clients
//! carry some of them too. A probe or a port says nothing by itself: half the world listens on 8000.

use std::cmp::Reverse;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Profile, all, command, pattern};
use crate::name::Name;

/// How the server shows in a manifest. In every pattern `*` stands for any run of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evidence {
    /// Repositories of its images, in lower case, without registry default, tag and digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The words that a command which starts it begins with. Every Python is written as `python`, and a program
    /// without its directory, unless the directory is what tells it from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Commands that its image also runs and that serve nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_commands: Vec<String>,
    /// Variables that it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Variables among those that its clients carry as well, so that they say nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_environment: Vec<String>,
    /// Paths that only it is probed at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
    /// Ports it is known for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Profiles of servers that run inside this one: when both show, this one is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wraps: Vec<Name>,
    /// The lines of the profile's sources that say so, counted from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<u16>,
}

/// What was seen of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The image as it is written.
    pub image: Option<String>,
    /// The command and its arguments, one after the other.
    pub command: Vec<String>,
    /// The names of the variables.
    pub environment: Vec<String>,
    /// The paths of its probes.
    pub probes: Vec<String>,
    /// The ports it declares or that are published.
    pub ports: Vec<u16>,
}

/// How sure a recognition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Too little to act on: ports, probes, a single variable, or the image doing something else.
    Hint,
    /// Several variables, or one with a probe or a port that fits.
    Likely,
    /// The image or the command says so.
    Certain,
}

/// One thing that speaks for a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "value")]
pub enum Reason {
    /// The image, as it is written.
    Image(String),
    /// The words that start it.
    Command(String),
    /// The image is the server's, but this is what runs.
    OtherCommand(String),
    /// The names of variables that it reads.
    Environment(Vec<String>),
    /// A path it is probed at.
    Probe(String),
    /// A port it is known for.
    Port(u16),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(formatter, "image `{image}`"),
            Self::Command(words) => write!(formatter, "command `{words}`"),
            Self::OtherCommand(words) => {
                write!(formatter, "but it runs `{words}`, which serves nothing")
            }
            Self::Environment(names) => write!(formatter, "variables {}", names.join(", ")),
            Self::Probe(path) => write!(formatter, "probe `{path}`"),
            Self::Port(port) => write!(formatter, "port {port}"),
        }
    }
}

/// A server that something was seen of.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// The server's profile.
    pub profile: &'static Profile,
    /// How sure this is.
    pub confidence: Confidence,
    /// What speaks for it, the strongest first.
    pub reasons: Vec<Reason>,
}

/// Every server that something was seen of, the surest first.
#[must_use]
pub fn recognise(observed: &Observed) -> Vec<Recognised> {
    let seen = Seen {
        repository: observed.image.as_deref().map(repository),
        commands: command::commands(&observed.command),
        observed,
    };
    let mut found: Vec<Recognised> = all()
        .iter()
        .filter_map(|profile| seen.of(profile))
        .collect();
    // A server inside another shows through it, by its variables or even by its command.
    // The profiles live as long as the program, so the names outlive the sort.
    let inner: Vec<&'static Name> = found
        .iter()
        .filter(|one| one.confidence == Confidence::Certain)
        .flat_map(|one| one.profile.evidence.wraps.iter())
        .collect();
    // The sort is stable: with nothing between two of them, the order of the profiles stands.
    found.sort_by_key(|one| {
        (
            Reverse(one.confidence),
            inner.contains(&&one.profile.id),
            one.reasons.iter().min().cloned(),
            Reverse(one.reasons.len()),
        )
    });
    found
}

/// The server that runs, when there is enough to say so.
#[must_use]
pub fn recognise_one(observed: &Observed) -> Option<Recognised> {
    recognise(observed)
        .into_iter()
        .next()
        .filter(|best| best.confidence >= Confidence::Likely)
}

/// What was seen, in the form that is compared.
struct Seen<'observed> {
    repository: Option<String>,
    commands: Vec<Vec<String>>,
    observed: &'observed Observed,
}

impl Seen<'_> {
    /// What speaks for `profile`; none when nothing does.
    fn of(&self, profile: &'static Profile) -> Option<Recognised> {
        let evidence = &profile.evidence;
        let mut reasons = Vec::new();
        let image = self.image(evidence);
        reasons.extend(image.map(|image| Reason::Image(image.to_owned())));
        let command = self.command(&evidence.commands);
        reasons.extend(command.map(|words| Reason::Command(words.to_owned())));
        let other = self
            .command(&evidence.other_commands)
            .filter(|_| image.is_some() && command.is_none());
        reasons.extend(other.map(|words| Reason::OtherCommand(words.to_owned())));
        let variables = self.variables(evidence);
        let count = variables.len();
        if count > 0 {
            reasons.push(Reason::Environment(variables));
        }
        let known = |path: &&String| evidence.probes.contains(path);
        let probe = self.observed.probes.iter().find(known);
        reasons.extend(probe.map(|path| Reason::Probe(path.clone())));
        let known = |port: &&u16| evidence.ports.contains(port);
        let port = self.observed.ports.iter().find(known);
        reasons.extend(port.map(|port| Reason::Port(*port)));
        let confidence = if command.is_some() || (image.is_some() && other.is_none()) {
            Confidence::Certain
        } else if other.is_none()
            && (count > 1 || (count > 0 && (probe.is_some() || port.is_some())))
        {
            Confidence::Likely
        } else {
            Confidence::Hint
        };
        (!reasons.is_empty()).then_some(Recognised {
            profile,
            confidence,
            reasons,
        })
    }

    fn image(&self, evidence: &Evidence) -> Option<&str> {
        let repository = self.repository.as_deref()?;
        let known = |wanted: &String| pattern::matches(wanted, repository);
        let is_known = evidence.images.iter().any(known);
        self.observed.image.as_deref().filter(|_| is_known)
    }

    /// The first of `wanted` that a command begins with.
    fn command<'wanted>(&self, wanted: &'wanted [String]) -> Option<&'wanted str> {
        let begins = |command: &Vec<String>, wanted: &str| {
            let mut words = command.iter();
            wanted.split(' ').enumerate().all(|(index, wanted)| {
                words.next().is_some_and(|word| {
                    let word = if index == 0 && !wanted.contains('/') {
                        command::base_name(word)
                    } else {
                        word
                    };
                    pattern::matches(wanted, word)
                })
            })
        };
        wanted
            .iter()
            .map(String::as_str)
            .find(|wanted| self.commands.iter().any(|command| begins(command, wanted)))
    }

    fn variables(&self, evidence: &Evidence) -> Vec<String> {
        let among = |patterns: &[String], name: &str| {
            patterns
                .iter()
                .any(|pattern| pattern::matches(pattern, name))
        };
        let mut names: Vec<String> = self
            .observed
            .environment
            .iter()
            .filter(|name| {
                among(&evidence.environment, name) && !among(&evidence.client_environment, name)
            })
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The repository of an image reference, as the patterns are written: lower case, without scheme, the
/// default registry, tag and digest.
#[must_use]
pub fn repository(image: &str) -> String {
    let image = image.trim().to_ascii_lowercase();
    let image = image
        .split_once("://")
        .map_or(image.as_str(), |(_, rest)| rest);
    let image = image.split_once('@').map_or(image, |(rest, _)| rest);
    // A colon before the last slash belongs to a registry's port.
    let image = match image.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => image,
    };
    ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|registry| image.strip_prefix(registry))
        .unwrap_or(image)
        .trim_start_matches("library/")
        .to_owned()
}

#[cfg(test)]
mod tests;
