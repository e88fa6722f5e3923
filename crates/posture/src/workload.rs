//! What runs: containers with their image, words, variables, ports and mounts, each with its place.
//!
//! Kubernetes pods, compose services and `docker run` lines all become this, so that a rule about a server is
//! written once. What only one of them has, a rule reads from [`Container::node`] and [`Workload::pod`].

use std::borrow::Cow;

use crate::node::{Node, is_unresolved};
use crate::place::Place;

mod image;

pub use self::image::Image;

/// Something with a name that a document declares.
#[derive(Clone, Debug)]
pub struct Resource<'tree> {
    /// The kind, such as `Deployment`; `service` for compose, `docker run` for a command line.
    pub kind: &'tree str,
    /// The API group and version; empty outside Kubernetes.
    pub api_version: &'tree str,
    /// The namespace as written; none means whatever `kubectl` is told.
    pub namespace: Option<&'tree str>,
    /// The name; `generateName` and nameless documents give `?`.
    pub name: &'tree str,
    /// Where it starts.
    pub place: Place,
    /// The whole of it.
    pub node: &'tree Node,
}

impl Resource<'_> {
    /// How reports name it: `Deployment/llm`, or `Deployment/prod/llm` with a namespace.
    #[must_use]
    pub fn title(&self) -> String {
        self.namespace.map_or_else(
            || format!("{}/{}", self.kind, self.name),
            |namespace| format!("{}/{namespace}/{}", self.kind, self.name),
        )
    }

    /// The namespace that counts when two resources are compared.
    #[must_use]
    pub fn namespace_or_default(&self) -> &str {
        self.namespace.unwrap_or("default")
    }
}

/// What a workload was declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod specification, or a kind that makes pods.
    Kubernetes,
    /// A service of a compose file.
    Compose,
    /// A `docker run` or `podman run` line, read as a compose service.
    DockerRun,
}

/// Something that runs containers.
#[derive(Clone, Debug)]
pub struct Workload<'tree> {
    /// The resource that declares it.
    pub resource: Resource<'tree>,
    /// What it was declared with.
    pub origin: Origin,
    /// The labels of its pods.
    pub labels: Vec<(&'tree str, &'tree str)>,
    /// The annotations of its pods.
    pub annotations: Vec<(&'tree str, &'tree str)>,
    /// The pod specification, or the compose service.
    pub pod: &'tree Node,
    /// Its containers, init containers among them.
    pub containers: Vec<Container<'tree>>,
}

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs as long as the workload does.
    Main,
    /// It runs before the others.
    Init,
}

/// One container.
#[derive(Clone, Debug)]
pub struct Container<'tree> {
    /// Its name.
    pub name: &'tree str,
    /// What it is for.
    pub role: Role,
    /// Its whole declaration.
    pub node: &'tree Node,
    /// Its image.
    pub image: Option<Image<'tree>>,
    /// The words of its command line as far as the document says them, those of a `sh -c` text among them.
    pub words: Vec<Word<'tree>>,
    /// Its environment.
    pub environment: Vec<Variable<'tree>>,
    /// The ports it declares.
    pub ports: Vec<Port<'tree>>,
    /// What is mounted into it.
    pub mounts: Vec<Mount<'tree>>,
    /// The inference server it runs, when the evidence says so.
    pub server: Option<Server>,
}

/// A word of a command line.
#[derive(Clone, Debug)]
pub struct Word<'tree> {
    /// The word.
    pub text: Cow<'tree, str>,
    /// Where it stands; for a word of a longer text, where that text stands.
    pub place: Place,
}

/// A variable of a container's environment.
#[derive(Clone, Debug)]
pub struct Variable<'tree> {
    /// The name.
    pub name: Cow<'tree, str>,
    /// Where the name stands.
    pub place: Place,
    /// Where its value comes from.
    pub value: Given<'tree>,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug)]
pub enum Given<'tree> {
    /// It is written in the document (or in a config map that was read too).
    Literal {
        /// The text.
        text: Cow<'tree, str>,
        /// Where it stands.
        place: Place,
    },
    /// A secret of the platform.
    Secret(&'tree str),
    /// A config map that was not among what was read.
    ConfigMap(&'tree str),
    /// Anything else: a field of the pod, the caller's own environment.
    Elsewhere,
}

/// A port of a container.
#[derive(Clone, Debug)]
pub struct Port<'tree> {
    /// The number inside the container.
    pub number: u16,
    /// Its name.
    pub name: Option<&'tree str>,
    /// The host's address and port when it is published on the host (`hostPort`, compose `ports`).
    pub published: Option<Published>,
    /// Where it stands.
    pub place: Place,
}

/// How a port is published on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The host address; empty for all of them.
    pub address: String,
    /// The host port; none when the engine chooses.
    pub port: Option<u16>,
}

impl Published {
    /// Whether other machines can reach it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !(self.address.starts_with("127.")
            || matches!(self.address.as_str(), "::1" | "[::1]" | "localhost"))
    }
}

