//! Model folders as documents: what lies in them, told by headers, and nothing of it loaded.
//!
//! A folder becomes one document of kind `Model` whose members are facts for the rules: the files with their form
//! and what is wrong with them, the signature, the settings with their own places, and the chat templates. A file of
//! weights is read by its header only; of pickles at most 64 MiB are walked through.

use std::fs::{self, File};
use std::path::Path;

use crate::estate::{Document, Kind};
use crate::node::Node;
use crate::place::Place;
use crate::scan::{Corpus, ReadError};
use crate::yaml;

pub(crate) mod archive;
pub(crate) mod bytes;
mod certificate;
mod folder;
mod form;
pub(crate) mod fuzz;
pub(crate) mod gguf;
pub(crate) mod pickle;
pub(crate) mod safetensors;
mod signature;
pub(crate) mod template;
mod tree;

use self::folder::{Entry, What};

/// Whether a folder holds a model itself (not only folders that do).
#[must_use]
pub fn is_folder(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else {
        return false;
    };
    let mut sealed = 0;
    for entry in entries.flatten().take(MAX_LISTED) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let says_so = match name.as_str() {
            "config.json" => describes_a_model(&entry.path()),
            "config.pbtxt" | "model.sig" | "modelfile.json" => true,
            "header.json" | "key.age" | "tags" => {
                sealed += 1;
                sealed == 3
            }
            _ => form::is_weights_name(&name),
        };
        if says_so {
            return true;
        }
    }
    false
}

/// Whether `name` is that of a file which [`read_file`] takes.
#[must_use]
pub fn is_model_file(name: &str) -> bool {
    form::is_weights_name(name)
}

fn describes_a_model(config: &Path) -> bool {
    let short = fs::metadata(config).is_ok_and(|data| data.is_file() && data.len() <= MAX_SETTINGS);
    let text = if short {
        fs::read_to_string(config).unwrap_or_default()
    } else {
        String::new()
    };
    text.contains("\"model_type\"")
        || text.contains("\"architectures\"")
        || text.contains("\"auto_map\"")
}

/// Reads the folder `path` as one document.
pub fn read(corpus: &mut Corpus, path: &Path) {
    match folder::list(path) {
        Ok(entries) => describe(corpus, path, &entries, true),
        Err(error) => corpus.errors.push(ReadError {
            file: path.display().to_string(),
            place: Place::default(),
            message: error.to_string(),
        }),
    }
}

/// Reads the one file `path` of a model, as a document of its own.
pub fn read_file(corpus: &mut Corpus, path: &Path) {
    match folder::one(path) {
        Ok(entry) => describe(
            corpus,
            path.parent().unwrap_or(Path::new("")),
            &[entry],
            false,
        ),
        Err(error) => corpus.errors.push(ReadError {
            file: path.display().to_string(),
            place: Place::default(),
            message: error.to_string(),
        }),
    }
}

/// A place for what has no lines: the start of the file.
fn start_of(corpus: &mut Corpus, name: &str, text: &str) -> Place {
    Place {
        file: corpus.files.add(name, text),
        line: 1,
        column: 1,
        ..Place::default()
    }
}

fn describe(corpus: &mut Corpus, folder: &Path, entries: &[Entry], whole: bool) {
    let title = match (whole, entries.first()) {
        (false, Some(only)) => folder.join(&only.path).display().to_string(),
        _ => folder.display().to_string(),
    };
    let place = start_of(corpus, &title, "");
    let names: Vec<String> = entries
        .iter()
        .filter(|entry| {
            matches!(
                entry.what,
                What::File { .. } | What::Link { inside: true, .. }
            )
        })
        .map(|entry| entry.path.clone())
        .collect();
    let mut facts = Facts::default();
    for entry in entries {
        let own = if whole {
            folder.join(&entry.path).display().to_string()
        } else {
            title.clone()
        };
        facts.take(corpus, folder, entry, &own, place, &names);
    }
    let sealed = ["header.json", "key.age", "tags", "index", "data"]
        .iter()
        .all(|part| names.iter().any(|name| name == part));
    let root = tree::mapping(
        place,
        vec![
            ("folder", Some(tree::text(place, &*title))),
            ("whole", whole.then(|| tree::text(place, "yes"))),
            ("sealed", sealed.then(|| tree::text(place, "yes"))),
            ("files", Some(tree::list(place, facts.files))),
            ("settings", Some(tree::list(place, facts.settings))),
            ("templates", Some(tree::list(place, facts.templates))),
            ("signatures", Some(tree::list(place, facts.signatures))),
            ("license", facts.license),
            ("card", facts.card),
        ],
    );
    corpus.documents.push(Document {
        kind: Kind::Model,
        file: place.file,
        root,
    });
}

/// What is told about a folder.
#[derive(Default)]
struct Facts {
    files: Vec<Node>,
    settings: Vec<Node>,
    templates: Vec<Node>,
    signatures: Vec<Node>,
    license: Option<Node>,
    card: Option<Node>,
}

