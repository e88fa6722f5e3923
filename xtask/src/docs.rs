//! Checks what the documents refer to: files that are linked, and our own actions.
//!
//! That the commands of `casemate` are understood is tested beside its arguments, in `programs/cli`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::shell;

/// Fails on a link to a file or heading that is not there, and names each.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let pages = pages()?;
    for page in &pages {
        let text = fs::read_to_string(page)?;
        for link in links(&text) {
            if let Some(fault) = fault(page, link)? {
                faults.push(format!("{}: {link}: {fault}", shell::relative(page)));
            }
        }
    }
    if !faults.is_empty() {
        bail!("links that lead nowhere:\n{}", faults.join("\n"));
    }
    println!("links of {} documents lead somewhere", pages.len());
    Ok(())
}

/// The documents at the root, in `docs` and beside the examples.
fn pages() -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = shell::files(&shell::root().join("docs"), "md")?;
    pages.extend(shell::files(&shell::root().join("examples"), "md")?);
    for entry in fs::read_dir(shell::root())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
    Ok(pages)
}

/// What is wrong with a link; nothing for one to another host, which is not asked.
fn fault(page: &Path, link: &str) -> anyhow::Result<Option<String>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() {
        page.to_owned()
    } else {
        page.parent().context("a page in no directory")?.join(file)
    };
    if !target.exists() {
        return Ok(Some("no such file".to_owned()));
    }
    if heading.is_empty() || target.extension().is_none_or(|end| end != "md") {
        return Ok(None);
    }
    let text = fs::read_to_string(&target)?;
    let there = headings(&text).contains(heading);
    Ok((!there).then(|| "no such heading".to_owned()))
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Targets of `[words](target)`; code spans are no links.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    for line in prose(text) {
        // Every second part is a code span; a link's words may be one, its target is none.
        for part in line.split('`').step_by(2) {
            let mut rest = part;
            while let Some((_, after)) = rest.split_once("](") {
                let Some((target, more)) = after.split_once(')') else {
                    break;
                };
                links.push(target.split(' ').next().unwrap_or(target));
                rest = more;
            }
        }
    }
    links
}

/// The anchors that a renderer makes from headings.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .chars()
                .filter_map(|character| match character {
                    ' ' => Some('-'),
                    '-' | '_' => Some(character),
                    _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
                    _ => None,
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::{fault, headings, links, pages};

    #[test]
    fn links_are_read_outside_of_code() {
        let text = "[a](b.md) and [`c`](d/e.md#f) `[no](x)`\n```\n[no](y)\n```\n[g](h \"title\")";
        assert_eq!(links(text), ["b.md", "d/e.md#f", "h"]);
    }

    #[test]
    fn headings_become_anchors() {
        let anchors = headings("# See it in five minutes\n## 1. `up` & more\n```\n# no\n```\n");
        let anchors: Vec<String> = anchors.into_iter().collect();
        assert_eq!(anchors, ["1-up--more", "see-it-in-five-minutes"]);
    }

    #[test]
    fn a_link_to_nothing_is_a_fault() {
        let scratch = std::env::temp_dir().join(format!("casemate-docs-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let page = scratch.join("page.md");
        fs::write(&page, "# One\n").unwrap();
        assert_eq!(fault(&page, "#one").unwrap(), None);
        assert_eq!(fault(&page, "page.md#one").unwrap(), None);
        assert_eq!(fault(&page, "https://example.org/x").unwrap(), None);
        assert!(fault(&page, "#two").unwrap().is_some());
        assert!(fault(&page, "gone.md").unwrap().is_some());
        fs::remove_dir_all(&scratch).unwrap();
    }

    #[test]
    fn every_action_that_the_documents_name_is_one() {
        let mut tried = 0;
        for page in pages().unwrap() {
            let text = fs::read_to_string(&page).unwrap();
            for line in text.lines() {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                let line = line.strip_prefix("sudo ").unwrap_or(line);
                if !line.starts_with("cargo xtask ") {
                    continue;
                }
                let words = line
                    .split_whitespace()
                    .skip(1)
                    .take_while(|word| !word.starts_with('#') && *word != "&&");
                tried += 1;
                if let Err(error) = crate::Arguments::try_parse_from(words) {
                    panic!("{}: {line}\n{error}", page.display());
                }
            }
        }
        assert!(tried > 5, "only {tried} lines were found");
    }
}
