//! Applies the changes of findings to the texts of files, and touches nothing else.
//!
//! A change is an edit of a few bytes, so comments, order and formatting stay as they are. What was edited is
//! read and judged again: an edit that breaks its file or leaves its finding where it was is taken back and
//! said. Files are only written by [`write`], never here.

use std::collections::{BTreeMap, BTreeSet};

use crate::estate::{Document, Estate, Kind};
use crate::place::{FileId, Files};
use crate::rule::Finding;
use crate::scan::{Corpus, judge};
use crate::yaml;

mod comments;
mod edit;
mod grown;
mod plan;
mod remove;
mod text;
pub mod write;

pub use self::edit::Edit;

/// What came of it.
#[derive(Debug, Default)]
pub struct Fixed {
    /// The files that changed, in the order in which they were read.
    pub files: Vec<FixedFile>,
    /// The findings that are gone.
    pub applied: Vec<Touched>,
    /// The findings whose change could not be made.
    pub left: Vec<Left>,
}

/// One file before and after.
#[derive(Clone, Debug)]
pub struct FixedFile {
    /// Its name, as it was given.
    pub name: String,
    /// What stood in it.
    pub before: String,
    /// What stands in it now.
    pub after: String,
}

/// A finding by what stays of it when lines move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// The rule.
    pub rule: &'static str,
    /// The file.
    pub file: String,
    /// Whose finding it is.
    pub resource: String,
    /// What it is about.
    pub subject: String,
}

/// A change that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The finding.
    pub finding: Touched,
    /// Where it stands.
    pub line: u32,
    /// Why.
    pub reason: String,
}

/// Applies the changes of every finding that `wanted` picks.
///
/// Changes that get in each other's way are made one after the other, the first finding first.
#[must_use]
pub fn fix(corpus: &Corpus, wanted: &dyn Fn(&Finding) -> bool) -> Fixed {
    let mut now = copy(corpus, &BTreeMap::new());
    let mut applied: Vec<Touched> = Vec::new();
    let mut refused: BTreeMap<Touched, (u32, String)> = BTreeMap::new();
    for _ in 0..MOST_ROUNDS {
        let Round { next, done, failed } = round(&now, wanted, &refused);
        refused.extend(failed);
        applied.extend(done);
        match next {
            Some(next) => now = next,
            None => break,
        }
    }
    let files = corpus
        .files
        .iter()
        .filter_map(|(id, file)| {
            let after = now.files.get(id)?;
            (after.text != file.text).then(|| FixedFile {
                name: file.name.to_string(),
                before: file.text.to_string(),
                after: after.text.to_string(),
            })
        })
        .collect();
    let left = refused
        .into_iter()
        .map(|(finding, (line, reason))| Left {
            finding,
            line,
            reason,
        })
        .collect();
    Fixed {
        files,
        applied,
        left,
    }
}

/// The edits of one finding alone, against the texts as they are; none when it has no change that can be made.
#[must_use]
pub fn edits(corpus: &Corpus, finding: &Finding) -> Option<Vec<Edit>> {
    if !is_possible(corpus, finding) {
        return None;
    }
    let plan = plan::plan(corpus, &[(0, &finding.changes)]);
    plan.refused.is_empty().then_some(plan.edits)
}

/// Whether a finding has a change that can be tried.
#[must_use]
pub fn is_possible(corpus: &Corpus, finding: &Finding) -> bool {
    !finding.changes.is_empty() && unfit(corpus, finding).is_none()
}

/// What one round did.
struct Round {
    /// The corpus with the edits in it; none when nothing could be edited.
    next: Option<Corpus>,
    done: Vec<Touched>,
    failed: Vec<(Touched, (u32, String))>,
}

