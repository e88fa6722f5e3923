//! A page for each rule of the scanner, with its own fixtures as examples, and an index.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use casemate_posture::catalogue;
use casemate_posture::explain::{Example, group, markdown};
use casemate_posture::rule::{Group, Rule};

/// Writes every page into the folder `into`.
pub(crate) fn pages(into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into)?;
    let mut rules: Vec<&Rule> = catalogue::all().collect();
    rules.sort_by_key(|rule| rule.id);
    for rule in &rules {
        let page = markdown(
            rule,
            example(rule, "fail-").as_ref(),
            example(rule, "pass-").as_ref(),
        );
        fs::write(into.join(format!("{}.md", rule.id)), page)?;
    }
    fs::write(into.join("README.md"), index(&rules)?)?;
    Ok(())
}

fn index(rules: &[&Rule]) -> anyhow::Result<String> {
    let mut page = format!(
        "# Rules of the scanner\n\nWritten by `cargo xtask generate` from the catalogue: {} rules. `casemate scan explain RULE` shows the same in a\nterminal. Every rule is tried on the documents in `crates/posture/fixtures`; the examples on its page are two of them.\n",
        rules.len()
    );
    for about in [
        Group::Server,
        Group::Weights,
        Group::Accelerator,
        Group::Hardening,
    ] {
        write!(
            page,
            "\n## {}\n\n| rule | severity | what it finds | maps to |\n|---|---|---|---|\n",
            heading(about)
        )?;
        for rule in rules.iter().filter(|rule| rule.group == about) {
            writeln!(
                page,
                "| [{0}]({0}.md) | {1} | {2} | {3} |",
                rule.id,
                rule.severity.as_str(),
                rule.title.replace('|', "\\|"),
                rule.maps.join(", ")
            )?;
        }
    }
    Ok(page)
}

fn heading(about: Group) -> String {
    let words = group(about);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// The shortest document of a kind that people can read.
fn example(rule: &Rule, start: &str) -> Option<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/posture/fixtures")
        .join(rule.id);
    let mut files: Vec<(usize, PathBuf, String)> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let named = path.file_name()?.to_str()?.starts_with(start);
            let text = fs::read_to_string(&path).ok().filter(|_| named)?;
            Some((text.lines().count(), path, text))
        })
        .collect();
    files.sort();
    let (_, path, text) = files.into_iter().next()?;
    let language = match path.extension()?.to_str()? {
        "yml" => "yaml",
        other => other,
    };
    Some(Example {
        language: language.to_owned(),
        text: text.replace(&format!(" # finds {}", rule.id), " # <-"),
    })
}
