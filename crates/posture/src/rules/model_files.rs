//! What the files of a model do when they are loaded: pickles, broken headers, templates, code.

use crate::estate::Document;
use crate::model::template;
use crate::node::Node;
use crate::place::Place;
use crate::rule::{Check, Group, Rule, Severity, Sink};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-065",
        title: "unsafe copy of weights that are there as safetensors too",
        group: Group::Weights,
        severity: Severity::High,
        why: "Loading a pickle runs what its author wrote. A loader that falls back to it, by an option, an older \
              version or a missing file, runs code where data would have done.",
        fix: "Delete the copy: the safetensors file holds the same tensors and can run nothing.",
        maps: &["LLM03", "AML.T0011.000", "AML.M0016"],
        checks: &[Check::Model(unsafe_copy)],
    },
    Rule {
        id: "AI-066",
        title: "loading the file runs code, or nobody can say",
        group: Group::Weights,
        severity: Severity::Critical,
        why: "The interpreter obeys a pickle while it reads it: before the first tensor is there, the author's code has \
              run with the server's rights, keys and network.",
        fix: "Do not load it. Convert the weights to safetensors where nothing can be lost, and keep the result.",
        maps: &["AML.T0011.000", "LLM03", "T1059.006", "AML.T0018.002"],
        checks: &[Check::Model(pickles)],
    },
    Rule {
        id: "AI-067",
        title: "weights whose header is not as the format says",
        group: Group::Weights,
        severity: Severity::High,
        why: "Loaders trust the sizes in a header. Where they do not fit the file, a native loader writes or reads beyond \
              its memory, and two loaders of one file see different models.",
        fix: "Do not load it; fetch the file again and compare its digest, or have it written anew by its author.",
        maps: &[
            "AML.T0076",
            "LLM03",
            "T1203",
            "CVE-2026-7482",
            "CVE-2026-27940",
        ],
        checks: &[Check::Model(malformed)],
    },
    Rule {
        id: "AI-068",
        title: "chat template that reaches for the interpreter",
        group: Group::Weights,
        severity: Severity::High,
        why: "A chat template is code that the server runs for each request. With attributes of the interpreter in it, \
              it leaves the template's sandbox and runs commands, or changes what users are told.",
        fix: "Serve with a template of your own (`--chat-template`), and report the model.",
        maps: &["AML.T0018.002", "CVE-2024-34359", "LLM03"],
        checks: &[Check::Model(templates)],
    },
    Rule {
        id: "AI-069",
        title: "model that brings its own code",
        group: Group::Weights,
        severity: Severity::Medium,
        why: "`auto_map` and Python files beside weights are code of the model's author. Servers run it when they trust \
              remote code, and some versions ran it when they were told not to.",
        fix: "Read the code, sign the folder with it, and serve with remote code switched off where the architecture is \
              known to the server.",
        maps: &["AML.T0011", "LLM03", "CVE-2026-22807"],
        checks: &[Check::Model(own_code)],
    },
    Rule {
        id: "AI-070",
        title: "program, library, script or stray link among the weights",
        group: Group::Weights,
        severity: Severity::High,
        why: "A library in a model repository is loaded by the server, a script is one `source` away, and a link out of \
              the folder makes the server read (or the next download overwrite) a file of the host.",
        fix: "Take it out. What a server needs beside weights belongs in its image, where it is signed and scanned.",
        maps: &["AML.T0018.002", "AML.T0011.000", "T1574"],
        checks: &[Check::Model(programs)],
    },
];

fn files(document: &Document) -> impl Iterator<Item = (&Node, &str)> {
    document
        .root
        .list("files")
        .iter()
        .filter_map(|file| Some((file, file.text_at("path")?)))
}

fn form(file: &Node) -> &str {
    file.text_at("form").unwrap_or("")
}

fn faults(file: &Node) -> String {
    let all: Vec<&str> = file.list("faults").iter().filter_map(Node::text).collect();
    all.join("; ")
}

fn unsafe_copy(document: &Document, sink: &mut Sink<'_>) {
    let Some((_, twin)) = files(document).find(|(file, _)| form(file) == "safetensors") else {
        return;
    };
    for (file, path) in files(document) {
        let base = path.rsplit('/').next().unwrap_or(path);
        // Settings of a training run are no weights, and are judged as what they are by the next rule.
        let weights = !base.starts_with("training_args")
            && !base.starts_with("optimizer")
            && !base.starts_with("scheduler");
        if matches!(form(file), "pickle" | "hdf5") && weights {
            let message = format!(
                "`{path}` is loaded by running it, and `{twin}` holds weights that are not"
            );
            sink.find(file.place, format!("file {path}"), message)
                .fix(format!(
                    "Delete `{path}`, and check that the server loads `{twin}`."
                ));
        }
    }
}

