//! Reads texts: many at once, each into the documents it holds.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::beside::Beside;
use super::walk::{Text, reason};
use super::{cannot_tell, refuse};
use crate::estate::{Document, Kind};
use crate::place::FileId;
use crate::rule::NotEvaluable;
use crate::scan::{Corpus, ReadError};
use crate::yaml::{self, Budget, ReadYamlError, Stream};
use crate::{shell, toolkit};

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// YAML, and JSON with it.
    Yaml,
    /// A toolkit configuration.
    Toml,
    /// Lines for a shell.
    Script,
    /// Of no interest here: settings of another program.
    Other,
}

/// A text that was read and taken apart, but is not in the corpus yet.
struct Parsed {
    text: String,
    form: Form,
    result: Result<Stream, String>,
}

/// Reads files into the corpus, in their order.
pub(super) fn read(corpus: &mut Corpus, files: &[Text], started: Instant) {
    // One number for each, so that threads can place what they read; those that fail stay empty.
    let first = u32::try_from(corpus.files.iter().count()).unwrap_or(u32::MAX);
    let slots: Vec<Mutex<Option<Parsed>>> = files.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let total = AtomicU64::new(0);
    let budget = Budget::default();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(file), Some(slot)) = (files.get(index), slots.get(index)) else {
                return;
            };
            let id = FileId(first.saturating_add(u32::try_from(index).unwrap_or(u32::MAX)));
            let parsed = parse(file, id, &total, &budget, started);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(parsed);
        }
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(files.len() / FILES_PER_THREAD + 1) {
            scope.spawn(work);
        }
        work();
    });
    let parsed: Vec<Parsed> = slots
        .into_iter()
        .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    // All numbers are given before a document asks for a file beside it, which gets a number too.
    for (file, parsed) in files.iter().zip(&parsed) {
        corpus
            .files
            .add(&file.path.display().to_string(), &parsed.text);
    }
    for ((file, parsed), id) in files.iter().zip(parsed).zip((first..).map(FileId)) {
        let name = file.path.display().to_string();
        match parsed.result {
            Err(message) => refuse(corpus, &name, &message),
            Ok(_) if parsed.form == Form::Other => {}
            Ok(stream) => {
                let source = Source {
                    name: &name,
                    file: id,
                    text: &parsed.text,
                    named: file.named,
                };
                add(corpus, &source, parsed.form, stream, Some(&file.path));
            }
        }
    }
}

fn parse(file: &Text, id: FileId, total: &AtomicU64, budget: &Budget, started: Instant) -> Parsed {
    let failed = |message: String| Parsed {
        text: String::new(),
        form: Form::Yaml,
        result: Err(message),
    };
    if started.elapsed() > MAX_TIME {
        let message = format!(
            "not read: the scan has taken more than {} seconds",
            MAX_TIME.as_secs()
        );
        return failed(message);
    }
    let text = open(&file.path).and_then(|mut source| {
        let length = source.metadata().map_err(|error| reason(&error))?.len();
        take(&mut source, Some(length))
    });
    let text = match text {
        Ok(text) => text,
        Err(message) => return failed(message),
    };
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let form = form(&file.path, &text, file.named);
    if form != Form::Other
        && total
            .fetch_add(length, Ordering::Relaxed)
            .saturating_add(length)
            > MAX_TOTAL
    {
        return failed(format!("not read: more than {MAX_TOTAL} bytes in all"));
    }
    let result = Ok(match form {
        Form::Yaml => yaml::read_within(id, &text, budget),
        Form::Toml | Form::Script | Form::Other => Stream::default(),
    });
    // What is of no interest is not kept.
    let text = if form == Form::Other {
        String::new()
    } else {
        text
    };
    Parsed { text, form, result }
}

/// Opens a regular file. It was one when it was found; what was put in its place since is not waited for.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| reason(&error))?;
    let is_file = file.metadata().map_err(|error| reason(&error))?.is_file();
    is_file
        .then_some(file)
        .ok_or_else(|| "this is neither a file nor a folder".to_owned())
}

