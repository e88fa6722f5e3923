//! Findings that somebody decided to live with: for a reason, and not for ever.
//!
//! A suppression without a reason or a date suppresses nothing and is reported; so does one that has expired.
//! What is suppressed stays in the reports, marked.

use casemate_core::time::UnixTime;

use crate::place::Place;
use crate::rule::Finding;

mod annotation;
mod baseline;
mod file;
mod glob;

pub use self::annotation::{ANNOTATION, annotations};
pub use self::baseline::{Baseline, ReadBaselineError};
pub use self::file::file;

/// One suppression that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// The rule it is for.
    pub rule: String,
    /// The file, as a pattern; any when absent.
    pub file: Option<String>,
    /// The resource, as a pattern; any when absent.
    pub resource: Option<String>,
    /// The one finding it is for; any when absent.
    pub fingerprint: Option<String>,
    /// Why.
    pub reason: String,
    /// The last day on which it counts, as `2027-01-31`.
    pub expires: String,
    /// How it was given.
    pub by: By,
}

/// How a suppression was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// In a file of suppressions.
    File,
    /// In an annotation of the workload.
    Annotation,
    /// It was there when the baseline was written.
    Baseline,
}

/// A suppression that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// The file it stands in.
    pub file: String,
    /// Where; line 0 for the whole file.
    pub place: Place,
    /// Why it does not count, and what to do.
    pub message: String,
    /// Whether it was right once and its time is over.
    pub expired: bool,
}

/// What was read of suppressions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    /// Those that count.
    pub valid: Vec<Suppression>,
    /// Those that do not.
    pub void: Vec<Void>,
}

impl Suppressions {
    /// The suppression that applies to a finding.
    #[must_use]
    pub fn of(&self, finding: &Finding, file: &str, fingerprint: &str) -> Option<&Suppression> {
        let matches = |pattern: &Option<String>, text: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| glob::matches(pattern, text))
        };
        self.valid.iter().find(|one| {
            one.rule == finding.rule
                && matches(&one.file, file)
                && (matches(&one.resource, &finding.resource)
                    || matches(&one.resource, owner(&finding.resource)))
                && one
                    .fingerprint
                    .as_ref()
                    .is_none_or(|own| own == fingerprint)
        })
    }

    /// Adds those of `more`.
    pub fn extend(&mut self, more: Self) {
        self.valid.extend(more.valid);
        self.void.extend(more.void);
    }
}

/// `Deployment/llm` for its container `Deployment/llm/server`.
pub(crate) fn owner(resource: &str) -> &str {
    resource
        .rsplit_once('/')
        .map_or(resource, |(owner, _)| owner)
}

/// What is wrong with the words of a suppression; nothing when it counts today.
fn fault(rule: &str, reason: &str, expires: &str, now: UnixTime) -> Option<(String, bool)> {
    if crate::catalogue::find(rule).is_none() {
        return Some((
            format!("there is no rule `{rule}`, so this suppresses nothing"),
            false,
        ));
    }
    if reason.trim().is_empty() {
        let message = format!(
            "the suppression of {rule} has no `reason`, so it suppresses nothing: say why it is safe here"
        );
        return Some((message, false));
    }
    let Some(day) = date(expires.trim()) else {
        let message = format!(
            "the suppression of {rule} has no date that can be read, so it suppresses nothing: write the last day, such as `2027-01-31`"
        );
        return Some((message, false));
    };
    let today = i64::try_from(now.0)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    if today.is_none_or(|today| today.date() > day) {
        let message = format!(
            "the suppression of {rule} expired on {day}, so it suppresses nothing: mend it or decide anew"
        );
        return Some((message, true));
    }
    None
}

/// A day written as `2027-01-31`.
fn date(text: &str) -> Option<time::Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = (year.len(), month.len(), day.len()) == (4, 2, 2) && parts.next().is_none();
    whole.then_some(())?;
    let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
    time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests;
