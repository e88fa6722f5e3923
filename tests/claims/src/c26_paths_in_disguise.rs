//! C26: a path that is not written in its one canonical way is refused, never repaired.

use crate::lab::gate::Scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c26_no_spelling_reaches_a_route_but_the_canonical_one() {
    for path in DISGUISES {
        let ours = Scene::with(|scene| (*path).clone_into(&mut scene.path));
        // A gate that repairs paths before it decides, as proxies do on request.
        let without = Scene::with(|scene| scene.path = repaired(path));
        let reference = Reference {
            what: "a proxy that normalises",
            attempt: Attempt::of(&without),
        };
        judge(
            &format!("C26 {path}"),
            &Attempt::of(&ours),
            &Attempt::of(&without),
            Some(reference),
        );
    }
}

/// Decoded, slashes merged, dots resolved, lower case.
fn repaired(path: &str) -> String {
    let decoded = path
        .replace("%2F", "/")
        .replace("%2f", "/")
        .replace("%63", "c")
        .replace("%2e", ".")
        .replace('\\', "/");
    let mut segments: Vec<String> = Vec::new();
    for segment in decoded
        .split(['?', ';', '#'])
        .next()
        .unwrap_or_default()
        .split('/')
    {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other.to_ascii_lowercase()),
        }
    }
    format!("/{}", segments.join("/"))
}

const DISGUISES: &[&str] = &[
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/./v1/chat/completions",
    "/slots/../v1/chat/completions",
    "/v1/%2e%2e/v1/chat/completions",
    "/v1/%63hat/completions",
    "/v1%2Fchat/completions",
    "/v1/chat%2fcompletions",
    "/V1/chat/completions",
    "/v1/chat/completions;a=b",
    "\\v1\\chat\\completions",
];
