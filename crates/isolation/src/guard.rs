//! Refuses to attack anything but the sandbox that the order names.
//!
//! A prober that runs on a bare machine by mistake mounts over its directories and knocks on its
//! neighbours. So nothing is tried before the namespaces of this process are the ones that the launcher
//! expects, none of them is the launcher's own, and the network namespace holds the named links only.

use std::fs;
use std::io;

use casemate_core::finding::{Namespaces, ProbeOrder};

/// Why the prober will not run here.
#[derive(Debug, thiserror::Error)]
pub enum RefuseError {
    /// A fact could not be read, and an unknown place is the wrong place.
    #[error("cannot read `{path}`")]
    Read {
        /// What was read.
        path: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A namespace link has no number in it.
    #[error("`{0}` does not name a namespace")]
    NoNumber(&'static str),
    /// This is some other sandbox, or none.
    #[error("the {name} namespace is {found}, the order expects {expected}")]
    OtherNamespace {
        /// Which one.
        name: &'static str,
        /// The order's number.
        expected: u64,
        /// The number here.
        found: u64,
    },
    /// This is the launcher's own namespace.
    #[error("the {0} namespace is the launcher's own")]
    LaunchersOwn(&'static str),
    /// The network namespace is connected to something that the order does not name.
    #[error("the network namespace has the interfaces {found:?}, the order expects {expected:?}")]
    OtherLinks {
        /// The order's links.
        expected: Vec<String>,
        /// The links here.
        found: Vec<String>,
    },
}

/// Proof that the order matches this process's sandbox; checks run only with it.
#[derive(Debug)]
pub struct Matched {
    order: ProbeOrder,
    namespaces: Namespaces,
}

impl Matched {
    /// The order.
    #[must_use]
    pub const fn order(&self) -> &ProbeOrder {
        &self.order
    }

    /// The namespaces of this process.
    #[must_use]
    pub const fn namespaces(&self) -> Namespaces {
        self.namespaces
    }

    pub(crate) fn into_order(self) -> ProbeOrder {
        self.order
    }
}

/// Compares the order with the place where this process is.
///
/// # Errors
/// When anything differs or cannot be read.
pub fn matches(order: ProbeOrder) -> Result<Matched, RefuseError> {
    let found = namespaces()?;
    agree(&order, &found, &links()?)?;
    Ok(Matched {
        order,
        namespaces: found,
    })
}

fn agree(order: &ProbeOrder, found: &Namespaces, links: &[String]) -> Result<(), RefuseError> {
    let (expected, host) = (&order.expected, &order.host);
    for (name, found, expected) in [
        ("network", found.net, expected.net),
        ("mount", found.mnt, expected.mnt),
        ("process", found.pid, expected.pid),
        ("user", found.user, expected.user),
        ("ipc", found.ipc, expected.ipc),
    ] {
        if found != expected {
            return Err(RefuseError::OtherNamespace {
                name,
                expected,
                found,
            });
        }
    }
    for (name, found, host) in [
        ("network", found.net, host.net),
        ("mount", found.mnt, host.mnt),
        ("process", found.pid, host.pid),
    ] {
        if found == host {
            return Err(RefuseError::LaunchersOwn(name));
        }
    }
    let mut expected = order.links.clone();
    let mut found = links.to_vec();
    expected.sort();
    found.sort();
    if expected == found {
        Ok(())
    } else {
        Err(RefuseError::OtherLinks { expected, found })
    }
}

/// The namespaces of this process.
///
/// # Errors
/// When `/proc` does not show them.
pub fn namespaces() -> Result<Namespaces, RefuseError> {
    Ok(Namespaces {
        net: number("/proc/self/ns/net")?,
        mnt: number("/proc/self/ns/mnt")?,
        pid: number("/proc/self/ns/pid")?,
        user: number("/proc/self/ns/user")?,
        ipc: number("/proc/self/ns/ipc")?,
    })
}

fn number(path: &'static str) -> Result<u64, RefuseError> {
    let link = fs::read_link(path).map_err(|source| RefuseError::Read { path, source })?;
    let text = link.to_string_lossy();
    text.split_once(":[")
        .and_then(|(_, rest)| rest.strip_suffix(']')?.parse().ok())
        .ok_or(RefuseError::NoNumber(path))
}

/// The names of this namespace's network interfaces.
///
/// # Errors
/// When `/proc` does not show them.
pub fn links() -> Result<Vec<String>, RefuseError> {
    let path = "/proc/self/net/dev";
    let table = fs::read_to_string(path).map_err(|source| RefuseError::Read { path, source })?;
    Ok(parse_links(&table))
}

fn parse_links(table: &str) -> Vec<String> {
    table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use casemate_core::finding::{Budget, Canaries, Grants, Limits};

    use super::*;

    fn spaces(base: u64) -> Namespaces {
        Namespaces {
            net: base,
            mnt: base + 1,
            pid: base + 2,
            user: base + 3,
            ipc: base + 4,
        }
    }

    fn order() -> ProbeOrder {
        ProbeOrder {
            nonce: "00".repeat(32),
            expected: spaces(10),
            host: spaces(20),
            links: vec!["lo".to_owned()],
            canaries: Canaries::default(),
            grants: Grants {
                serves: None,
                connects: Vec::new(),
                scratch: "/tmp".to_owned(),
                models: Vec::new(),
                limits: Limits::default(),
                environment: Vec::new(),
                may_exhaust: false,
            },
            budget: Budget::default(),
            identity: "stage".to_owned(),
            only: Vec::new(),
        }
    }

    fn lo() -> Vec<String> {
        vec!["lo".to_owned()]
    }

    #[test]
    fn the_named_sandbox_is_accepted() {
        assert!(agree(&order(), &spaces(10), &lo()).is_ok());
    }

    #[test]
    fn another_namespace_is_refused() {
        let mut found = spaces(10);
        found.mnt += 100;
        assert!(matches!(
            agree(&order(), &found, &lo()),
            Err(RefuseError::OtherNamespace { name: "mount", .. })
        ));
    }

    #[test]
    fn the_launchers_own_namespace_is_refused_even_when_ordered() {
        let mut order = order();
        order.host.net = order.expected.net;
        assert!(matches!(
            agree(&order, &spaces(10), &lo()),
            Err(RefuseError::LaunchersOwn("network"))
        ));
    }

    #[test]
    fn a_link_that_is_not_named_is_refused() {
        let links = ["eth0".to_owned(), "lo".to_owned()];
        assert!(matches!(
            agree(&order(), &spaces(10), &links),
            Err(RefuseError::OtherLinks { .. })
        ));
        assert!(agree(&order(), &spaces(10), &[]).is_err());
    }

    #[test]
    fn a_bare_machine_is_refused() {
        assert!(matches(order()).is_err());
    }

    #[test]
    fn interface_names_are_read_from_the_kernels_table() {
        let table = "Inter-|   Receive\n face |bytes\n    lo:       0       0\n  eth0: 1 2\n";
        assert_eq!(parse_links(table), ["lo", "eth0"]);
    }
}