impl Facts {
    fn take(
        &mut self,
        corpus: &mut Corpus,
        folder: &Path,
        entry: &Entry,
        name: &str,
        root: Place,
        names: &[String],
    ) {
        let (size, executable) = match &entry.what {
            What::File { size, executable } => (*size, *executable),
            What::Link { target, inside } => {
                if !inside {
                    let place = start_of(corpus, name, "");
                    self.files.push(tree::mapping(
                        place,
                        vec![
                            ("path", Some(tree::text(place, &*entry.path))),
                            ("leaves", Some(tree::text(place, &**target))),
                        ],
                    ));
                    return;
                }
                let resolved = fs::metadata(folder.join(&entry.path));
                (resolved.map_or(0, |data| data.len()), false)
            }
            What::Other => return,
        };
        let path = folder.join(&entry.path);
        let Ok(mut file) = File::open(&path) else {
            corpus.errors.push(ReadError {
                file: name.to_owned(),
                place: Place::default(),
                message: "it cannot be read".to_owned(),
            });
            return;
        };
        let examined = form::examine(&mut file, size, &entry.path);
        let place = if examined.is_plain() {
            root
        } else {
            start_of(corpus, name, "")
        };
        self.examined(entry, &examined, executable, place);
        self.text(corpus, &path, &entry.path, name, size, names);
    }

    fn examined(
        &mut self,
        entry: &Entry,
        examined: &form::Examined,
        executable: bool,
        place: Place,
    ) {
        self.files.push(tree::mapping(
            place,
            vec![
                ("path", Some(tree::text(place, &*entry.path))),
                ("form", Some(tree::text(place, examined.form.as_str()))),
                ("executable", executable.then(|| tree::text(place, "yes"))),
                ("faults", Some(tree::texts(place, examined.faults.clone()))),
                (
                    "verdict",
                    examined.verdict.map(|verdict| tree::text(place, verdict)),
                ),
            ],
        ));
        for (key, text) in &examined.templates {
            self.templates.push(tree::mapping(
                place,
                vec![
                    ("of", Some(tree::text(place, &**key))),
                    ("text", Some(tree::text(place, &**text))),
                ],
            ));
        }
        if let Some(license) = &examined.license {
            self.license = Some(tree::text(place, &**license));
        }
    }

    /// What is written as text: settings, templates, cards and signatures.
    fn text(
        &mut self,
        corpus: &mut Corpus,
        path: &Path,
        inside: &str,
        name: &str,
        size: u64,
        names: &[String],
    ) {
        let base = inside.rsplit('/').next().unwrap_or(inside);
        let lower = base.to_ascii_lowercase();
        let ends = |end: &str| lower.ends_with(end);
        let is_signature = ends(".sig") || ends(".sigstore") || ends(".sigstore.json");
        let is_settings = ends(".json") && !SKIPPED.contains(&lower.as_str()) && !is_signature;
        let is_template = ends(".jinja") || ends(".jinja2");
        let is_license = ["license", "licence", "notice", "use_policy"]
            .iter()
            .any(|start| lower.starts_with(start));
        let is_card = lower == "readme.md" || lower == "modelcard.md" || lower == "model_card.md";
        if !(is_signature || is_settings || is_template || is_license || is_card)
            || size > MAX_SETTINGS
        {
            return;
        }
        let Ok(text) = fs::read_to_string(path) else {
            return;
        };
        let place = start_of(corpus, name, &text);
        let whole = Place {
            end: u32::try_from(text.len()).unwrap_or(u32::MAX),
            ..place
        };
        if is_signature {
            let now = time::OffsetDateTime::now_utc();
            let signature = signature::read(&text, inside, names, now);
            self.signatures.push(tree::mapping(
                place,
                vec![
                    ("path", Some(tree::text(place, inside))),
                    ("broken", Some(tree::texts(place, signature.broken))),
                    ("weak", Some(tree::texts(place, signature.weak))),
                    ("name", signature.name.map(|name| tree::text(place, name))),
                    ("root", signature.root.map(|root| tree::text(place, root))),
                ],
            ));
        } else if is_template {
            self.templates.push(tree::mapping(
                whole,
                vec![
                    ("of", Some(tree::text(place, inside))),
                    ("text", Some(tree::text(whole, text))),
                ],
            ));
        } else if is_license {
            self.license
                .get_or_insert_with(|| tree::text(place, inside));
        } else if is_card {
            self.card = Some(tree::text(place, inside));
            // The licence stands in the head of the card.
            let head = text
                .strip_prefix("---")
                .and_then(|rest| rest.split("\n---").next())
                .unwrap_or("");
            if let Some(license) = yaml::read(place.file, head)
                .documents
                .iter()
                .find_map(|head| head.text_at("license"))
            {
                self.license = Some(tree::text(place, license));
            }
        } else if let Some(document) = yaml::read(place.file, &text).documents.into_iter().next() {
            self.settings.push(tree::mapping(
                place,
                vec![
                    ("path", Some(tree::text(place, inside))),
                    ("document", Some(document)),
                ],
            ));
        }
    }
}

/// Large, and nothing in them is looked at.
const SKIPPED: &[&str] = &[
    "tokenizer.json",
    "vocab.json",
    "merges.json",
    "added_tokens.json",
];
const MAX_LISTED: usize = 2000;
const MAX_SETTINGS: u64 = 4 * 1024 * 1024;
