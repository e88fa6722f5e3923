//! Command lines as words: what a shell would start, seen without a shell.

/// The words of a command; where a shell is given a script, the words of the script as well. This is
/// reading, not running: what a script computes is not known.
pub(super) fn words(command: &[String]) -> Vec<String> {
    commands(command).into_iter().flatten().collect()
}

/// The commands in a command line: itself, and those of a script that a shell is given.
pub(super) fn commands(command: &[String]) -> Vec<Vec<String>> {
    let mut all = vec![bare(command)];
    let mut before: Option<&str> = None;
    for word in command {
        if before.is_none_or(takes_script) && word.trim().contains(char::is_whitespace) {
            for command in script_commands(word) {
                // What `eval` is given is a script once more; one level is what people write.
                match command.split_first() {
                    Some((first, rest)) if first == "eval" => {
                        all.extend(script_commands(&rest.join(" ")).iter().map(|one| bare(one)));
                    }
                    _ => all.push(bare(&command)),
                }
            }
        }
        before = Some(word);
    }
    all.retain(|command| !command.is_empty());
    all
}

/// Whether the word behind `word` is a script, as behind the flag of `sh -c` and `bash -euxc`.
fn takes_script(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|letters| {
        letters.ends_with('c') && letters.bytes().all(|byte| byte.is_ascii_lowercase())
    })
}

/// The command behind assignments and programs that only start another.
fn bare(words: &[String]) -> Vec<String> {
    let starts = |word: &String| {
        let name = base_name(word);
        is_assignment(word) || STARTERS.contains(&name) || word == "--"
    };
    let mut rest: Vec<String> = words
        .iter()
        .skip_while(|word| starts(word))
        .cloned()
        .collect();
    // `python3 -u -m module` is `python -m module`.
    let is_python = rest.first().is_some_and(|word| {
        base_name(word)
            .strip_prefix("python")
            .is_some_and(|version| {
                version
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
            })
    });
    if is_python {
        let module = rest.iter().position(|word| word == "-m");
        let flags = module.unwrap_or(0);
        if rest
            .iter()
            .take(flags)
            .skip(1)
            .all(|word| word.starts_with('-'))
            && flags > 1
        {
            rest.drain(1..flags);
        }
        if let Some(program) = rest.first_mut() {
            "python".clone_into(program);
        }
    }
    rest
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        name.bytes().next().is_some_and(start)
            && name
                .bytes()
                .all(|byte| start(byte) || byte.is_ascii_digit())
    })
}

/// A program's name without its directory.
pub(super) fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The commands of a script, split at what ends one. Quotes are followed; `$(...)` is left as it stands.
fn script_commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = script.chars().peekable();
    let push = |word: &mut String, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('"'), '\\') => match characters.next() {
                Some('\n') | None => {}
                Some(next) => word.push(next),
            },
            (None, '\'' | '"') => quote = Some(character),
            (None, '\\') => match characters.next() {
                // A line goes on behind a backslash.
                Some('\n') | None => {}
                Some(next) => word.push(next),
            },
            (None, ';' | '&' | '|' | '\n' | '(' | ')') if !word.ends_with('$') => {
                push(&mut word, &mut words);
                commands.push(std::mem::take(&mut words));
            }
            (None, '#') if word.is_empty() => {
                while characters.next_if(|character| *character != '\n').is_some() {}
            }
            (None, _) if character.is_whitespace() => push(&mut word, &mut words),
            _ => word.push(character),
        }
    }
    push(&mut word, &mut words);
    commands.push(words);
    commands
}

/// Programs and words that start the command behind them.
const STARTERS: [&str; 22] = [
    "env",
    "exec",
    "nohup",
    "time",
    "nice",
    "setsid",
    "sudo",
    "tini",
    "dumb-init",
    "catatonit",
    "then",
    "do",
    "else",
    "if",
    "while",
    "stdbuf",
    "nsys",
    "nvidia_entrypoint.sh",
    "uv",
    "run",
    "-s",
    "-g",
];
