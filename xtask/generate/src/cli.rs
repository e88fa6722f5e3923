//! The command line's reference, from its own help.

use std::fmt::Write as _;
use std::path::Path;

use crate::output;

/// One section for each command, as deep as they go.
pub(crate) fn page(program: &Path) -> anyhow::Result<String> {
    let mut page = String::from(
        "# Command line\n\nWritten by `cargo xtask generate` from the program's own help.\n",
    );
    section(program, &[], &mut page)?;
    Ok(page)
}

fn section(program: &Path, path: &[String], page: &mut String) -> anyhow::Result<()> {
    let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = output(program, &arguments)?;
    let title = std::iter::once("casemate").chain(path.iter().map(String::as_str));
    let title: Vec<&str> = title.collect();
    write!(
        page,
        "\n## {}\n\n```text\n{}\n```\n",
        title.join(" "),
        help.trim_end()
    )?;
    for command in commands(&help) {
        let mut deeper = path.to_vec();
        deeper.push(command);
        section(program, &deeper, page)?;
    }
    Ok(())
}

/// The names in the list of commands of a help text.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| line.trim() != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A continued description is indented further than a name.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_are_read_from_help() {
        let help = "Usage: x\n\nCommands:\n  up    Starts\n        and more\n  down  Stops\n  help  Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["up", "down"]);
    }
}