fn round(
    now: &Corpus,
    wanted: &dyn Fn(&Finding) -> bool,
    refused: &BTreeMap<Touched, (u32, String)>,
) -> Round {
    let findings: Vec<Finding> = judge(&Estate::of(&now.files, &now.documents)).findings;
    let before = counted(&now.files, &findings);
    let mut failed: Vec<(Touched, (u32, String))> = Vec::new();
    let mut candidates: Vec<usize> = Vec::new();
    for (at, finding) in findings.iter().enumerate() {
        let touched = touched(&now.files, finding);
        if finding.changes.is_empty() || !wanted(finding) || refused.contains_key(&touched) {
            continue;
        }
        match unfit(now, finding) {
            Some(reason) => failed.push((touched, (finding.place.line, reason))),
            None => candidates.push(at),
        }
    }
    let mut candidates = plan::by_worst(&findings, candidates);
    let mut waiting: Vec<(Touched, (u32, String))> = Vec::new();
    while !candidates.is_empty() {
        let changes: Vec<_> = candidates
            .iter()
            .filter_map(|at| Some((*at, findings.get(*at)?.changes.as_slice())))
            .collect();
        let plan = plan::plan(now, &changes);
        let named = |at: usize| {
            findings
                .get(at)
                .map(|finding| (touched(&now.files, finding), finding.place.line))
        };
        waiting.clear();
        for (at, reason) in &plan.refused {
            waiting.extend(named(*at).map(|(who, line)| (who, (line, reason.clone()))));
        }
        if plan.accepted.is_empty() {
            break;
        }
        let tried = attempt(now, &plan.edits);
        let bad = match &tried {
            Err(Broken { file, reason }) => spoiling(&plan, *file, reason),
            Ok(next) => {
                let after = judge(&Estate::of(&next.files, &next.documents)).findings;
                ineffective(
                    &now.files,
                    &findings,
                    &plan.accepted,
                    &before,
                    &counted(&next.files, &after),
                )
            }
        };
        if bad.is_empty() {
            let done = plan
                .accepted
                .iter()
                .filter_map(|at| Some(named(*at)?.0))
                .collect();
            // Whatever had to wait is tried again in the next round, against the new text.
            return Round {
                next: tried.ok(),
                done,
                failed,
            };
        }
        for (at, reason) in bad {
            failed.extend(named(at).map(|(who, line)| (who, (line, reason))));
            candidates.retain(|candidate| *candidate != at);
        }
    }
    failed.extend(waiting);
    Round {
        next: None,
        done: Vec::new(),
        failed,
    }
}

/// Why the changes of a finding cannot be made at all.
fn unfit(corpus: &Corpus, finding: &Finding) -> Option<String> {
    for change in &finding.changes {
        let file = change.file();
        let kinds: Vec<Kind> = corpus
            .documents
            .iter()
            .filter(|document| document.file == file)
            .map(|document| document.kind)
            .collect();
        let reason = if kinds.contains(&Kind::DockerRun) {
            "a command line is changed by hand"
        } else if kinds.is_empty() {
            "the value stands in a file that is only referred to"
        } else if kinds
            .iter()
            .any(|kind| matches!(kind, Kind::ImageConfiguration | Kind::Model | Kind::Unknown))
        {
            "an image or a model is built again, not edited"
        } else {
            continue;
        };
        return Some(reason.to_owned());
    }
    None
}

struct Broken {
    file: FileId,
    reason: String,
}

/// The corpus with the edits made, when every edited file still reads as the same number of documents and has
/// all its comments.
fn attempt(now: &Corpus, edits: &[Edit]) -> Result<Corpus, Broken> {
    let mut texts: BTreeMap<FileId, String> = BTreeMap::new();
    let files: BTreeSet<FileId> = edits.iter().map(|edit| edit.file).collect();
    for file in files {
        let text = now.files.get(file).map_or("", |file| &file.text);
        let own: Vec<&Edit> = edits.iter().filter(|edit| edit.file == file).collect();
        let edited = edit::apply(text, &own).ok_or_else(|| Broken {
            file,
            reason: "its edits do not fit the file".to_owned(),
        })?;
        texts.insert(file, edited);
    }
    let next = copy(now, &texts);
    for (file, text) in &texts {
        let documents = |corpus: &Corpus| {
            let own = corpus
                .documents
                .iter()
                .filter(|document| document.file == *file);
            own.count()
        };
        let broken = |reason: &str| Broken {
            file: *file,
            reason: reason.to_owned(),
        };
        if documents(&next) != documents(now) {
            return Err(broken("the file would no longer read as it did"));
        }
        let old = now.files.get(*file).map_or("", |file| &file.text);
        if !comments::kept(old, text) {
            return Err(broken("a comment would be lost"));
        }
    }
    Ok(next)
}

