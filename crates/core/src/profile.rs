//! What we know of a server, as data: its routes by class, ports, environment and habits.
//!
//! A profile is a YAML file under `crates/core/profiles`, compiled in and parsed with the same decoder as
//! an enclosure. It never allows anything by itself: it says which class a route has, and a flow says
//! which classes a caller may use. A path that no row names is denied, and so is a row nobody has verified.
//!
//! The same data say how to recognise the server from outside, where it listens and what it calls.
//!
//! Way in: [`built_in`] and [`Profile::route`]; for a manifest, [`recognise`] and [`Profile::listening`].

mod command;
mod decode;
mod evidence;
mod pattern;
mod pointer;
mod ports;
mod process;
mod template;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::Name;

pub use self::decode::parse;
pub use self::evidence::{
    Confidence, Evidence, Observed, Reason, Recognised, recognise, recognise_one, repository,
};
pub use self::pointer::{ParsePointerError, Pointer};
pub use self::ports::{Listener, Listening, PortClass, Ports};
pub use self::process::{Environment, Flags, Outbound, Phase, RequiredFlag, Secret};
use self::process::{first, is_first};
pub use self::template::{ParseTemplateError, Template};

/// Everything known about one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// The name an enclosure uses.
    pub id: Name,
    /// The server, in words.
    pub server: String,
    /// What was run to verify the rows that carry a `verified-on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_on: Option<String>,
    /// Where the rows come from. A row gives the number of its line here, counted from 1; a row without a
    /// number comes from the first.
    pub source: Vec<String>,
    /// The classes that routes fall into.
    pub classes: Vec<Class>,
    /// The routes; whatever is not here is denied.
    pub routes: Vec<Route>,
    /// The environment of the server's process.
    #[serde(default)]
    pub environment: Environment,
    /// Command line flags.
    #[serde(default)]
    pub flags: Flags,
    /// The ports the server is known to open.
    #[serde(default)]
    pub ports: Ports,
    /// Hosts the server reaches out to on its own. All are denied; the list says what breaks.
    #[serde(default)]
    pub outbound: Vec<Outbound>,
    /// Keys and passwords that the server can be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Directories inside the stage that the server must be able to write.
    #[serde(default)]
    pub writable: Vec<String>,
    /// How the server shows in a manifest.
    #[serde(default)]
    pub evidence: Evidence,
}

/// A set of routes that are granted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Class {
    /// The name a flow uses.
    pub name: Name,
    /// What its routes do.
    pub what: String,
    /// Whether a flow may grant it.
    pub grant: Grantable,
}

/// Whether a class may be granted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grantable {
    /// A flow may name it.
    ByFlow,
    /// No flow may name it: its routes change the server, show other callers' data or run code.
    Never,
}

/// One route of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The request method.
    pub method: Method,
    /// The path, such as `/v1/models/{model}`.
    pub template: Template,
    /// The class it is granted by.
    pub class: Name,
    /// How the answer may stream.
    #[serde(default)]
    pub stream: Stream,
    /// Where the body names the model; absent when the route names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Pointer>,
    /// Where the body bounds the answer's tokens. Each one present is checked; the first is set when none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub max_tokens: Vec<Pointer>,
    /// Where the body says how many answers it wants; that number times the tokens is what is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Pointer>,
    /// The names that a query may have; a query with any other name is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// Members of the body that are refused, because they reach past what the class promises.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<Pointer>,
    /// Members of the body that must ask for one answer: a text, or one list of token numbers. A list of
    /// texts or of lists is one answer each, and is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub single: Vec<Pointer>,
    /// The server version on which this row was seen to be true. A row without it is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_on: Option<String>,
    /// The line of the profile's sources that says so, counted from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub source: u16,
}

/// The request methods that a row may name. `HEAD` and `OPTIONS` are never forwarded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Every method, in the order of the enum.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The method as it stands in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A method that no row can name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("method must be one of GET, POST, PUT, PATCH, DELETE, in capitals")]
pub struct ParseMethodError;

