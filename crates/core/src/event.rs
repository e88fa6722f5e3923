//! Facts seen, as one flat record: the same value becomes a log line, a row and a message to the SOC.
//!
//! An event never carries a token, a key, a prompt or an answer; [`Event::fact`] bounds what it takes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::time::UnixTime;

/// How much an event should worry a person.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It happened as it should.
    Info,
    /// Something was refused or failed, and containment held.
    Warning,
    /// A promise of ours was broken, or could not be checked.
    Error,
}

/// What a decision came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The rules allow it.
    Allowed,
    /// The rules refuse it.
    Refused,
    /// The question could not be answered, which never counts as allowed.
    CouldNotTell,
}

/// A decision: what came out, why, and which part decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What came out.
    pub outcome: Outcome,
    /// The stable code of the reason, such as `ticket_expired`; `admitted` when allowed.
    pub code: String,
    /// The part that decided, such as `gate/infer` or `issuer`.
    pub by: String,
}

/// One fact, at one time, about one subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it was seen.
    pub time: UnixTime,
    /// Which event: one of the constants in [`kind`].
    pub kind: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// The enclosure it belongs to, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclosure: Option<Name>,
    /// The stage it belongs to, when it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Name>,
    /// Whom or what it is about: a SPIFFE ID, a model version, a stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The decision, when one was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Everything else, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl Event {
    /// An event of `kind` with nothing else said yet.
    #[must_use]
    pub fn new(time: UnixTime, kind: &'static str, severity: Severity) -> Self {
        Self {
            time,
            kind: Cow::Borrowed(kind),
            severity,
            enclosure: None,
            stage: None,
            subject: None,
            decision: None,
            facts: BTreeMap::new(),
        }
    }

    /// The event, placed at a stage of an enclosure.
    #[must_use]
    pub fn at(mut self, enclosure: &Name, stage: Option<&Name>) -> Self {
        self.enclosure = Some(enclosure.clone());
        self.stage = stage.cloned();
        self
    }

    /// The event, about `subject`.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(clean(subject.into()));
        self
    }

    /// The event, recording that `by` came to `outcome` for the reason `code`.
    #[must_use]
    pub fn decided(mut self, outcome: Outcome, code: &str, by: &str) -> Self {
        self.decision = Some(Decision {
            outcome,
            code: clean(code.to_owned()),
            by: clean(by.to_owned()),
        });
        self
    }

    /// The event, with one more fact. Control characters are replaced and long values are cut, because
    /// peers choose some of them and a log line must stay one line. Facts past [`MAX_FACTS`] are dropped.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        if self.facts.len() < MAX_FACTS {
            self.facts
                .insert(clean(name.to_owned()), clean(value.into()));
        }
        self
    }
}

/// The most facts one event carries.
pub const MAX_FACTS: usize = 32;
/// The most characters of one fact.
pub const MAX_FACT_CHARACTERS: usize = 512;

fn clean(value: String) -> String {
    let safe = |character: char| !character.is_control() && !is_bidirectional(character);
    if value.len() <= MAX_FACT_CHARACTERS && value.chars().all(safe) {
        return value;
    }
    let mut cut: String = value
        .chars()
        .take(MAX_FACT_CHARACTERS)
        .map(|character| {
            if safe(character) {
                character
            } else {
                '\u{fffd}'
            }
        })
        .collect();
    if value.chars().nth(MAX_FACT_CHARACTERS).is_some() {
        cut.push('…');
    }
    cut
}

/// Characters that reorder the text around them, and so can make a log line read as another.
pub(crate) const fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The names of events. Names are never reused for another meaning.
pub mod kind {
    /// The gate let a request through.
    pub const REQUEST_ADMITTED: &str = "request.admitted";
    /// The gate refused a request.
    pub const REQUEST_REFUSED: &str = "request.refused";
    /// The answer to an admitted request ended; facts say how.
    pub const REQUEST_FINISHED: &str = "request.finished";
    /// A running answer was cut because its permission ended.
    pub const REQUEST_CUT: &str = "request.cut";
    /// A connection did not get past TLS.
    pub const CONNECTION_REFUSED: &str = "connection.refused";