/// Everything again, with the given texts in place of what stood in their files.
fn copy(corpus: &Corpus, texts: &BTreeMap<FileId, String>) -> Corpus {
    let mut copy = Corpus::default();
    for (id, file) in corpus.files.iter() {
        copy.files.add(
            &file.name,
            texts.get(&id).map_or(&file.text, String::as_str),
        );
    }
    let mut read: BTreeSet<FileId> = BTreeSet::new();
    for document in &corpus.documents {
        match texts.get(&document.file) {
            None => copy.documents.push(document.clone()),
            Some(text) => {
                if read.insert(document.file) {
                    read_again(&mut copy, document, text);
                }
            }
        }
    }
    copy
}

fn read_again(corpus: &mut Corpus, old: &Document, text: &str) {
    if old.kind == Kind::Toolkit {
        if let Ok(root) = crate::toolkit::read(old.file, text) {
            corpus.documents.push(Document {
                kind: Kind::Toolkit,
                file: old.file,
                root,
            });
        }
        return;
    }
    let stream = yaml::read(old.file, text);
    if stream.error.is_some() {
        return;
    }
    let folder = corpus
        .files
        .name(old.file)
        .rsplit_once('/')
        .map_or_else(String::new, |(folder, _)| format!("{folder}/"));
    for root in stream.documents {
        let document = Document::of(old.file, root);
        // What stands beside it was read before, or was missing before.
        corpus.add_document_beside(document, &mut |files, path| {
            let path = format!("{folder}{}", path.trim_start_matches("./"));
            files
                .iter()
                .find(|(_, file)| *file.name == *path)
                .map(|(id, file)| (id, file.text.to_string()))
                .ok_or_else(|| "it was not among what was read".to_owned())
        });
    }
}

/// The findings that edited a file which broke: the last one of them, so that the others get their chance.
fn spoiling(plan: &plan::Plan, file: FileId, reason: &str) -> Vec<(usize, String)> {
    plan.edits
        .iter()
        .filter(|edit| edit.file == file)
        .flat_map(|edit| edit.by.iter().copied())
        .max()
        .or_else(|| plan.accepted.iter().copied().max())
        .map(|at| vec![(at, reason.to_owned())])
        .unwrap_or_default()
}

/// The findings that are still there after their change.
fn ineffective(
    files: &Files,
    findings: &[Finding],
    accepted: &[usize],
    before: &BTreeMap<Touched, usize>,
    after: &BTreeMap<Touched, usize>,
) -> Vec<(usize, String)> {
    let mut edited: BTreeMap<Touched, Vec<usize>> = BTreeMap::new();
    for at in accepted {
        if let Some(finding) = findings.get(*at) {
            edited.entry(touched(files, finding)).or_default().push(*at);
        }
    }
    edited
        .into_iter()
        .filter(|(key, own)| count(after, key).saturating_add(own.len()) > count(before, key))
        .flat_map(|(_, own)| own)
        .map(|at| (at, "the change would not put it right".to_owned()))
        .collect()
}

fn count(counts: &BTreeMap<Touched, usize>, key: &Touched) -> usize {
    counts.get(key).copied().unwrap_or(0)
}

fn counted(files: &Files, findings: &[Finding]) -> BTreeMap<Touched, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(touched(files, finding)).or_insert(0) += 1;
    }
    counts
}

fn touched(files: &Files, finding: &Finding) -> Touched {
    Touched {
        rule: finding.rule,
        file: files.name(finding.place.file).to_owned(),
        resource: finding.resource.clone(),
        subject: finding.subject.clone(),
    }
}

// Each round settles at least one finding; more than this many would be edits that undo each other.
const MOST_ROUNDS: usize = 16;

#[cfg(test)]
mod tests;
