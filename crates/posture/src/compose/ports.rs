//! Ports of a compose service: short form, long form, ranges.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::node::Node;
use crate::workload::{Port, Published};

/// How many ports one file may declare: every port of a host, a few times.
pub(crate) const MAX_PORTS: usize = 262_144;

/// The ports of a service, published ones first; `budget` is how many there may still be.
pub(crate) fn ports<'tree>(service: &'tree Node, budget: &mut usize) -> Vec<Port<'tree>> {
    let mut found = Vec::new();
    for item in service.list("ports") {
        match item.text() {
            Some(text) => short(item, text, *budget, &mut found),
            None => long(item, *budget, &mut found),
        }
    }
    let published: HashSet<u16> = found.iter().map(|port| port.number).collect();
    for item in service.list("expose") {
        let range = item.text().and_then(|text| range(without_protocol(text)));
        let numbers = range.into_iter().flatten();
        let unpublished = numbers.filter(|number| !published.contains(number));
        for number in unpublished.take(budget.saturating_sub(found.len())) {
            found.push(Port {
                number,
                name: None,
                published: None,
                place: item.place,
            });
        }
    }
    *budget = budget.saturating_sub(found.len());
    found
}

fn without_protocol(text: &str) -> &str {
    text.split_once('/').map_or(text, |(ports, _)| ports)
}

/// `[ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, where host and container may be ranges.
fn short<'tree>(item: &'tree Node, text: &str, budget: usize, into: &mut Vec<Port<'tree>>) {
    let text = without_protocol(text.trim());
    let mut parts = split(text);
    let Some(inside) = parts.pop().and_then(range) else {
        return;
    };
    let host = parts.pop().unwrap_or("");
    let address = parts.join(":");
    publish(
        item,
        inside,
        &Outside {
            host,
            address: &address,
        },
        None,
        budget,
        into,
    );
}

fn long<'tree>(item: &'tree Node, budget: usize, into: &mut Vec<Port<'tree>>) {
    let Some(inside) = item.text_at("target").and_then(range) else {
        return;
    };
    let host = item.text_at("published").unwrap_or("");
    let address = item.text_at("host_ip").unwrap_or("");
    publish(
        item,
        inside,
        &Outside { host, address },
        item.text_at("name"),
        budget,
        into,
    );
}

/// Where on the host a port is published.
struct Outside<'text> {
    host: &'text str,
    address: &'text str,
}

fn publish<'tree>(
    item: &'tree Node,
    inside: RangeInclusive<u16>,
    outside: &Outside<'_>,
    name: Option<&'tree str>,
    budget: usize,
    into: &mut Vec<Port<'tree>>,
) {
    // One port inside and a range outside: the engine chooses from the range.
    let range = range(outside.host);
    let first = range
        .filter(|range| range.len() == inside.len())
        .map(|range| *range.start());
    let steps = inside.zip(0_u16..).take(budget.saturating_sub(into.len()));
    for (number, step) in steps {
        into.push(Port {
            number,
            name,
            published: Some(Published {
                address: outside.address.to_owned(),
                port: first.and_then(|first| first.checked_add(step)),
            }),
            place: item.place,
        });
    }
}

/// The parts between colons; those inside `[ ]` and `${ }` separate nothing.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in text.char_indices() {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or(""));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text
        .trim()
        .split_once('-')
        .unwrap_or((text.trim(), text.trim()));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some(first..=last)
}