impl FromStr for Method {
    type Err = ParseMethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or(ParseMethodError)
    }
}

/// How an answer may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// In one piece.
    #[default]
    None,
    /// As server-sent events when the body asks for it.
    Sse,
    /// As one JSON object to a line, unless the body asks for one piece.
    Ndjson,
}

/// What the profile says about one request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteVerdict<'profile> {
    /// A verified row matches. Whether the caller holds its class is decided elsewhere.
    Known(&'profile Route),
    /// No row matches the path.
    UnknownPath,
    /// A row matches the path, but none with this method.
    OtherMethod,
    /// A row matches that nobody has verified.
    Unverified(&'profile Route),
    /// A row matches whose class can never be granted.
    Ungrantable(&'profile Route),
}

impl Profile {
    /// What is known about `method` on `path`. The path must be canonical already: it is compared byte
    /// for byte, so that a path in disguise matches nothing.
    #[must_use]
    pub fn route(&self, method: &str, path: &str) -> RouteVerdict<'_> {
        let mut other_method = false;
        // Literal templates win over templates with a parameter, whatever the order of the rows.
        let mut best: Option<&Route> = None;
        for route in self
            .routes
            .iter()
            .filter(|route| route.template.matches(path))
        {
            if route.method.as_str() != method {
                other_method = true;
            } else if best
                .is_none_or(|held| route.template.parameters() < held.template.parameters())
            {
                best = Some(route);
            }
        }
        match best {
            None if other_method => RouteVerdict::OtherMethod,
            None => RouteVerdict::UnknownPath,
            Some(route) if self.grantable(&route.class) != Some(Grantable::ByFlow) => {
                RouteVerdict::Ungrantable(route)
            }
            Some(route) if route.verified_on.is_none() => RouteVerdict::Unverified(route),
            Some(route) => RouteVerdict::Known(route),
        }
    }

    /// Whether `class` may be granted; none when the profile has no such class.
    #[must_use]
    pub fn grantable(&self, class: &Name) -> Option<Grantable> {
        self.classes
            .iter()
            .find(|known| known.name == *class)
            .map(|known| known.grant)
    }

    /// Whether a route of `class` was seen to answer, so that granting the class opens anything.
    #[must_use]
    pub fn is_verified(&self, class: &Name) -> bool {
        self.routes
            .iter()
            .any(|route| route.class == *class && route.verified_on.is_some())
    }

    /// The classes that a flow may name.
    pub fn grantable_classes(&self) -> impl Iterator<Item = &Name> {
        self.classes
            .iter()
            .filter(|class| class.grant == Grantable::ByFlow)
            .map(|class| &class.name)
    }
}

/// The profile named `id` that is compiled in.
#[must_use]
pub fn built_in(id: &str) -> Option<Profile> {
    all()
        .iter()
        .find(|profile| profile.id.as_str() == id)
        .cloned()
}

/// Every profile that is compiled in, read once.
#[must_use]
pub fn all() -> &'static [Profile] {
    // The texts are ours, and a test parses every one of them: one that is missing here is a build that
    // was not tested.
    static ALL: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        BUILT_IN
            .iter()
            .filter_map(|(_, file, text)| parse(file, text).ok())
            .collect()
    });
    &ALL
}

/// The names of the profiles that are compiled in.
pub fn built_in_ids() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(id, ..)| *id)
}

/// The JSON Schema of a profile file.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Profile).to_value()
}

macro_rules! compiled_in {
    ($($id:literal),*) => {
        [$(($id, concat!($id, ".yaml"), include_str!(concat!("../profiles/", $id, ".yaml")))),*]
    };
}

const BUILT_IN: [(&str, &str, &str); 9] = compiled_in![
    "http",
    "kserve",
    "llama.cpp",
    "nim",
    "ollama",
    "sglang",
    "tgi",
    "triton",
    "vllm"
];

#[cfg(test)]
mod tests;
