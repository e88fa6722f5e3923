//! The whole way: texts in, findings out.

use std::time::{Duration, Instant};

use crate::catalogue;
use crate::compose;
use crate::estate::{Document, Estate, Kind};
use crate::place::{FileId, Files, Place};
use crate::rule::{Case, Check, Finding, NotEvaluable, Rule, Sink};
use crate::workload::{Container, Workload};
use crate::yaml::{self, ReadYamlError};

/// What was read and could be understood.
#[derive(Debug, Default)]
pub struct Corpus {
    /// The texts.
    pub files: Files,
    /// The documents.
    pub documents: Vec<Document>,
    /// What could not be read, each with its place.
    pub errors: Vec<ReadError>,
    /// Documents that are nothing we know.
    pub not_evaluable: Vec<NotEvaluable>,
}

/// Something that could not be read. The rest is scanned all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The file, as it is named in reports.
    pub file: String,
    /// Where in it; line 0 for the whole file.
    pub place: Place,
    /// What is wrong and what to do.
    pub message: String,
}

/// Gives the text of a file that a document names, by its path from the document, or says why not.
pub(crate) type Beside<'beside> =
    dyn FnMut(&mut Files, &str) -> Result<(FileId, String), String> + 'beside;

impl Corpus {
    /// Reads a YAML or JSON text.
    pub fn add_yaml(&mut self, name: &str, text: &str) -> FileId {
        let file = self.files.add(name, text);
        let stream = yaml::read(file, text);
        for root in stream.documents {
            self.add_document(Document::of(file, root));
        }
        self.doubt(file, stream.doubts, stream.doubled);
        if let Some(error) = stream.error {
            if text.contains("{{") {
                self.not_evaluable.push(NotEvaluable {
                    rule: None,
                    place: error.place,
                    resource: String::new(),
                    message:
                        "a template that is not rendered yet: scan what `helm template` prints"
                            .to_owned(),
                });
            } else {
                self.errors.push(ReadError {
                    file: name.to_owned(),
                    place: error.place,
                    message: error.message,
                });
            }
        }
        file
    }

    /// Notes what other readers may read in a file: something else, or the same for all but one.
    pub(crate) fn doubt(
        &mut self,
        file: FileId,
        doubts: Vec<ReadYamlError>,
        doubled: Vec<ReadYamlError>,
    ) {
        let name = self.files.name(file).to_owned();
        self.errors.extend(doubts.into_iter().map(|one| ReadError {
            file: name.clone(),
            place: one.place,
            message: one.message,
        }));
        self.not_evaluable
            .extend(doubled.into_iter().map(|one| NotEvaluable {
                rule: None,
                place: one.place,
                resource: String::new(),
                message: one.message,
            }));
    }

    /// Takes a document; one of no known kind is said.
    pub fn add_document(&mut self, document: Document) {
        let nothing = "it was not among what was read";
        self.add_document_beside(document, &mut |_, _| Err(nothing.to_owned()));
    }

    /// Takes a document that may name others which stand beside it; `beside` gives their text.
    pub(crate) fn add_document_beside(&mut self, mut document: Document, beside: &mut Beside<'_>) {
        let files = &mut self.files;
        let text = &mut |path: &str| beside(files, path);
        let missing = match document.kind {
            Kind::Compose => compose::resolve::resolve(&mut document.root, text),
            Kind::DockerRun => compose::resolve::resolve_one(&mut document.root, text),
            _ => Vec::new(),
        };
        self.not_evaluable
            .extend(missing.into_iter().map(|one| NotEvaluable {
                rule: None,
                place: one.place,
                resource: String::new(),
                message: one.message,
            }));
        if document.kind == Kind::Unknown {
            self.not_evaluable.push(NotEvaluable {
                rule: None,
                place: document.root.place,
                resource: String::new(),
                message: "not a kind of document that is known here".to_owned(),
            });
        } else {
            self.documents.push(document);
        }
    }
}

/// What a scan says.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What is wrong, in the order of the files.
    pub findings: Vec<Finding>,
    /// What could not be told.
    pub not_evaluable: Vec<NotEvaluable>,
    /// Why not everything was judged; none when everything was.
    pub stopped: Option<String>,
}

