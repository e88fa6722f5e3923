//! The guide about scanning says what happens: its commands are run, and what it shows is what they print.

#![expect(
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on stops"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command of the guide and the lines that it shows.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(guide: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, _) => match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                None => steps.last_mut().unwrap().shown.push(line.to_owned()),
            },
            (false, _) => {}
        }
    }
    steps
}

/// Whether a shown line is what was printed; `…` stands for anything.
fn same(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

/// Whether the lines shown are those printed; a line of `…` stands for any number of lines.
fn all_same(shown: &[String], printed: &[&str]) -> bool {
    match (shown.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((first, rest)), None) => first == "…" && all_same(rest, &[]),
        (None, Some(_)) => false,
        (Some((first, rest)), Some((_, more))) if first == "…" => {
            all_same(rest, printed) || all_same(shown, more)
        }
        (Some((first, rest)), Some((line, more))) => same(first, line) && all_same(rest, more),
    }
}

#[test]
fn the_guide_shows_what_its_commands_print() {
    let guide = fs::read_to_string(root().join("docs/guide/scan.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let examples = folder.path().join("examples/scan");
    fs::create_dir_all(&examples).unwrap();
    for file in fs::read_dir(root().join("examples/scan")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), examples.join(file.file_name())).unwrap();
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_casemate")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let steps = steps(&guide);
    assert!(steps.len() > 10, "the guide has {} commands", steps.len());
    let mut code = 0;
    for step in &steps {
        let printed = if step.command == "echo $?" {
            format!("{code}\n")
        } else {
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!("{} 2>&1", step.command))
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", &path)
                .env("CASEMATE_HOME", folder.path())
                .output()
                .unwrap();
            code = output.status.code().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let lines: Vec<&str> = printed.lines().collect();
        assert!(
            all_same(&step.shown, &lines),
            "`{}` printed\n{printed}\nand the guide shows\n{}",
            step.command,
            step.shown.join("\n")
        );
    }
}

#[test]
fn a_line_is_compared_but_for_what_is_left_out() {
    assert!(same("a … c", "a b c") && same("a…", "a") && same("a", "a"));
    assert!(!same("a … c", "a b d") && !same("a", "ab") && !same("…b", "a"));
    let shown = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    assert!(all_same(&shown(&["a", "…", "d"]), &["a", "b", "c", "d"]));
    assert!(!all_same(&shown(&["a", "…", "d"]), &["a", "b", "c"]));
    assert!(!all_same(&shown(&["a"]), &["a", "b"]));
}