fn pickles(document: &Document, sink: &mut Sink<'_>) {
    for (file, path) in files(document) {
        let (severity, what) = match file.text_at("verdict") {
            Some("attack") => (Severity::Critical, "runs code when it is loaded"),
            Some("unsafe") => (
                Severity::High,
                "calls what is not known to be harmless when it is loaded",
            ),
            Some("not analysable") => (
                Severity::High,
                "cannot be followed to its end, so nobody can say what loading it does",
            ),
            _ => continue,
        };
        let message = format!("`{path}` {what}: {}", faults(file));
        sink.find(file.place, format!("file {path}"), message)
            .severity(severity);
    }
}

fn malformed(document: &Document, sink: &mut Sink<'_>) {
    for (file, path) in files(document) {
        if matches!(form(file), "safetensors" | "gguf") && !file.list("faults").is_empty() {
            let message = format!("`{path}` is broken: {}", faults(file));
            sink.find(file.place, format!("file {path}"), message);
        }
    }
    for (path, settings) in settings(document) {
        if !path.ends_with(".index.json") {
            continue;
        }
        for entry in settings.get("weight_map").map_or(&[][..], Node::entries) {
            let target = entry.value.text().unwrap_or("");
            if target.starts_with('/') || target.split('/').any(|part| part == "..") {
                let message = format!(
                    "`{path}` says that `{}` is in `{target}`, outside the model's folder",
                    entry.key
                );
                sink.find(entry.value.place, format!("index {path}"), message);
                break;
            }
        }
    }
}

/// The settings of a model by their paths.
fn settings(document: &Document) -> impl Iterator<Item = (&str, &Node)> {
    document
        .root
        .list("settings")
        .iter()
        .filter_map(|one| Some((one.text_at("path")?, one.get("document")?)))
}

fn templates(document: &Document, sink: &mut Sink<'_>) {
    for one in document.root.list("templates") {
        let of = one.text_at("of").unwrap_or("");
        if let Some(text) = one.get("text") {
            judge(of, text, sink);
        }
    }
    for (path, settings) in settings(document) {
        let Some(template) = settings.get("chat_template") else {
            continue;
        };
        judge(path, template, sink);
        // Several templates, each with a name; or by name.
        for item in template.items() {
            if let Some(text) = item.get("template") {
                judge(path, text, sink);
            }
        }
        for entry in template.entries() {
            judge(path, &entry.value, sink);
        }
    }
}

fn judge(of: &str, node: &Node, sink: &mut Sink<'_>) {
    let Some(text) = node.text() else {
        return;
    };
    let gadgets = template::gadgets(text);
    let Some((start, _)) = gadgets.first() else {
        return;
    };
    let what: Vec<&str> = gadgets.iter().map(|(_, what)| what.as_str()).collect();
    let message = format!("the chat template of `{of}` uses {}", what.join(", "));
    // A template that is a file of its own is shown by its line.
    let whole_file = node.place.start == 0 && node.place.end > 0;
    let place = if whole_file {
        line_in(node.place, text, *start)
    } else {
        node.place
    };
    sink.find(place, format!("template {of}"), message);
}

fn line_in(place: Place, text: &str, start: usize) -> Place {
    let before = text.get(..start).unwrap_or("");
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Place {
        line: small(before.matches('\n').count() + 1),
        column: small(column),
        start: small(start),
        end: small(start.saturating_add(1)),
        ..place
    }
}

fn own_code(document: &Document, sink: &mut Sink<'_>) {
    for (path, settings) in settings(document) {
        if let Some(entry) = settings.entry("auto_map") {
            let classes: Vec<&str> = entry
                .value
                .entries()
                .iter()
                .filter_map(|one| one.value.text())
                .take(3)
                .collect();
            let message = format!(
                "`auto_map` of `{path}` names code to run: {}",
                classes.join(", ")
            );
            sink.find(entry.place, format!("auto_map {path}"), message);
        }
        if let Some(entry) = settings.entry("_target_") {
            let message = format!(
                "`_target_` of `{path}` names a function to call: `{}`",
                entry.value.text().unwrap_or("?")
            );
            sink.find(entry.value.place, format!("_target_ {path}"), message);
        }
    }
    for (file, path) in files(document) {
        if form(file) == "python" {
            let message = format!(
                "`{path}` is code beside the weights, which whoever loads the model may run"
            );
            sink.find(file.place, format!("file {path}"), message);
        }
    }
}

fn programs(document: &Document, sink: &mut Sink<'_>) {
    for (file, path) in files(document) {
        if let Some(target) = file.text_at("leaves") {
            let message = format!("`{path}` is a link to `{target}`, outside the model's folder");
            sink.find(file.place, format!("link {path}"), message);
            continue;
        }
        let what = match form(file) {
            "program" => "a program or library",
            "script" => "a script",
            _ => continue,
        };
        let ready = if file.get("executable").is_some() {
            ", ready to be run"
        } else {
            ""
        };
        let message = format!("`{path}` is {what} among the weights{ready}");
        sink.find(file.place, format!("file {path}"), message);
    }
}
