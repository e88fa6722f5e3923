//! Bodies of the fuzz targets, so that fuzzing and the tests on stable run the same lines.

mod calls;

pub use self::calls::{fuzz_admission, fuzz_json, fuzz_route};
use crate::{enclosure, profile};

/// Any bytes as an enclosure file: refused with places inside the text, or an enclosure whose parts agree.
pub fn fuzz_enclosure(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match enclosure::parse("fuzz.yaml", text) {
        Ok(enclosure) => {
            for flow in &enclosure.flows {
                assert!(enclosure.stage(&flow.to).is_some(), "a flow leads nowhere");
                assert!(!flow.routes.is_empty(), "a flow grants nothing");
            }
            for stage in &enclosure.stages {
                assert!(stage.serves >= 1024, "a stage serves on a privileged port");
                assert!(
                    stage
                        .models
                        .iter()
                        .all(|model| enclosure.model(model).is_some()),
                    "a stage opens a model that is not declared"
                );
            }
        }
        Err(found) => check_diagnostics(&found, text),
    }
}

/// Any bytes as a profile file: refused with places, or a profile that writes and reads back the same.
pub fn fuzz_profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match profile::parse("fuzz.yaml", text) {
        Ok(profile) => {
            let written = serde_json::to_vec(&profile).unwrap_or_default();
            let read = serde_json::from_slice::<profile::Profile>(&written);
            assert!(
                read.is_ok_and(|read| read == profile),
                "a profile does not read back"
            );
            for path in ["/", "//", "/v1/../x", "/%2e", "", "v1"] {
                let verdict = profile.route("GET", path);
                assert!(
                    path == "/" || matches!(verdict, profile::RouteVerdict::UnknownPath),
                    "a path in disguise is known"
                );
            }
        }
        Err(found) => check_diagnostics(&found, text),
    }
}

fn check_diagnostics(found: &crate::diagnostic::Diagnostics, text: &str) {
    assert!(!found.list().is_empty(), "refused without a reason");
    let lines = text.lines().count().saturating_add(2);
    for one in found.list() {
        assert!(
            (1..=lines).contains(&one.span.line),
            "a place outside the text"
        );
        assert!(one.span.column >= 1, "a place before the line");
        assert!(!one.message.is_empty(), "a mistake without words");
    }
    let printed = found.to_string();
    assert!(
        printed
            .chars()
            .all(|character| character == '\n' || !character.is_control()),
        "a message moves the cursor"
    );
}

#[cfg(test)]
mod tests;
