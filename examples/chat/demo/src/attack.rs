//! Has every stage attacked from inside, and counts how that went.

use std::collections::BTreeSet;

use anyhow::Context as _;
use casemate_isolation::expected::expected_open;
use casemate_testkit::Node;
use serde_json::Value;

use crate::summary::{Probe, Refusal, StageProbe};

/// What the prober found about getting out, and all its verdicts.
pub(crate) fn attack(node: &Node) -> anyhow::Result<(Refusal, Probe)> {
    let output = node
        .casemate(&node.path("home"))
        .args(["probe", "--json"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(text.trim()).with_context(|| {
        format!(
            "casemate probe: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let stages = report
        .get("stages")
        .and_then(Value::as_array)
        .context("no stages")?;
    let mut probe = Probe::default();
    let mut egress = Egress::default();
    for stage in stages {
        let mut counted = StageProbe {
            stage: text_of(stage, "stage").to_owned(),
            ..StageProbe::default()
        };
        let findings = stage.get("findings").and_then(Value::as_array);
        for finding in findings.into_iter().flatten() {
            let check = text_of(finding, "check").to_owned();
            counted.checks += 1;
            match text_of(finding, "verdict") {
                "blocked" => counted.blocked += 1,
                "not_applicable" => counted.not_applicable += 1,
                "open" if expected_open(&check).is_some() => counted.open_argued.push(check),
                "open" => counted.open_unexpected.push(check),
                _ => counted.inconclusive += 1,
            }
            egress.count(finding);
        }
        probe.add(counted);
    }
    Ok((egress.refusal(), probe))
}

/// Ways out of a stage.
#[derive(Default)]
struct Egress {
    tried: u32,
    stopped: u32,
    open: u32,
    layers: BTreeSet<String>,
}

impl Egress {
    fn count(&mut self, finding: &Value) {
        if text_of(finding, "category") != "egress" {
            return;
        }
        match text_of(finding, "verdict") {
            "not_applicable" => {}
            "blocked" => {
                self.tried += 1;
                self.stopped += 1;
                self.layers.insert(text_of(finding, "layer").to_owned());
            }
            // A side channel that everybody on the host shares is on the argued list, not a way out.
            "open" if expected_open(text_of(finding, "check")).is_some() => {}
            _ => {
                self.tried += 1;
                self.open += 1;
            }
        }
    }

    fn refusal(self) -> Refusal {
        let layers: Vec<String> = self
            .layers
            .into_iter()
            .filter(|layer| !layer.is_empty())
            .collect();
        Refusal {
            name: "egress from inside a stage".to_owned(),
            status: None,
            reason: format!(
                "{} of {} ways out tried from inside were stopped",
                self.stopped, self.tried
            ),
            by: layers.join(", "),
            refused: self.stopped > 0 && self.open == 0,
        }
    }
}

fn text_of<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
