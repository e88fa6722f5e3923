//! `casemate status`: enclosures, stages, certificates, gates and the last probe.

use casemate_api::v1::{self, LaunchState, Phase};

use super::Context;
use super::up::ago;
use crate::exit::{Exit, Failure};
use crate::output::{Table, span};

/// Shows enclosures, stages, certificates and gates.
///
/// Exits with 1 when a stage does not admit calls, or when something of ours is left that no stage owns.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate status
  casemate status --json | jq '.enclosures[].stages[] | {name, state}'")]
pub(crate) struct Arguments {}

pub(crate) async fn run(context: &Context<'_>, _: Arguments) -> Result<Exit, Failure> {
    let status = context.client().status().await?;
    let all_admit = status
        .enclosures
        .iter()
        .flat_map(|enclosure| &enclosure.stages)
        .all(|stage| stage.state == LaunchState::Admitting);
    if context.output.json() {
        context.output.value(&status)?;
    } else {
        print(context, &status)?;
    }
    Ok(if all_admit { Exit::Held } else { Exit::Found })
}

fn print(context: &Context<'_>, status: &v1::Status) -> Result<(), Failure> {
    let domain = status
        .trust_domain
        .as_deref()
        .unwrap_or("no trust domain yet");
    context.output.say(&format!(
        "casemated {}, up {}; {domain}; issuer {}; {} receipts, assurance {}",
        status.version,
        ago(status.since),
        status.issuer_url,
        status.receipts,
        status.assurance,
    ));
    if status.enclosures.is_empty() {
        context
            .output
            .say("no enclosure is up; bring one up: casemate up FILE");
        return Ok(());
    }
    let mut stages = Table::new(&[
        "STAGE",
        "STATE",
        "PHASE",
        "CERTIFICATE",
        "ADMITTED",
        "REFUSED",
        "OPEN",
        "RESTARTS",
        "PROBE",
        "LISTENS",
    ]);
    let mut messages = Vec::new();
    for enclosure in &status.enclosures {
        for stage in &enclosure.stages {
            let name = format!("{}/{}", enclosure.name, stage.name);
            stages.row([
                name.clone(),
                state(stage.state).to_owned(),
                phase(stage.phase).to_owned(),
                stage.certificate.as_ref().map_or_else(
                    || "none".to_owned(),
                    |certificate| format!("{} left", span(certificate.seconds_left)),
                ),
                stage.gate.admitted.to_string(),
                stage.gate.refused.to_string(),
                stage.gate.in_flight.to_string(),
                stage.restarts.to_string(),
                stage
                    .probe
                    .map_or_else(|| "-".to_owned(), |probe| probed(&probe)),
                stage.listens.join(" "),
            ]);
            if !stage.message.is_empty() {
                messages.push(format!("{name}: {}", stage.message));
            }
        }
    }
    let mut models = Table::new(&["MODEL", "OPENED", "ROOT DIGEST"]);
    for model in status
        .enclosures
        .iter()
        .flat_map(|enclosure| &enclosure.models)
    {
        let opened = if model.opened { "yes" } else { "no" };
        let digest = model
            .root_digest
            .clone()
            .unwrap_or_else(|| "not verified yet".to_owned());
        models.row([model.model.clone(), opened.to_owned(), digest]);
    }
    let models = if models.is_empty() {
        String::new()
    } else {
        format!("\n{}", models.text())
    };
    context.output.data(&format!("{}{models}", stages.text()))?;
    for message in messages {
        context.output.say(&message);
    }
    Ok(())
}

/// What the last probe found, all checks accounted for.
fn probed(probe: &v1::ProbeSummary) -> String {
    let open = probe.open.saturating_sub(probe.expected_open);
    let verdict = if open > 0 {
        format!("{open} OPEN")
    } else if probe.inconclusive > 0 {
        format!("{} could not tell", probe.inconclusive)
    } else {
        "held".to_owned()
    };
    format!(
        "{verdict}: {} blocked, {} open by argument, {} not applicable",
        probe.blocked, probe.expected_open, probe.not_applicable
    )
}

const fn state(state: LaunchState) -> &'static str {
    match state {
        LaunchState::Requested => "requested",
        LaunchState::Attested => "attested",
        LaunchState::WeightsReady => "weights-ready",
        LaunchState::Confined => "confined",
        LaunchState::Probed => "probed",
        LaunchState::Admitting => "admitting",
        LaunchState::BackingOff => "backing-off",
        LaunchState::Stopped => "stopped",
        LaunchState::Failed => "failed",
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Fetch => "fetch",
        Phase::Warm => "warm",
        Phase::Serve => "serve",
        Phase::Drain => "drain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_a_probe_is_accounted_for() {
        let mut probe = v1::ProbeSummary {
            checks: 107,
            blocked: 97,
            open: 5,
            expected_open: 5,
            inconclusive: 0,
            not_applicable: 5,
        };
        assert_eq!(
            probed(&probe),
            "held: 97 blocked, 5 open by argument, 5 not applicable"
        );
        probe.open = 6;
        assert!(probed(&probe).starts_with("1 OPEN: "));
    }
}
