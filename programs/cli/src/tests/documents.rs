//! What the documents tell people to type is understood.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use crate::arguments::Arguments;

/// The README and the guide.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = fs::read_dir(root.join("docs/guide")).unwrap();
    let mut pages: Vec<PathBuf> = guide.map(|entry| entry.unwrap().path()).collect();
    pages.push(root.join("README.md"));
    pages.push(root.join("examples/chat/README.md"));
    pages.retain(|page| page.extension().is_some_and(|end| end == "md"));
    pages.sort();
    pages
}

/// The lines of commands in a page: of blocks that are shell or have no language, and, in
/// transcripts, those after `$ `. A line that ends in `\` goes on in the next.
fn lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut block: Option<String> = None;
    let mut open = String::new();
    for line in page.lines() {
        let fence = line.strip_prefix("```");
        match (&block, fence) {
            (None, Some(kind)) => {
                let language = kind.split([' ', ',']).next().unwrap_or_default();
                block = Some(language.to_owned());
            }
            (Some(_), Some(_)) => block = None,
            (Some(language), None) => {
                let typed = match language.as_str() {
                    "sh" | "" => Some(line),
                    "console" if open.is_empty() => line.strip_prefix("$ "),
                    "console" => Some(line),
                    _ => None,
                };
                match typed.map(|line| (line, line.strip_suffix('\\'))) {
                    Some((_, Some(more))) => open.push_str(more),
                    Some((line, None)) => lines.push(std::mem::take(&mut open) + line),
                    None => {}
                }
            }
            (None, None) => {}
        }
    }
    lines
}

/// The commands of a line, each as its words: what a shell would make of quotes, comments, pipes,
/// `&&` and redirections. No variables: an argument may be any text.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut redirected = false;
    let mut characters = line.chars().chain([' ']).peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | '&' | ';' | '(' | ')' | '>' | '<') => {
                // A number before a redirection is a descriptor, no argument.
                let descriptor = matches!(character, '>' | '<')
                    && word
                        .as_deref()
                        .is_some_and(|word| word.parse::<u8>().is_ok());
                if let Some(word) = word.take()
                    && !std::mem::take(&mut redirected)
                    && !descriptor
                {
                    commands.last_mut().unwrap().push(word);
                }
                match character {
                    '>' | '<' => {
                        redirected = true;
                        characters.next_if(|next| matches!(next, '&' | '>'));
                    }
                    ' ' => {}
                    _ => commands.push(Vec::new()),
                }
            }
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

#[test]
fn every_command_in_the_readme_and_the_guide_is_understood() {
    let mut tried = 0;
    let mut faults = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in lines(&text) {
            for words in commands(&line) {
                let Some(at) = words.iter().position(|word| {
                    !word.contains('=') && !["sudo", "time", "exec"].contains(&word.as_str())
                }) else {
                    continue;
                };
                if words[at] != "casemate" {
                    continue;
                }
                tried += 1;
                match Arguments::try_parse_from(&words[at..]) {
                    Err(error) if error.use_stderr() => {
                        faults.push(format!("{}: {line}\n{error}", page.display()));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tried > 40, "only {tried} commands were found");
}

#[test]
fn a_line_is_cut_into_commands_as_a_shell_would() {
    let cut = |line| {
        commands(line)
            .into_iter()
            .map(|words| words.join("+"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        cut("casemate up 'a b.yaml' && casemate status # now"),
        ["casemate+up+a b.yaml", "casemate+status"]
    );
    assert_eq!(
        cut("login | casemate login --token-file - > out 2>&1"),
        ["login", "casemate+login+--token-file+-"]
    );
    assert_eq!(
        cut("TICKET=$(casemate ticket exchange --stage redact)"),
        ["TICKET=$", "casemate+ticket+exchange+--stage+redact"]
    );
    assert_eq!(
        cut("casemate call a /b -d '{\"x\": 1}'"),
        ["casemate+call+a+/b+-d+{\"x\": 1}"]
    );
}

#[test]
fn lines_are_taken_from_shell_blocks_and_transcripts_only() {
    let page = "casemate no\n```sh\ncasemate a \\\n  b\n```\n```yaml\ncasemate: no\n```\n\
                ```console\n$ casemate c\nprinted\n```\n```\ncasemate d\n```\n";
    assert_eq!(lines(page), ["casemate a   b", "casemate c", "casemate d"]);
}
