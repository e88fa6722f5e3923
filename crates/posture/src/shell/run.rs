//! One command line as a compose service.

use std::ops::Range;

use super::flags::{self, Effect};
use super::words::{Reader, Word, assignment};
use crate::node::{Entry, Node, Style, Value, is_unresolved};
use crate::place::Place;

/// The service that a command starts; none when it starts no container.
pub(crate) fn service(words: &[Word], reader: &mut Reader<'_>) -> Option<Node> {
    let first = words.iter().position(|word| !is_before(word))?;
    let words = words.get(first..)?;
    let rest = after_run(words)?;
    let start = words.first()?.source.start;
    let end = words.last()?.source.end;
    let place = reader.positions.place(start, end);
    let mut service = Service {
        entries: Vec::new(),
        reader,
    };
    service.read(rest);
    // `docker run --help` and broken lines start nothing.
    let has_image = service.entries.iter().any(|entry| entry.key == "image");
    has_image.then_some(Node {
        place,
        value: Value::Mapping {
            entries: service.entries,
            flow: false,
        },
    })
}

/// What may stand before a program: assignments, programs that start others, words of the shell, a prompt.
fn is_before(word: &Word) -> bool {
    const BEFORE: &[&str] = &[
        "sudo", "exec", "time", "nohup", "env", "then", "do", "else", "if", "while", "until", "!",
        "{", "$", "-E", "-n", "command", "elif",
    ];
    assignment(word).is_some() || BEFORE.contains(&word.text.as_str())
}

/// The words behind `docker run`, `podman container run`, `docker --context x create`.
fn after_run(words: &[Word]) -> Option<&[Word]> {
    let (program, mut rest) = words.split_first()?;
    let name = program.text.rsplit('/').next()?;
    if !matches!(
        name,
        "docker" | "podman" | "nerdctl" | "nvidia-docker" | "nvidia-docker2" | "finch"
    ) {
        return None;
    }
    while let Some((word, more)) = rest.split_first() {
        match word.text.as_str() {
            "run" | "create" => return Some(more),
            "container" => rest = more,
            flag if flags::ENGINE.contains(&flag) => rest = more.get(1..)?,
            flag if flag.starts_with('-') => rest = more,
            _ => return None,
        }
    }
    None
}

struct Service<'reader, 'text> {
    entries: Vec<Entry>,
    reader: &'reader mut Reader<'text>,
}

/// A value of an option: bytes of a word, or the option itself for a switch.
struct Given<'words> {
    word: &'words Word,
    part: Range<usize>,
}

impl Given<'_> {
    fn text(&self) -> &str {
        self.word.text.get(self.part.clone()).unwrap_or("")
    }
}

