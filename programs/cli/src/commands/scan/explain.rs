//! `casemate scan explain`: why a rule matters, and what to do.

use casemate_posture::rule::Rule;
use casemate_posture::{catalogue, explain};
use serde_json::json;

use super::ask::unknown;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;

/// Says why a rule matters and what to do; lists all rules without one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casemate scan explain
  casemate scan explain AI-092")]
pub(super) struct Explain {
    /// The rule.
    #[arg(value_name = "RULE")]
    rule: Option<String>,
}

pub(super) fn run(context: &Context<'_>, arguments: &Explain) -> Result<Exit, Failure> {
    match &arguments.rule {
        Some(name) => {
            let rule = catalogue::find(name.trim()).ok_or_else(|| unknown(name))?;
            if context.output.json() {
                context.output.value(&facts(rule))?;
            } else {
                context
                    .output
                    .data(&explain::text(rule, context.output.width()))?;
            }
        }
        None if context.output.json() => {
            let rules: Vec<_> = catalogue::all().map(facts).collect();
            context.output.value(&json!({ "rules": rules }))?;
        }
        None => {
            let mut rules: Vec<&Rule> = catalogue::all().collect();
            rules.sort_by_key(|rule| rule.id);
            let mut table = Table::new(&["RULE", "SEVERITY", "ABOUT", "WHAT IT FINDS"]);
            for rule in rules {
                table.row([
                    rule.id.to_owned(),
                    rule.severity.as_str().to_owned(),
                    explain::group(rule.group).to_owned(),
                    rule.title.to_owned(),
                ]);
            }
            context.output.data(&table.text())?;
        }
    }
    Ok(Exit::Held)
}

fn facts(rule: &Rule) -> serde_json::Value {
    json!({
        "rule": rule.id,
        "title": rule.title,
        "group": rule.group,
        "severity": rule.severity,
        "why": rule.why,
        "fix": rule.fix,
        "mappings": rule.maps,
    })
}
