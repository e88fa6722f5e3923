//! What the demonstration saw, as the one JSON object it ends with.

use serde::Serialize;

/// Everything, in the order it was seen.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    /// What the model said.
    pub(crate) answer: String,
    /// From sending the question to the first token.
    pub(crate) first_token_ms: u64,
    /// What the pre-processor sent to the model's server in place of the question.
    pub(crate) passed_on: String,
    /// What must not work.
    pub(crate) refusals: Vec<Refusal>,
    /// Attacks from inside, by verdict.
    pub(crate) probe: Probe,
    /// The signed records.
    pub(crate) receipts: Receipts,
    /// What is still there at the end.
    pub(crate) leftovers: Vec<String>,
}

/// One call that must not work.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    /// What was tried.
    pub(crate) name: String,
    /// The HTTP status; none when it never came to HTTP.
    pub(crate) status: Option<u16>,
    /// Why it was refused.
    pub(crate) reason: String,
    /// Who decided.
    pub(crate) by: String,
    /// Whether it was refused as it must be.
    pub(crate) refused: bool,
}

/// Counts of verdicts over all stages.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Probe {
    pub(crate) checks: u64,
    pub(crate) blocked: u64,
    /// All that are open, with those on the argued list.
    pub(crate) open: u64,
    /// Those of the argued list that are open, by id: what we leave open and say why.
    pub(crate) open_argued: Vec<String>,
    /// Those that are open and must not be, as `stage: id`.
    pub(crate) open_unexpected: Vec<String>,
    pub(crate) inconclusive: u64,
    pub(crate) not_applicable: u64,
    /// The same, of each stage.
    pub(crate) stages: Vec<StageProbe>,
}

/// Verdicts about one stage; they add up to `checks`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StageProbe {
    pub(crate) stage: String,
    pub(crate) checks: u64,
    pub(crate) blocked: u64,
    /// By id, those of the argued list.
    pub(crate) open_argued: Vec<String>,
    /// By id, those that must not be.
    pub(crate) open_unexpected: Vec<String>,
    pub(crate) inconclusive: u64,
    pub(crate) not_applicable: u64,
}

impl Probe {
    /// Counts one more stage.
    pub(crate) fn add(&mut self, stage: StageProbe) {
        self.checks += stage.checks;
        self.blocked += stage.blocked;
        self.inconclusive += stage.inconclusive;
        self.not_applicable += stage.not_applicable;
        self.open += stage.checks - stage.blocked - stage.inconclusive - stage.not_applicable;
        for id in &stage.open_argued {
            if !self.open_argued.contains(id) {
                self.open_argued.push(id.clone());
            }
        }
        let unexpected = stage.open_unexpected.iter();
        self.open_unexpected
            .extend(unexpected.map(|id| format!("{}: {id}", stage.stage)));
        self.stages.push(stage);
    }
}

/// The chain of receipts.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Receipts {
    pub(crate) count: u64,
    pub(crate) verified: bool,
}

impl Summary {
    /// Whether everything was as promised.
    pub(crate) fn held(&self) -> bool {
        !self.answer.is_empty()
            && !self.passed_on.is_empty()
            && !self.passed_on.contains('@')
            && self.refusals.iter().all(|refusal| refusal.refused)
            && self.probe.checks > 0
            && self.probe.open_unexpected.is_empty()
            && self.probe.inconclusive == 0
            && self.receipts.verified
            && self.leftovers.is_empty()
    }
}