impl Service<'_, '_> {
    fn read(&mut self, words: &[Word]) {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            let text = word.text.as_str();
            if text == "--" {
                self.image(words.get(at..).unwrap_or(&[]));
                return;
            } else if let Some(name) = text.strip_prefix("--") {
                at += self.long(name, word, words.get(at));
            } else if text.len() > 1 && text.starts_with('-') {
                at += self.short(word, words.get(at));
            } else if is_options_variable(word, words.get(at)) {
                let place = self.place(word.source.clone());
                let message = format!("`{text}` holds options that are not known here");
                self.reader.missing.push((place, message));
            } else if !text.is_empty() {
                self.image(words.get(at - 1..).unwrap_or(&[]));
                return;
            }
        }
    }

    /// Takes `--name`, `--name=value` or `--name value`; how many words more than one.
    fn long(&mut self, name: &str, word: &Word, next: Option<&Word>) -> usize {
        let (name, has_value) = match name.split_once('=') {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        let value_start = name.len() + 3;
        let Some((key, effect)) = flags::of(name) else {
            // Unknown to us: `--flag=value` for sure, otherwise taken for a switch.
            let place = self.place(word.source.clone());
            let message = format!("`--{name}` is no option that is known here");
            self.reader.missing.push((place, message));
            return 0;
        };
        if has_value {
            let part = value_start..word.text.len();
            self.take(key, effect, &Given { word, part });
            return 0;
        }
        if effect == Effect::Switch {
            self.switch(key, word);
            return 0;
        }
        if let Some(word) = next {
            let part = 0..word.text.len();
            self.take(key, effect, &Given { word, part });
        }
        1
    }

    /// Takes letters: `-it`, `-p 80:80`, `-p80:80`, `-dp 80:80`, `-e=A=b`.
    fn short(&mut self, word: &Word, next: Option<&Word>) -> usize {
        for (at, letter) in word.text.char_indices().skip(1) {
            let Some((key, effect)) = flags::long(letter).and_then(flags::of) else {
                return 0;
            };
            if effect == Effect::Switch {
                self.switch(key, word);
                continue;
            }
            let rest = word.text.get(at + 1..).unwrap_or("");
            if rest.is_empty() {
                if let Some(word) = next {
                    let part = 0..word.text.len();
                    self.take(key, effect, &Given { word, part });
                }
                return 1;
            }
            let skip = usize::from(rest.starts_with('='));
            let part = at + 1 + skip..word.text.len();
            self.take(key, effect, &Given { word, part });
            return 0;
        }
        0
    }

    fn place(&mut self, source: Range<usize>) -> Place {
        self.reader.positions.place(source.start, source.end)
    }

    fn switch(&mut self, key: &str, word: &Word) {
        let place = self.place(word.source.clone());
        let value = scalar(place, "true", false);
        self.entries.push(Entry {
            place,
            key: key.to_owned(),
            value,
        });
    }

    /// A node of some of a value's bytes.
    fn node(&mut self, word: &Word, part: Range<usize>) -> Node {
        let text = word.text.get(part.clone()).unwrap_or("").to_owned();
        let place = self.place(word.part(part));
        scalar(place, &text, word.quoted)
    }

    fn take(&mut self, key: &str, effect: Effect, given: &Given<'_>) {
        match effect {
            Effect::Ignored => {}
            // `--privileged=false` is a boolean although it is a word.
            Effect::Switch => {
                let place = self.place(given.word.part(given.part.clone()));
                let node = scalar(place, given.text(), false);
                self.one(key, node);
            }
            Effect::One => {
                let node = self.node(given.word, given.part.clone());
                self.one(key, node);
            }
            Effect::Many => {
                let node = self.node(given.word, given.part.clone());
                self.add(key, node);
            }
            Effect::Mount => {
                let node = self.mount(given);
                self.add(key, node);
            }
            Effect::Pair => self.pair(key, given),
        }
    }

    /// The last of several options wins.
    fn one(&mut self, key: &str, value: Node) {
        self.entries.retain(|entry| entry.key != key);
        self.entries.push(Entry {
            place: value.place,
            key: key.to_owned(),
            value,
        });
    }

    fn add(&mut self, key: &str, item: Node) {
        let place = item.place;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) {
            if let Value::Sequence { items, .. } = &mut entry.value.value {
                entry.value.place.end = place.end;
                items.push(item);
            }
            return;
        }
        self.entries.push(Entry {
            place,
            key: key.to_owned(),
            value: Node {
                place,
                value: Value::Sequence {
                    items: vec![item],
                    flow: false,
                },
            },
        });
    }

    fn pair(&mut self, key: &str, given: &Given<'_>) {
        let (start, end) = (given.part.start, given.part.end);
        let (name, value) = match given.text().split_once('=') {
            Some((name, _)) => (start..start + name.len(), Some(start + name.len() + 1..end)),
            None => (start..end, None),
        };
        let name_node = self.node(given.word, name);
        let name = name_node.text().unwrap_or("").to_owned();
        let value = match value {
            Some(value) => self.node(given.word, value),
            None => self.callers(&name, name_node.place),
        };
        let entry = Entry {
            place: name_node.place,
            key: name,
            value,
        };
        let place = name_node.place;
        let found = self.entries.iter_mut().find(|entry| entry.key == key);
        if let Some(Value::Mapping { entries, .. }) = found.map(|entry| &mut entry.value.value) {
            entries.retain(|one| one.key != entry.key);
            entries.push(entry);
            return;
        }
        self.entries.push(Entry {
            place,
            key: key.to_owned(),
            value: Node {
                place,
                value: Value::Mapping {
                    entries: vec![entry],
                    flow: false,
                },
            },
        });
    }

    /// What the caller has for a variable: the text that the script itself gave it, or nothing known.
    fn callers(&mut self, name: &str, place: Place) -> Node {
        let known = self.reader.variables.get(name).cloned();
        match known.filter(|known| !known.text.is_empty() && !is_unresolved(&known.text)) {
            Some(known) => {
                let place = self.place(known.source);
                scalar(place, &known.text, true)
            }
            None => scalar(place, "", false),
        }
    }

    /// `type=bind,source=/a,target=/b,readonly` as the long form of a volume.
    fn mount(&mut self, given: &Given<'_>) -> Node {
        let mut entries = Vec::new();
        let mut start = given.part.start;
        for part in given.text().split(',') {
            let end = start + part.len();
            let (name, value) = match part.split_once('=') {
                Some((name, _)) => (name, self.node(given.word, start + name.len() + 1..end)),
                None => {
                    let place = self.place(given.word.part(start..end));
                    (part, scalar(place, "true", false))
                }
            };
            let key = match name.trim() {
                "src" | "source" => "source",
                "dst" | "destination" | "target" => "target",
                "ro" | "readonly" => "read_only",
                other => other,
            };
            let value = match (key, value.text()) {
                // `readonly=1` means what `readonly` means.
                ("read_only", Some(text)) => {
                    let on = crate::workload::is_on(text);
                    scalar(value.place, if on { "true" } else { "false" }, false)
                }
                _ => value,
            };
            entries.push(Entry {
                place: value.place,
                key: key.to_owned(),
                value,
            });
            start = end + 1;
        }
        Node {
            place: self.place(given.word.part(given.part.clone())),
            value: Value::Mapping {
                entries,
                flow: false,
            },
        }
    }

    /// The image and what it is told to run.
    fn image(&mut self, words: &[Word]) {
        let Some((image, command)) = words.split_first() else {
            return;
        };
        let node = self.node(image, 0..image.text.len());
        self.one("image", node);
        for word in command {
            let node = self.node(word, 0..word.text.len());
            self.add("command", node);
        }
    }
}

/// Whether a word is a variable that nobody knows and that holds options: an option of the engine follows it.
fn is_options_variable(word: &Word, next: Option<&Word>) -> bool {
    let whole = word.text.starts_with("${") && word.text.find('}') == Some(word.text.len() - 1);
    let name = |word: &Word| {
        let text = word.text.strip_prefix("--")?;
        Some(
            text.split_once('=')
                .map_or(text, |(name, _)| name)
                .to_owned(),
        )
    };
    let is_option = |word: &Word| {
        name(word).is_some_and(|name| flags::of(&name).is_some())
            || matches!(
                word.text.as_str(),
                "-e" | "-v" | "-p" | "-it" | "-d" | "-ti" | "-u" | "-w"
            )
    };
    whole && (word.text.contains("[@]") || next.is_some_and(is_option))
}

fn scalar(place: Place, text: &str, quoted: bool) -> Node {
    let style = if quoted { Style::Quoted } else { Style::Plain };
    Node {
        place,
        value: Value::Scalar {
            text: text.to_owned(),
            style,
        },
    }
}
