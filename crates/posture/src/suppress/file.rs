//! The file with suppressions: `.casemate-scan.yaml`.

use casemate_core::time::UnixTime;

use super::{By, Suppression, Suppressions, Void, fault};
use crate::node::Node;
use crate::place::{FileId, Place};
use crate::yaml;

/// Reads the suppressions of the file `name` with the content `text`.
#[must_use]
pub fn file(name: &str, text: &str, now: UnixTime) -> Suppressions {
    let mut read = Suppressions::default();
    let stream = yaml::read(FileId::default(), text);
    let void = |place: Place, message: String, expired: bool| Void {
        file: name.to_owned(),
        place,
        message,
        expired,
    };
    if let Some(error) = stream.error {
        read.void.push(void(error.place, error.message, false));
    }
    for document in &stream.documents {
        for entry in document.entries() {
            if entry.key != "suppressions" {
                let message = format!(
                    "`{}` is not known here; write `suppressions:`, a list",
                    entry.key
                );
                read.void.push(void(entry.place, message, false));
                continue;
            }
            for item in entry.value.items() {
                match one(item, now) {
                    Ok(suppression) => read.valid.push(suppression),
                    Err((message, expired)) => read.void.push(void(item.place, message, expired)),
                }
            }
        }
    }
    read
}

fn one(item: &Node, now: UnixTime) -> Result<Suppression, (String, bool)> {
    let known = [
        "rule",
        "file",
        "resource",
        "fingerprint",
        "reason",
        "expires",
    ];
    if let Some(entry) = item
        .entries()
        .iter()
        .find(|entry| !known.contains(&entry.key.as_str()))
    {
        // A misspelt `resource` would suppress everywhere.
        let message = format!(
            "`{}` is not known here, so this suppresses nothing; known are {}",
            entry.key,
            known.join(", ")
        );
        return Err((message, false));
    }
    let text = |key: &str| item.text_at(key).unwrap_or("").trim().to_owned();
    let some = |key: &str| item.text_at(key).map(str::to_owned);
    let (rule, reason, expires) = (
        text("rule").to_ascii_uppercase(),
        text("reason"),
        text("expires"),
    );
    if let Some(fault) = fault(&rule, &reason, &expires, now) {
        return Err(fault);
    }
    let suppression = Suppression {
        rule,
        file: some("file"),
        resource: some("resource"),
        fingerprint: some("fingerprint"),
        reason,
        expires,
        by: By::File,
    };
    if suppression.file.is_none()
        && suppression.resource.is_none()
        && suppression.fingerprint.is_none()
    {
        let message = format!(
            "the suppression of {} names no `file`, `resource` or `fingerprint`, so it suppresses nothing; to leave a rule out altogether use --skip",
            suppression.rule
        );
        return Err((message, false));
    }
    Ok(suppression)
}