impl Judgement {
    /// Whether there is still room and time; says why when there is not.
    fn goes_on(&mut self, started: Instant) -> bool {
        if self.stopped.is_some() {
            return false;
        }
        if self.findings.len() + self.not_evaluable.len() > MAX_TOLD {
            self.stopped = Some(format!(
                "not everything was judged: there is more than {MAX_TOLD} to say; scan it in parts"
            ));
        } else if started.elapsed() > MAX_TIME {
            self.stopped = Some(format!(
                "not everything was judged: it has taken more than {} seconds; scan it in parts",
                MAX_TIME.as_secs()
            ));
        }
        self.stopped.is_none()
    }
}

/// Judges everything in `estate` by every rule.
#[must_use]
pub fn judge(estate: &Estate<'_>) -> Judgement {
    let started = Instant::now();
    let mut judgement = Judgement::default();
    // Every rule names every container: the names are put together once.
    let titles: Vec<Titles> = estate.workloads.iter().map(Titles::of).collect();
    for rule in catalogue::all() {
        if judgement.goes_on(started) {
            judge_by(rule, estate, &titles, &mut judgement, started);
        }
    }
    judgement.findings.sort_by(|one, other| {
        (one.place, one.rule, &one.subject).cmp(&(other.place, other.rule, &other.subject))
    });
    judgement
        .not_evaluable
        .sort_by(|one, other| (one.place, one.rule).cmp(&(other.place, other.rule)));
    judgement.not_evaluable.dedup_by(|one, other| {
        (one.place, one.rule, &one.message) == (other.place, other.rule, &other.message)
    });
    judgement
}

/// What reports call a workload and its containers, in their order.
struct Titles {
    workload: String,
    containers: Vec<String>,
}

impl Titles {
    fn of(workload: &Workload<'_>) -> Self {
        let title = workload.resource.title();
        let container = |one: &Container<'_>| format!("{title}/{}", one.name);
        Self {
            containers: workload.containers.iter().map(container).collect(),
            workload: title,
        }
    }
}

fn judge_by(
    rule: &'static Rule,
    estate: &Estate<'_>,
    titles: &[Titles],
    into: &mut Judgement,
    started: Instant,
) {
    for check in rule.checks {
        // Looked at after each workload: one has a bounded number of containers worth speaking of.
        if let Check::Container(_) | Check::Workload(_) = check {
            for (workload, titles) in estate.workloads.iter().zip(titles) {
                if !into.goes_on(started) {
                    return;
                }
                by_workload(rule, check, (workload, titles), estate, into);
            }
            continue;
        }
        let mut sink = Sink::new(rule, &mut into.findings, &mut into.not_evaluable);
        match check {
            Check::Estate(look) => {
                sink.about("");
                look(estate, &mut sink);
            }
            Check::Container(_) | Check::Workload(_) => {}
            Check::Image(look) => each(Kind::ImageConfiguration, estate, *look, &mut sink),
            Check::Toolkit(look) => each(Kind::Toolkit, estate, *look, &mut sink),
            Check::Model(look) => each(Kind::Model, estate, *look, &mut sink),
        }
    }
}

fn by_workload(
    rule: &'static Rule,
    check: &Check,
    (workload, titles): (&Workload<'_>, &Titles),
    estate: &Estate<'_>,
    into: &mut Judgement,
) {
    let mut sink = Sink::new(rule, &mut into.findings, &mut into.not_evaluable);
    match check {
        Check::Container(look) => {
            for (container, title) in workload.containers.iter().zip(&titles.containers) {
                sink.about(title);
                let case = Case {
                    container,
                    workload,
                    estate,
                };
                look(&case, &mut sink);
            }
        }
        Check::Workload(look) => {
            sink.about(&titles.workload);
            look(workload, estate, &mut sink);
        }
        Check::Estate(_) | Check::Image(_) | Check::Toolkit(_) | Check::Model(_) => {}
    }
}

fn each(kind: Kind, estate: &Estate<'_>, look: fn(&Document, &mut Sink<'_>), sink: &mut Sink<'_>) {
    for document in estate.documents_of(kind) {
        sink.about(estate.files.name(document.file));
        look(document, sink);
    }
}

// A thousand manifests have some ten thousand.
const MAX_TOLD: usize = 50_000;
const MAX_TIME: Duration = Duration::from_secs(60);
