//! What a rule is, and how it reports.
//!
//! A rule is a row of data with one or more checks. A check looks at one container, one workload, the whole
//! estate or one document of another kind, and tells its [`Sink`] what it found, or what it could not tell.

use crate::estate::{Document, Estate};
use crate::node::Node;
use crate::place::Place;
use crate::workload::{Container, Resource, Workload};

mod change;

pub use self::change::Change;

/// How bad it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know, or a step towards something worse.
    Low,
    /// It weakens a boundary that others rely on.
    Medium,
    /// It opens a boundary to somebody who is already near.
    High,
    /// It gives away code execution, keys or data to whoever can reach it.
    Critical,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What a rule is about; reports and measurements go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Settings of inference servers.
    Server,
    /// Weights and the keys to them.
    Weights,
    /// Graphics processors and their nodes.
    Accelerator,
    /// What any workload needs.
    Hardening,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, such as `AI-092`; never given to another rule.
    pub id: &'static str,
    /// One line: what it looks for.
    pub title: &'static str,
    /// What it is about.
    pub group: Group,
    /// How bad it is unless a finding says otherwise.
    pub severity: Severity,
    /// Why it matters here: what it lets an attacker do.
    pub why: &'static str,
    /// How to put it right, in general; a finding says it with the values found.
    pub fix: &'static str,
    /// What it maps to: `AML.T0049`, `AML.M0013`, `T1611`, `LLM02`, `K06`, `CIS 5.2.2`, `CIS-Docker 5.4`,
    /// `NIST 800-190 4.4.3`, `SLSA`.
    pub maps: &'static [&'static str],
    /// What is looked at.
    pub checks: &'static [Check],
}

/// One look of a rule.
#[derive(Clone, Copy)]
pub enum Check {
    /// At each container of each workload.
    Container(fn(&Case<'_>, &mut Sink<'_>)),
    /// At each workload.
    Workload(fn(&Workload<'_>, &Estate<'_>, &mut Sink<'_>)),
    /// At everything together.
    Estate(fn(&Estate<'_>, &mut Sink<'_>)),
    /// At each image configuration.
    Image(fn(&Document, &mut Sink<'_>)),
    /// At each toolkit configuration.
    Toolkit(fn(&Document, &mut Sink<'_>)),
    /// At each model folder.
    Model(fn(&Document, &mut Sink<'_>)),
}

impl std::fmt::Debug for Check {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Container(_) => "Container",
            Self::Workload(_) => "Workload",
            Self::Estate(_) => "Estate",
            Self::Image(_) => "Image",
            Self::Toolkit(_) => "Toolkit",
            Self::Model(_) => "Model",
        })
    }
}

/// A container with what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Case<'look> {
    /// The container.
    pub container: &'look Container<'look>,
    /// Its workload.
    pub workload: &'look Workload<'look>,
    /// Everything.
    pub estate: &'look Estate<'look>,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule that found it.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Whose it is, such as `Deployment/llm` or `Deployment/llm/server` for one container.
    pub resource: String,
    /// What it allows, with the value found.
    pub message: String,
    /// How to put it right.
    pub fix: String,
    /// The same as an edit of the file; empty when it takes a person.
    pub changes: Vec<Change>,
    /// What the fingerprint goes by beside rule, file and resource: a name that stays when lines move.
    pub subject: String,
}

/// One thing that could not be told.
#[derive(Clone, Debug)]
pub struct NotEvaluable {
    /// The rule that could not tell; none when a whole document was not understood.
    pub rule: Option<&'static str>,
    /// Where.
    pub place: Place,
    /// Whose it is; empty for a document.
    pub resource: String,
    /// What is missing.
    pub message: String,
}

/// Takes what the checks of one rule have to say.
#[derive(Debug)]
pub struct Sink<'out> {
    rule: &'static Rule,
    resource: String,
    findings: &'out mut Vec<Finding>,
    not_evaluable: &'out mut Vec<NotEvaluable>,
}

impl<'out> Sink<'out> {
    pub(crate) const fn new(
        rule: &'static Rule,
        findings: &'out mut Vec<Finding>,
        not_evaluable: &'out mut Vec<NotEvaluable>,
    ) -> Self {
        Self {
            rule,
            resource: String::new(),
            findings,
            not_evaluable,
        }
    }

    /// Says whose the next findings are. Container and workload checks are told before they look.
    pub fn about(&mut self, resource: impl AsRef<str>) -> &mut Self {
        self.resource.clear();
        self.resource.push_str(resource.as_ref());
        self
    }

    /// Says that the next findings are about `resource`.
    pub fn about_resource(&mut self, resource: &Resource<'_>) -> &mut Self {
        self.about(resource.title())
    }

    /// Reports a finding: what it allows, with the value found. `subject` is a short name of what it is about,
    /// such as `env NGC_API_KEY`, that stays the same when the file is edited elsewhere.
    pub fn find(
        &mut self,
        place: Place,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Finding {
        let finding = Finding {
            rule: self.rule.id,
            severity: self.rule.severity,
            place,
            resource: self.resource.clone(),
            message: message.into(),
            fix: self.rule.fix.to_owned(),
            changes: Vec::new(),
            subject: subject.into(),
        };
        self.findings.push_mut(finding)
    }

    /// Reports that the rule cannot tell: a value that somebody else fills in, a document that is missing.
    pub fn cannot_tell(&mut self, place: Place, message: impl Into<String>) {
        self.not_evaluable.push(NotEvaluable {
            rule: Some(self.rule.id),
            place,
            resource: self.resource.clone(),
            message: message.into(),
        });
    }

    /// The text of `node` when it is known; a template is reported as something that cannot be told.
    pub fn known<'node>(&mut self, node: &'node Node) -> Option<&'node str> {
        let text = node.text()?;
        if node.is_unresolved() {
            self.cannot_tell(
                node.place,
                format!("`{text}` is filled in later; render it first"),
            );
            return None;
        }
        Some(text)
    }
}

impl Finding {
    /// Says how to put this one right, where the rule's own words are too general.
    pub fn fix(&mut self, text: impl Into<String>) -> &mut Self {
        self.fix = text.into();
        self
    }

    /// Adds the edit that puts it right. Several changes of one finding belong together.
    pub fn change(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    /// Says how bad this one is, where it differs from the rule.
    pub const fn severity(&mut self, severity: Severity) -> &mut Self {
        self.severity = severity;
        self
    }
}
