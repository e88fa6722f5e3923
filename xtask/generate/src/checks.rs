//! The catalogue of the prober's checks, as a page.

use std::fmt::Write as _;

use casemate_core::finding::Category;
use casemate_isolation::catalogue::entries;

/// One table for each category.
pub(crate) fn page() -> anyhow::Result<String> {
    let entries = entries();
    let mut page = format!(
        "# What the prober tries\n\nWritten by `cargo xtask generate` from the catalogue: {} checks. Each runs in a process of its own,\n\
         has a positive control, and never counts \"could not tell\" as held.\n",
        entries.len()
    );
    for category in Category::ALL {
        write!(page, "\n## {}\n\n", category.heading())?;
        page.push_str(
            "| id | question | tries | open means | techniques |\n|---|---|---|---|---|\n",
        );
        for entry in entries.iter().filter(|entry| entry.category == category) {
            writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                entry.id,
                cell(entry.title),
                cell(entry.tries),
                cell(entry.open_means),
                entry.techniques.join(" ")
            )?;
        }
    }
    Ok(page)
}

/// A text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
