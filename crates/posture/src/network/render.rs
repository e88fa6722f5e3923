//! Walls as policies of Kubernetes, Cilium or Calico.
//!
//! The text is written by hand, line by line, so that each opening carries the reason it is there for.

mod calico;
mod cilium;
mod kubernetes;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Door, Walls};
use crate::report::clean::line;

/// Whose policies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `networking.k8s.io/v1`, which every cluster with a policy engine has. It knows no host names.
    #[default]
    Kubernetes,
    /// `cilium.io/v2`: host names are held as such.
    Cilium,
    /// `projectcalico.org/v3`: deny by default for everything, and ranges by exclusion.
    Calico,
}

/// The policies for `walls` as one YAML text.
#[must_use]
pub fn render(walls: &[Walls], dialect: Dialect) -> String {
    let mut text = String::from(
        "# Written by `casemate render network-policy` from the manifests it was given: everything is closed in both\n\
         # directions but for what they declare. Answers to an allowed request always pass; so do the probes of the\n\
         # node's own agent.\n",
    );
    let namespaces: BTreeSet<&str> = walls.iter().map(|one| one.namespace.as_str()).collect();
    for namespace in namespaces {
        match dialect {
            Dialect::Kubernetes => kubernetes::default_deny(&mut text, namespace),
            Dialect::Cilium => cilium::default_deny(&mut text, namespace),
            Dialect::Calico => calico::default_deny(&mut text, namespace),
        }
    }
    let mut names = Names::default();
    for one in walls {
        if one.labels.is_empty() {
            let title = clean(&one.title);
            let _infallible = writeln!(
                text,
                "# {title} has no label that a policy could select it by: it stays closed. Give its pods a label."
            );
            continue;
        }
        if one.ingress.is_empty() && one.egress.is_empty() {
            let _infallible = writeln!(text, "# {} needs nothing open.", clean(&one.title));
            for note in &one.notes {
                let _infallible = writeln!(text, "# Note: {}.", clean(note));
            }
            continue;
        }
        let one = &Walls {
            name: names.of(one),
            ..one.clone()
        };
        match dialect {
            Dialect::Kubernetes => kubernetes::workload(&mut text, one),
            Dialect::Cilium => cilium::workload(&mut text, one),
            Dialect::Calico => calico::workload(&mut text, one),
        }
    }
    text
}

/// Names of policies, each given once in its namespace: a second policy of one name would take the place of the
/// first, and one that is called as the wall around everything would take the wall away.
#[derive(Default)]
struct Names(BTreeSet<(String, String)>);

impl Names {
    fn of(&mut self, walls: &Walls) -> String {
        let wanted = object_name(&walls.name);
        let mut name = wanted.clone();
        let mut number = 2_usize;
        while name == "default-deny" || !self.0.insert((walls.namespace.clone(), name.clone())) {
            name = format!("{wanted}-{number}");
            number += 1;
        }
        name
    }
}

/// What stands above a policy: whose it is and what a person should know.
fn heading(text: &mut String, walls: &Walls) {
    let _infallible = write!(text, "---\n# {}\n", clean(&walls.title));
    for note in &walls.notes {
        let _infallible = writeln!(text, "# Note: {}.", clean(note));
    }
}

/// The reasons of a door as comments.
fn reasons(text: &mut String, indent: usize, door: &Door) {
    for because in &door.because {
        let _infallible = writeln!(text, "{:indent$}# {}", "", clean(because));
    }
}

/// A text from a document inside a comment: one line, nothing that moves the cursor.
fn clean(text: &str) -> String {
    line(text).chars().take(300).collect()
}

/// A text from a document as a YAML value that means nothing else: in quotes unless it is plainly a name.
fn quoted(text: &str) -> String {
    let name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word));
    if name && !word {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// A name that a Kubernetes object may have.
fn object_name(text: &str) -> String {
    let name: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || matches!(character, '-' | '.') {
                character
            } else {
                '-'
            }
        })
        .take(200)
        .collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "workload".to_owned()
    } else {
        name.to_owned()
    }
}

/// Addresses that a range for "outside" leaves out: private networks, and the cloud's metadata service.
const INSIDE: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
];
