//! The weights engine's own rows: sealing beside age, verifying beside model-signing, the view beside
//! gocryptfs, a null FUSE server and a plain file.
//!
//! They live with the crate (`crates/weights/benches`), since they need its inside; here they are run
//! and put into the common table.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use casemate_testkit::Tools;
use casemate_testkit::programs::{checkout, output};
use serde_json::Value;

use crate::report::Line;

/// Runs them.
pub(crate) fn measure() -> anyhow::Result<Vec<Line>> {
    let python = Tools::locate().python_program("python")?;
    let tools = python.parent().context("the Python environment")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(PathBuf::from(tools)).chain(std::env::split_paths(&path)),
    )?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut bench = Command::new(cargo);
    bench.current_dir(checkout()).env("PATH", path);
    bench.args([
        "bench",
        "--quiet",
        "--package",
        "casemate-weights",
        "--",
        "--json",
    ]);
    let printed = output(&mut bench)?;
    let array = printed
        .find('[')
        .and_then(|at| printed.get(at..))
        .context("no JSON array")?;
    let rows: Vec<Value> = serde_json::from_str(array.trim())?;
    rows.iter().map(line).collect()
}

fn line(row: &Value) -> anyhow::Result<Line> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| {
        row.get(name)
            .and_then(Value::as_f64)
            .with_context(|| format!("{name} in {row}"))
    };
    let (ours, peer, ratio, bar) = (
        number("ours")?,
        number("peer")?,
        number("ratio")?,
        number("bar")?,
    );
    Ok(Line {
        what: text("row").to_owned(),
        ours: format!("{ours:.2} {}", text("unit")),
        peer: text("peer_name").to_owned(),
        theirs: format!("{peer:.2} {}", text("unit")),
        ratio: format!("{ratio:.2}"),
        bar: format!("at least {bar} x"),
        held: Some(ratio >= bar),
    })
}