    /// A corporate login was accepted and a certificate given.
    pub const LOGIN_ACCEPTED: &str = "login.accepted";
    /// A corporate login was refused.
    pub const LOGIN_REFUSED: &str = "login.refused";
    /// A ticket was issued.
    pub const TICKET_ISSUED: &str = "ticket.issued";
    /// A ticket was refused at the issuer.
    pub const TICKET_REFUSED: &str = "ticket.refused";
    /// A Transaction Token was issued.
    pub const TRANSACTION_ISSUED: &str = "transaction.issued";
    /// A Transaction Token was refused at the issuer.
    pub const TRANSACTION_REFUSED: &str = "transaction.refused";
    /// A ticket, a subject or a certificate was revoked.
    pub const REVOKED: &str = "identity.revoked";
    /// A certificate was issued.
    pub const SVID_ISSUED: &str = "svid.issued";
    /// A running part took over a new certificate.
    pub const SVID_ROTATED: &str = "svid.rotated";
    /// A certificate could not be renewed.
    pub const SVID_ROTATION_FAILED: &str = "svid.rotation-failed";
    /// An identity provider could not be reached or did not make sense.
    pub const PROVIDER_UNAVAILABLE: &str = "provider.unavailable";

    /// An enclosure was asked for.
    pub const ENCLOSURE_REQUESTED: &str = "enclosure.requested";
    /// Every stage of an enclosure admits.
    pub const ENCLOSURE_UP: &str = "enclosure.up";
    /// An enclosure is gone and left nothing.
    pub const ENCLOSURE_DOWN: &str = "enclosure.down";
    /// A launch stopped; nothing admits.
    pub const ENCLOSURE_FAILED: &str = "enclosure.failed";
    /// A stage reached another phase.
    pub const STAGE_PHASE: &str = "stage.phase";
    /// The stage's evidence was accepted.
    pub const STAGE_ATTESTED: &str = "stage.attested";
    /// The real sandbox equals the sealed plan.
    pub const STAGE_CONFINED: &str = "stage.confined";
    /// The real sandbox differs from the sealed plan; nothing was executed.
    pub const STAGE_MISMATCH: &str = "stage.mismatch";
    /// The stage's gate admits.
    pub const STAGE_ADMITTED: &str = "stage.admitted";
    /// The stage's server ended by itself.
    pub const STAGE_DIED: &str = "stage.died";
    /// The stage is started again after a wait.
    pub const STAGE_RESTARTED: &str = "stage.restarted";
    /// The stage was stopped as asked.
    pub const STAGE_STOPPED: &str = "stage.stopped";
    /// Something that an earlier daemon left was found and removed.
    pub const LEFTOVER_REMOVED: &str = "node.leftover-removed";
    /// The daemon started.
    pub const NODE_STARTED: &str = "node.started";
    /// The clock went back or jumped.
    pub const CLOCK_JUMPED: &str = "node.clock-jumped";

    /// A sealed model's signature and root were accepted.
    pub const MODEL_VERIFIED: &str = "model.verified";
    /// A sealed model was refused.
    pub const MODEL_REFUSED: &str = "model.refused";
    /// A model's key was released to a stage.
    pub const KEY_RELEASED: &str = "key.released";
    /// A model's key was not released.
    pub const KEY_REFUSED: &str = "key.refused";
    /// A view was mounted.
    pub const VIEW_MOUNTED: &str = "view.mounted";
    /// A view met bytes that do not authenticate.
    pub const VIEW_CORRUPT: &str = "view.corrupt";

    /// A probe run started.
    pub const PROBE_STARTED: &str = "probe.started";
    /// A probe run ended; facts count the verdicts.
    pub const PROBE_FINISHED: &str = "probe.finished";
    /// A check got through.
    pub const PROBE_OPEN: &str = "probe.open";
}

#[cfg(test)]
mod tests;