/// The whole of a text under the bound.
pub(super) fn take(source: &mut dyn Read, length: Option<u64>) -> Result<String, String> {
    let most = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX);
    if let Some(length) = length.filter(|length| *length > most) {
        return Err(format!(
            "the file has {length} bytes; at most {most} are read"
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length.unwrap_or(0)).unwrap_or(0));
    source
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    if bytes.len() > yaml::MAX_BYTES {
        return Err(format!(
            "there are more than {most} bytes; no more are read"
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        format!(
            "this is not UTF-8 text: byte {} is no part of a character",
            valid + 1
        )
    })
}

fn form(path: &Path, text: &str, named: bool) -> Form {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or("");
    let shown = path.to_string_lossy();
    match end {
        "toml" if named || toolkit::is_named(&shown) => Form::Toml,
        "toml" => Form::Other,
        "sh" | "bash" if named || starts_containers(text) => Form::Script,
        "sh" | "bash" => Form::Other,
        // Folders are full of settings in JSON; only what can be a document here is taken apart.
        "json" if !named && !KEYS.iter().any(|key| text.contains(key)) => Form::Other,
        "yaml" | "yml" | "json" => Form::Yaml,
        _ if toolkit::is_named(&shown) => Form::Toml,
        _ => guess(text),
    }
}

fn starts_containers(text: &str) -> bool {
    ["docker", "podman", "nerdctl"]
        .iter()
        .any(|program| text.contains(program))
}

/// What a text without a telling name is.
pub(super) fn guess(text: &str) -> Form {
    let start = text.trim_start();
    let programs = [
        "#!", "docker ", "podman ", "nerdctl ", "sudo ", "export ", "$ docker", "$ podman", "set -",
    ];
    if programs.iter().any(|program| start.starts_with(program)) {
        return Form::Script;
    }
    let mut lines = start.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    match first {
        Some(line) if line.starts_with("[nvidia-container") => Form::Toml,
        Some(line)
            if ["docker ", "podman ", "nerdctl ", "sudo ", "export "]
                .iter()
                .any(|program| line.starts_with(program)) =>
        {
            Form::Script
        }
        _ => Form::Yaml,
    }
}

/// Adds one text that is not a file of its own.
pub(super) fn add_text(corpus: &mut Corpus, name: &str, text: &str, form: Form) {
    let file = corpus.files.add(name, text);
    let stream = match form {
        Form::Yaml => yaml::read(file, text),
        Form::Toml | Form::Script | Form::Other => Stream::default(),
    };
    let source = Source {
        name,
        file,
        text,
        named: true,
    };
    add(corpus, &source, form, stream, None);
}

struct Source<'text> {
    name: &'text str,
    file: FileId,
    text: &'text str,
    named: bool,
}

fn add(corpus: &mut Corpus, source: &Source<'_>, form: Form, stream: Stream, path: Option<&Path>) {
    match form {
        Form::Yaml => yaml_stream(corpus, source, stream, path),
        Form::Toml => toml(corpus, source),
        Form::Script => script(corpus, source, path),
        Form::Other => {}
    }
}

fn yaml_stream(corpus: &mut Corpus, source: &Source<'_>, stream: Stream, path: Option<&Path>) {
    let mut beside = Beside::of(path);
    let is_json = source.name.ends_with(".json");
    for root in stream.documents {
        let document = Document::of(source.file, root);
        // In a folder, JSON that is nothing here belongs to somebody else.
        if document.kind == Kind::Unknown && is_json && !source.named {
            continue;
        }
        corpus.add_document_beside(document, &mut |files, path| beside.text(files, path));
    }
    corpus.doubt(source.file, stream.doubts, stream.doubled);
    if let Some(error) = stream.error {
        stopped(corpus, source, error);
    }
}

/// Reading ended before the text did.
fn stopped(corpus: &mut Corpus, source: &Source<'_>, error: ReadYamlError) {
    if source.text.contains("{{") && source.text.contains("}}") {
        corpus.not_evaluable.push(NotEvaluable {
            rule: None,
            place: error.place,
            resource: String::new(),
            message: "a template that is not rendered yet: scan what `helm template` prints"
                .to_owned(),
        });
        return;
    }
    corpus.errors.push(ReadError {
        file: source.name.to_owned(),
        place: error.place,
        message: error.message,
    });
}

fn toml(corpus: &mut Corpus, source: &Source<'_>) {
    match toolkit::read(source.file, source.text) {
        Ok(root) if toolkit::is_toolkit(&root) || toolkit::is_named(source.name) => {
            corpus.add_document(Document {
                kind: Kind::Toolkit,
                file: source.file,
                root,
            });
        }
        Ok(_) => cannot_tell(
            corpus,
            source.name,
            "not a configuration of the NVIDIA Container Toolkit",
        ),
        Err(error) => corpus.errors.push(ReadError {
            file: source.name.to_owned(),
            place: error.place,
            message: error.message,
        }),
    }
}

fn script(corpus: &mut Corpus, source: &Source<'_>, path: Option<&Path>) {
    if source.text.len() > MAX_SCRIPT {
        let message = format!(
            "the script has {} bytes; at most {MAX_SCRIPT} are read",
            source.text.len()
        );
        return refuse(corpus, source.name, &message);
    }
    let found = shell::read(source.file, source.text);
    if source.named && found.documents.is_empty() && found.missing.is_empty() {
        cannot_tell(corpus, source.name, "nothing in it starts a container");
    }
    let mut beside = Beside::of(path);
    for document in found.documents {
        corpus.add_document_beside(document, &mut |files, path| beside.text(files, path));
    }
    corpus.not_evaluable.extend(
        found
            .missing
            .into_iter()
            .map(|(place, message)| NotEvaluable {
                rule: None,
                place,
                resource: String::new(),
                message,
            }),
    );
}

/// One of these is in every JSON document that is known here.
const KEYS: &[&str] = &["\"apiVersion\"", "\"services\"", "\"rootfs\""];
const MAX_SCRIPT: usize = 2 * 1024 * 1024;
const MAX_TOTAL: u64 = 64 * 1024 * 1024;
pub(super) const MAX_TIME: Duration = Duration::from_secs(120);
const MAX_THREADS: usize = 8;
// A thread costs as much as a few files.
const FILES_PER_THREAD: usize = 8;
