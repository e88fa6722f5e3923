//! Suppressions in an annotation (or a compose label) of the resource they are for.

use std::collections::BTreeSet;

use casemate_core::time::UnixTime;

use super::{By, Suppression, Suppressions, Void, fault};
use crate::estate::Estate;
use crate::node::Node;
use crate::place::Place;
use crate::workload::Resource;

/// The annotation's name.
pub const ANNOTATION: &str = "scan.casemate.dev/suppress";

const MOST: usize = 500;

/// The suppressions that resources carry: `AI-096 until 2027-01-31: reason`, several separated by `;`.
#[must_use]
pub fn annotations(estate: &Estate<'_>, now: UnixTime) -> Suppressions {
    let mut read = Suppressions::default();
    // A workload's resource is among the resources for Kubernetes, and is not for compose.
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    let workloads = estate.workloads.iter().map(|workload| &workload.resource);
    for resource in estate.resources.iter().chain(workloads) {
        let mut found = Vec::new();
        look(resource.node, &mut found);
        for (text, place) in found {
            // Every finding is held against every suppression.
            if read.valid.len() + read.void.len() > MOST {
                read.void.push(Void {
                    file: estate.files.name(place.file).to_owned(),
                    place,
                    message: format!(
                        "more than {MOST} suppressions in annotations; the rest suppress nothing"
                    ),
                    expired: false,
                });
                return read;
            }
            if seen.insert(place) {
                each(text, place, resource, estate, now, &mut read);
            }
        }
    }
    read
}

fn look<'tree>(resource: &'tree Node, into: &mut Vec<(&'tree str, Place)>) {
    resource.walk(&mut |node| {
        for entry in node
            .entries()
            .iter()
            .filter(|entry| entry.key == ANNOTATION)
        {
            into.extend(entry.value.text().map(|text| (text, entry.value.place)));
        }
        for item in node.items() {
            let label = item
                .text()
                .and_then(|text| text.strip_prefix(ANNOTATION)?.strip_prefix('='));
            into.extend(label.map(|text| (text, item.place)));
        }
    });
}

fn each(
    text: &str,
    place: Place,
    resource: &Resource<'_>,
    estate: &Estate<'_>,
    now: UnixTime,
    into: &mut Suppressions,
) {
    for words in text
        .split([';', '\n'])
        .map(str::trim)
        .filter(|words| !words.is_empty())
    {
        let (head, reason) = words.split_once(':').unwrap_or((words, ""));
        let (rule, expires) = head.split_once(" until ").unwrap_or((head, ""));
        let (rule, reason, expires) = (
            rule.trim().to_ascii_uppercase(),
            reason.trim(),
            expires.trim(),
        );
        match fault(&rule, reason, expires, now) {
            Some((message, expired)) => into.void.push(Void {
                file: estate.files.name(place.file).to_owned(),
                place,
                message: format!(
                    "{message} (an annotation reads `AI-096 until 2027-01-31: reason`)"
                ),
                expired,
            }),
            None => into.valid.push(Suppression {
                rule,
                file: Some(literal(estate.files.name(place.file))),
                resource: Some(literal(&resource.title())),
                fingerprint: None,
                reason: reason.to_owned(),
                expires: expires.to_owned(),
                by: By::Annotation,
            }),
        }
    }
}

/// Names come from the document: a `*` in one stands for one character at most.
fn literal(text: &str) -> String {
    text.replace('*', "?")
}
