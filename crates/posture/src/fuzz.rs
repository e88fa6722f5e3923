//! Bodies of the fuzz targets, so that fuzzing and the tests on stable run the same lines.

pub use crate::model::fuzz::{
    fuzz_archive, fuzz_certificate, fuzz_gguf, fuzz_model_file, fuzz_pickle, fuzz_safetensors,
    fuzz_signature, fuzz_template,
};

use crate::estate::{Document, Estate, Kind};
use crate::node::Node;
use crate::place::{Files, Place};
use crate::scan::{Corpus, judge};
use crate::{environment_file, input, secrets, shell, toolkit, yaml};

/// Any text as a stream of documents: every value stands inside the text on its line, and every finding too.
pub fn fuzz_manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut corpus = Corpus::default();
    corpus.add_yaml("fuzz.yaml", text);
    check(&corpus);
}

/// Any text as a compose file, whatever its shape says.
pub fn fuzz_compose(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut corpus = Corpus::default();
    let file = corpus.files.add("compose.yaml", text);
    for root in yaml::read(file, text).documents {
        let kind = Kind::Compose;
        // Files beside it say the same text again.
        let beside =
            &mut |files: &mut Files, name: &str| Ok((files.add(name, text), text.to_owned()));
        corpus.add_document_beside(Document { kind, file, root }, beside);
    }
    check(&corpus);
}

/// Any text as a script.
pub fn fuzz_command_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut corpus = Corpus::default();
    let file = corpus.files.add("fuzz.sh", text);
    let script = shell::read(file, text);
    for (place, _) in &script.missing {
        check_place(&corpus.files, *place);
    }
    for document in script.documents {
        assert!(document.root.text_at("image").is_some() || document.root.get("image").is_none());
        corpus.add_document(document);
    }
    check(&corpus);
}

/// Any text as a file of variables.
pub fn fuzz_environment_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut files = Files::default();
    let file = files.add("fuzz.env", text);
    let mut variables = Vec::new();
    environment_file::read(file, text, &mut variables);
    for entry in &variables {
        check_place(&files, entry.place);
        check_place(&files, entry.value.place);
        assert_eq!(
            files.text(entry.place),
            entry.key,
            "a name stands elsewhere"
        );
    }
}

/// Any text as a toolkit configuration.
pub fn fuzz_toolkit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut corpus = Corpus::default();
    let file = corpus.files.add("config.toml", text);
    match toolkit::read(file, text) {
        Ok(root) => corpus.add_document(Document {
            kind: Kind::Toolkit,
            file,
            root,
        }),
        Err(error) => check_place(&corpus.files, error.place),
    }
    check(&corpus);
}

/// Any bytes as the documents of a layout: index, manifest and configuration, separated by zero bytes.
pub fn fuzz_image_layout(data: &[u8]) {
    let mut corpus = Corpus::default();
    let parts: Vec<&[u8]> = data.splitn(3, |byte| *byte == 0).collect();
    input::read_parts(&mut corpus, &parts);
    check(&corpus);
}

/// Any bytes as a layer.
pub fn fuzz_layer(data: &[u8]) {
    for path in input::paths_of_layer(data) {
        assert!(
            !path.split('/').any(|part| part == ".."),
            "a path leads out"
        );
        assert!(!path.starts_with('/'), "a path is absolute");
    }
}

/// Everything that was read is in its place, and judging it ends.
fn check(corpus: &Corpus) {
    for document in &corpus.documents {
        check_node(&corpus.files, &document.root);
    }
    for error in &corpus.errors {
        check_place(&corpus.files, error.place);
    }
    let estate = Estate::of(&corpus.files, &corpus.documents);
    for container in estate.workloads.iter().flat_map(|one| &one.containers) {
        for place in container.words.iter().map(|word| word.place) {
            check_place(&corpus.files, place);
        }
        for variable in &container.environment {
            check_place(&corpus.files, variable.place);
        }
    }
    let judgement = judge(&estate);
    for finding in &judgement.findings {
        check_place(&corpus.files, finding.place);
        assert!(!finding.message.is_empty(), "{} says nothing", finding.rule);
    }
}

fn check_node(files: &Files, root: &Node) {
    root.walk(&mut |node| {
        check_place(files, node.place);
        for entry in node.entries() {
            check_place(files, entry.place);
        }
    });
}

fn check_place(files: &Files, place: Place) {
    // Line 0 is the whole file.
    if place.line == 0 {
        return;
    }
    let text = files.get(place.file).map_or("", |file| &file.text);
    let start = usize::try_from(place.start).unwrap_or(usize::MAX);
    let end = usize::try_from(place.end).unwrap_or(usize::MAX);
    assert!(start <= end, "{place:?} ends before it starts");
    assert!(
        text.get(start..end).is_some(),
        "{place:?} is not in a text of {} bytes",
        text.len()
    );
    assert!(place.column >= 1, "{place:?} has no column");
}

/// Texts in which secrets are looked for: what is found starts inside, and is never repeated whole.
pub fn fuzz_secrets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for secret in [
        secrets::find(&text),
        secrets::in_lines(&text),
        secrets::in_value("HF_TOKEN", &text),
    ]
    .into_iter()
    .flatten()
    {
        assert!(text.is_char_boundary(secret.start), "starts in a character");
        assert!(secret.shown.chars().count() <= 80, "too much is shown");
    }
}

#[cfg(test)]
mod tests;
