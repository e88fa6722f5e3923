//! Rows as printed and as written into the documentation.
#![expect(clippy::print_stdout, reason = "the bench prints its rows")]

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// Something to measure.
pub(crate) struct Row {
    /// Short, for choosing it on the command line.
    pub(crate) name: &'static str,
    /// Measures it.
    pub(crate) measure: fn() -> anyhow::Result<Vec<Line>>,
}

/// One measured comparison.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What was done.
    pub(crate) what: String,
    /// Ours, with its unit.
    pub(crate) ours: String,
    /// Who it was compared with.
    pub(crate) peer: String,
    /// Theirs, with its unit.
    pub(crate) theirs: String,
    /// Ours to theirs, in the direction that `bar` names.
    pub(crate) ratio: String,
    /// What design section 8 asks for.
    pub(crate) bar: String,
    /// Whether it is reached; nothing when no bar was set.
    pub(crate) held: Option<bool>,
}

impl Line {
    /// A cost: less is better, and at most `at_most` times the peer's is asked for.
    pub(crate) fn cheaper(
        what: &str,
        unit: &str,
        ours: f64,
        peer: &str,
        theirs: f64,
        at_most: f64,
    ) -> Self {
        let ratio = ours / theirs;
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.2} {unit}"),
            peer: peer.to_owned(),
            theirs: format!("{theirs:.2} {unit}"),
            // A hundredth must show on which side of its bar it is.
            ratio: if ratio < 0.1 {
                format!("{ratio:.4}")
            } else {
                format!("{ratio:.2}")
            },
            bar: format!("at most {at_most} x"),
            held: Some(ratio <= at_most),
        }
    }

    /// A cost that is told for its own sake: no bar was set.
    pub(crate) fn told(what: &str, unit: &str, ours: f64, peer: &str, theirs: f64) -> Self {
        let told = Self::cheaper(what, unit, ours, peer, theirs, f64::INFINITY);
        Self {
            bar: "none set".to_owned(),
            held: None,
            ..told
        }
    }

    /// A cost that may exceed the peer's by `at_most`.
    pub(crate) fn added(
        what: &str,
        unit: &str,
        ours: f64,
        peer: &str,
        theirs: f64,
        at_most: f64,
    ) -> Self {
        let added = ours - theirs;
        Self {
            what: what.to_owned(),
            ours: format!("{ours:.3} {unit}"),
            peer: peer.to_owned(),
            theirs: format!("{theirs:.3} {unit}"),
            ratio: format!("{added:+.3} {unit}"),
            bar: format!("at most +{at_most} {unit}"),
            held: Some(added <= at_most),
        }
    }
}

/// Measures a row and prints its lines; a row that cannot be measured says why.
pub(crate) fn measure(row: &Row) -> Vec<Line> {
    println!("{}", row.name);
    match (row.measure)() {
        Ok(lines) => {
            for line in &lines {
                println!(
                    "  {}: ours {}, {} {}: {} ({}: {})",
                    line.what,
                    line.ours,
                    line.peer,
                    line.theirs,
                    line.ratio,
                    line.bar,
                    word(line.held)
                );
            }
            lines
        }
        Err(error) => {
            println!("  not measured: {error:#}");
            vec![Line {
                what: row.name.to_owned(),
                ours: format!("not measured: {error}"),
                peer: String::new(),
                theirs: String::new(),
                ratio: String::new(),
                bar: String::new(),
                held: Some(false),
            }]
        }
    }
}

/// The lines of the table in `page` that `lines` do not measure again.
pub(crate) fn kept<'page>(page: &'page str, lines: &[Line]) -> Vec<&'page str> {
    let again = |row: &str| {
        lines.iter().any(|line| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            (cells.next(), cells.nth(1)) == (Some(line.what.as_str()), Some(line.peer.as_str()))
        })
    };
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what |"))
        .filter(|line| !again(line))
        .collect()
}

/// The page for docs/reference.
pub(crate) fn page(kept: &[&str], lines: &[Line]) -> anyhow::Result<String> {
    let mut page = String::from(
        "# Bench\n\nWritten by `cargo xtask bench`. Ours and the peer ran alternately on the same work; \
         the ratio is the promise,\nthe absolute numbers belong to this one machine. \
         `cargo xtask bench ROW` measures one row again and leaves the others.\n\n",
    );
    let date = Command::new("date").arg("+%Y-%m-%d").output()?;
    let kernel = Command::new("uname").arg("-sr").output()?;
    writeln!(
        page,
        "- date of the last row: {}",
        String::from_utf8_lossy(&date.stdout).trim()
    )?;
    writeln!(page, "- machine: {}", machine())?;
    writeln!(
        page,
        "- kernel: {}\n",
        String::from_utf8_lossy(&kernel.stdout).trim()
    )?;
    page.push_str("| what | ours | peer | theirs | ratio | bar | reached |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for row in kept {
        writeln!(page, "{row}")?;
    }
    for line in lines {
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            line.what,
            line.ours,
            line.peer,
            line.theirs,
            line.ratio,
            line.bar,
            word(line.held)
        )?;
    }
    Ok(page)
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!("{count} x {model}")
}

const fn word(held: Option<bool>) -> &'static str {
    match held {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}
