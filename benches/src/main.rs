//! Measures ours and the peer alternately on the same work and prints the ratio.
//!
//! Absolute times belong to one machine; the ratio is what a row promises. Each row lives in its own
//! file and says what it measures, with what, and what it leaves out.

mod measure;
mod report;
mod rows;

use std::path::PathBuf;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    let mut write: Option<PathBuf> = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--write" {
            write = Some(words.next().context("--write needs a path")?.into());
        } else {
            wanted.push(word);
        }
    }
    let mut lines = Vec::new();
    for row in rows::ALL {
        if wanted.is_empty() || wanted.iter().any(|word| row.name.contains(word.as_str())) {
            lines.extend(report::measure(row));
        }
    }
    if let Some(path) = write {
        // Rows that were not asked for keep their lines.
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let kept = if wanted.is_empty() {
            Vec::new()
        } else {
            report::kept(&old, &lines)
        };
        std::fs::write(&path, report::page(&kept, &lines)?)?;
    }
    Ok(())
}
