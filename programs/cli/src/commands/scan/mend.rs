//! Fixes: shown as a diff, or written.

use std::collections::BTreeSet;

use casemate_posture::diff;
use casemate_posture::fix::{self, Fixed, Left};
use casemate_posture::report::{Options, Report};
use casemate_posture::rule::Finding;
use casemate_posture::scan::Corpus;
use casemate_posture::suppress::By;

use crate::commands::Context;
use crate::exit::{Exit, Failure};

/// Prints what would change.
pub(super) fn show(
    context: &Context<'_>,
    corpus: &Corpus,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    let fixed = fixed(corpus, options, report);
    context.output.data(&diff::unified(&fixed.files))?;
    tell_left(context, &fixed.left);
    context.output.say(&format!(
        "{} of {} findings would be put right; files to change: {}",
        fixed.applied.len(),
        report.counting().count(),
        fixed.files.len()
    ));
    Ok(())
}

/// Writes what changes.
pub(super) fn write(
    context: &Context<'_>,
    corpus: &Corpus,
    options: &Options,
    report: &Report,
) -> Result<(), Failure> {
    let fixed = fixed(corpus, options, report);
    tell_left(context, &fixed.left);
    let mut failed = Vec::new();
    for file in &fixed.files {
        match fix::write::write(file) {
            Ok(()) => {
                let count = fixed
                    .applied
                    .iter()
                    .filter(|one| one.file == file.name)
                    .count();
                context
                    .output
                    .say(&format!("{}: findings put right: {count}", file.name));
            }
            Err(error) => failed.push(Failure::of(Exit::Unclear, &error)),
        }
    }
    for failure in &failed {
        context.output.failure(failure);
    }
    if fixed.files.is_empty() {
        context
            .output
            .say("no finding has a fix that can be written");
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(Failure::unclear(format!(
            "{count} files were not written; they are as they were"
        ))),
    }
}

/// What was decided to be lived with is not changed.
fn fixed(corpus: &Corpus, options: &Options, report: &Report) -> Fixed {
    let decided: BTreeSet<(&str, &str, &str)> = report
        .findings
        .iter()
        .filter(|finding| {
            let by = finding.suppressed.as_ref().map(|suppressed| suppressed.by);
            matches!(by, Some(By::File | By::Annotation))
        })
        .map(|finding| {
            (
                finding.rule,
                finding.file.as_str(),
                finding.resource.as_str(),
            )
        })
        .collect();
    let wanted = |finding: &Finding| {
        let file = corpus.files.name(finding.place.file);
        options.wants(finding) && !decided.contains(&(finding.rule, file, &finding.resource))
    };
    fix::fix(corpus, &wanted)
}

fn tell_left(context: &Context<'_>, left: &[Left]) {
    for left in left {
        context.output.say(&format!(
            "{}:{}: {} is left as it is: {}",
            left.finding.file, left.line, left.finding.rule, left.reason
        ));
    }
}