/// Something mounted into a container.
#[derive(Clone, Debug)]
pub struct Mount<'tree> {
    /// Where it appears.
    pub path: Cow<'tree, str>,
    /// Whether it cannot be written through this mount.
    pub read_only: bool,
    /// What is mounted.
    pub source: Source<'tree>,
    /// Where the mount is declared.
    pub place: Place,
    /// The mount's own node, for fixes; a scalar in compose's short form.
    pub node: &'tree Node,
    /// The volume's node, when it is declared apart.
    pub volume: Option<&'tree Node>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'tree> {
    /// A path of the host.
    Host(Cow<'tree, str>),
    /// A persistent volume claim.
    Claim(&'tree str),
    /// Scratch space on disk.
    Scratch,
    /// Scratch space in memory.
    Memory,
    /// A config map.
    ConfigMap(&'tree str),
    /// A secret.
    Secret(&'tree str),
    /// An OCI image or artifact as a volume.
    Image(&'tree str),
    /// A named volume of the engine.
    Named(Cow<'tree, str>),
    /// Anything else, by the word the document uses.
    Other(&'tree str),
}

/// The server a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The profile's name.
    pub profile: String,
    /// What it was recognised by, in words.
    pub because: Vec<String>,
}

/// A flag found on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag<'container> {
    /// Its value, in either of the forms `--flag value` and `--flag=value`; none for a switch.
    pub value: Option<&'container str>,
    /// Where it stands.
    pub place: Place,
}

impl Container<'_> {
    /// The last use of a flag under any of `names`. Dashes and underscores inside a name are the same.
    #[must_use]
    pub fn flag(&self, names: &[&str]) -> Option<Flag<'_>> {
        let mut found = None;
        for (at, word) in self.words.iter().enumerate() {
            let (flag, value) = match word.text.split_once('=') {
                Some((flag, value)) if flag.starts_with('-') => (flag, Some(value)),
                _ => (word.text.as_ref(), None),
            };
            if names.iter().any(|name| same_flag(name, flag)) {
                let next = || self.words.get(at + 1).map(|next| next.text.as_ref());
                let value = value.or_else(|| next().filter(|next| !looks_like_flag(next)));
                found = Some(Flag {
                    value,
                    place: word.place,
                });
            }
        }
        found
    }

    /// The variable `name`; the last one wins, as it does for Kubernetes.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&Variable<'_>> {
        self.environment
            .iter()
            .rev()
            .find(|variable| variable.name == name)
    }

    /// The text of the variable `name` when it is written in what was read and resolved.
    #[must_use]
    pub fn literal(&self, name: &str) -> Option<(&str, Place)> {
        match &self.variable(name)?.value {
            Given::Literal { text, place } if !is_unresolved(text) => Some((text, *place)),
            Given::Literal { .. } | Given::Secret(_) | Given::ConfigMap(_) | Given::Elsewhere => {
                None
            }
        }
    }

    /// Whether the variable `name` is given a text that servers take for "on".
    #[must_use]
    pub fn switched_on(&self, name: &str) -> Option<Place> {
        self.literal(name)
            .filter(|(text, _)| is_on(text))
            .map(|(_, place)| place)
    }

    /// Whether this is a server of the profile `id`.
    #[must_use]
    pub fn runs(&self, id: &str) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| server.profile == id)
    }
}

/// Whether a variable's text means "on": `1`, `true`, `yes`, `on` in any case.
#[must_use]
pub fn is_on(text: &str) -> bool {
    ["1", "true", "yes", "on", "y", "t"]
        .iter()
        .any(|on| text.trim().eq_ignore_ascii_case(on))
}

fn looks_like_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| {
        rest.starts_with(|first: char| first == '-' || first.is_ascii_alphabetic())
    })
}

fn same_flag(name: &str, flag: &str) -> bool {
    name.len() == flag.len()
        && flag.starts_with('-')
        && name.bytes().zip(flag.bytes()).all(|(one, other)| {
            one == other || (matches!(one, b'-' | b'_') && matches!(other, b'-' | b'_'))
        })
}

/// The words of a shell text: split at blanks, quotes and comments removed, `\` at line ends joined. What a shell would work
/// out at run time stays as it is written.
#[must_use]
pub fn shell_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut started, mut quote) = (false, None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('"') | None, '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(next) => {
                    started = true;
                    word.push(next);
                }
            },
            (Some(_), _) => word.push(character),
            (None, '\'' | '"') => {
                started = true;
                quote = Some(character);
            }
            (None, _) if character.is_whitespace() => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            (None, '#') if !started => while characters.next_if(|next| *next != '\n').is_some() {},
            // Separators of commands are words of their own even when they touch others.
            (None, ';' | '&' | '|') => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
                let mut separator = String::from(character);
                while let Some(next) = characters.next_if_eq(&character) {
                    separator.push(next);
                }
                words.push(separator);
            }
            (None, _) => {
                started = true;
                word.push(character);
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests;
