//! The ports that a server opens, what each is for, and where flags and variables move it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Profile;
use super::command;
use super::process::{first, is_first, is_off, value_of};

/// The ports a server opens by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ports {
    /// Where it answers requests unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<u16>,
    /// Every socket that it can open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listens: Vec<Listener>,
}

/// One socket of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listener {
    /// The port, unless told otherwise; none when it opens only where it is told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What is spoken there, and with whom.
    pub what: String,
    /// Who may reach it.
    pub class: PortClass,
    /// The address it takes unless told otherwise.
    pub bind: String,
    /// Flags and variables whose value is the port, or an address with it. Flags count before variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_by: Vec<String>,
    /// Flags and variables without which it does not open at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened_by: Vec<String>,
    /// Flags and variables that close it when they are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed_by: Vec<String>,
    /// The line of the profile's sources that says so, counted from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub source: u16,
}

/// Who may reach a port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PortClass {
    /// Callers: it answers with the model, and often more than that.
    Inference,
    /// The monitoring system: counters of everybody's use.
    Metrics,
    /// The node's or cluster's prober.
    Health,
    /// Operators: it changes what the server does.
    Management,
    /// The server's own other parts, and nobody else: it trusts whatever it is sent.
    Internal,
}

impl PortClass {
    /// Every class, from the most to the least public.
    pub const ALL: [Self; 5] = [
        Self::Inference,
        Self::Metrics,
        Self::Health,
        Self::Management,
        Self::Internal,
    ];

    /// The class in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::Management => "management",
            Self::Internal => "internal",
        }
    }
}

/// Where a socket opens, given a command line and variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening<'profile> {
    /// The socket.
    pub listener: &'profile Listener,
    /// Its port; none when the value that moves it cannot be read as one.
    pub port: Option<u16>,
    /// The flag or variable that decided it.
    pub moved_by: Option<&'profile str>,
}

impl Ports {
    /// Whether nobody but the server's own parts may reach `port`, unless it is moved.
    #[must_use]
    pub fn is_internal(&self, port: u16) -> bool {
        self.listens
            .iter()
            .any(|listener| listener.class == PortClass::Internal && listener.port == Some(port))
    }
}

impl Profile {
    /// The sockets that are open with `command` and `environment`. A variable whose value is not known is
    /// given as an empty text; the socket it moves is then open at an unknown port.
    #[must_use]
    pub fn listening(
        &self,
        command: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Vec<Listening<'_>> {
        let words = command::words(command);
        let given = |name: &str| value_of(name, &words, environment);
        let mut open = Vec::new();
        for listener in &self.ports.listens {
            let asked = |name: &String| given(name).is_some_and(|value| !is_off(value));
            let opened = listener.opened_by.is_empty() || listener.opened_by.iter().any(asked);
            let off = |name: &String| given(name).is_some_and(is_off);
            if !opened || listener.closed_by.iter().any(off) {
                continue;
            }
            let moved = listener
                .moved_by
                .iter()
                .find_map(|name| given(name).map(|value| (name.as_str(), value)));
            match moved {
                Some((name, value)) => open.push(Listening {
                    listener,
                    // An address without a port leaves the port where it was.
                    port: port_in(value, listener.port),
                    moved_by: Some(name),
                }),
                // A listener with no port of its own is one that is told where to open.
                None if listener.port.is_some() || !listener.opened_by.is_empty() => {
                    open.push(Listening {
                        listener,
                        port: listener.port,
                        moved_by: None,
                    });
                }
                None => {}
            }
        }
        open
    }

    /// What `port` is with `command` and `environment`; the least public use when it has several.
    #[must_use]
    pub fn port_class(
        &self,
        port: u16,
        command: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Option<PortClass> {
        self.listening(command, environment)
            .into_iter()
            .filter(|listening| listening.port == Some(port))
            .map(|listening| listening.listener.class)
            .max()
    }
}

/// The port in `7000`, `0.0.0.0:7000`, `[::]:7000` or `http://host:7000/x`. An address without a port is at
/// `otherwise`; a text that still holds a variable, or nothing, is nowhere known.
fn port_in(value: &str, otherwise: Option<u16>) -> Option<u16> {
    let value = value.trim();
    if value.is_empty() || value.contains(['$', '{', '}']) {
        return None;
    }
    let host = value.split_once("://").map_or(value, |(_, rest)| rest);
    let host = host.split_once('/').map_or(host, |(host, _)| host);
    if let Ok(port) = host.parse() {
        return Some(port);
    }
    match host.rsplit_once(':') {
        Some((before, port)) if !before.contains(':') || before.ends_with(']') => port.parse().ok(),
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests;
