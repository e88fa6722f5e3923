//! `casemate scan --network`: who may reach whom, as the documents imply it.

use casemate_posture::estate::Estate;
use casemate_posture::network::{self, Graph, Purpose, Standing};

use super::{Format, Scan, write};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;

/// Prints the graph. Doors that nothing closes are findings; what could not be read makes it unclear.
pub(super) fn show(context: &Context<'_>, asked: &Scan, format: Format) -> Result<Exit, Failure> {
    let corpus = super::read(&asked.paths);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let graph = network::graph(&estate, &asked.said.settings());
    let text = match format {
        Format::Table => table(&graph),
        Format::Json => graph.json().to_string(),
        Format::Svg => network::svg(&graph),
        Format::Html => network::html(&graph),
        Format::Sarif | Format::Junit => {
            return Err(Failure::usage(
                "--network is written as table, json, svg or html",
            ));
        }
    };
    match &asked.output {
        Some(path) => {
            write(path, &text)?;
            context
                .output
                .say(&format!("the graph is `{}`", path.display()));
        }
        None => context.output.data(&text)?,
    }
    let unread = super::super::render::said_unread(context, &corpus);
    let doors = |flow: &&network::Flow| {
        flow.purpose == Purpose::Undeclared || flow.standing == Standing::Open
    };
    let open = graph.flows.iter().filter(doors).count();
    if format == Format::Table && open > 0 {
        context.output.say(
            "\nclose what nothing declares: casemate render network-policy PATH... > policies.yaml",
        );
    }
    Ok(if unread || graph.estate.workloads.is_empty() {
        Exit::Unclear
    } else if open > 0 {
        Exit::Found
    } else {
        Exit::Held
    })
}

fn table(graph: &Graph<'_>) -> String {
    let mut rows = graph.rows().into_iter();
    let header = rows.next().unwrap_or_default();
    let mut table = Table::new(&header.each_ref().map(String::as_str));
    for row in rows {
        table.row(row);
    }
    table.text()
}
