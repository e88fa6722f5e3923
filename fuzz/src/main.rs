//! Replays hostile input over every parser: each corpus file as it is, then mutations of it.
//!
//! The body of a target lives in the crate of its parser (`fuzz.rs`) and asserts that parser's
//! invariants; a target fails by panicking. Mutations are pseudo-random but the same every time, so a
//! failure is found again, and its input is written to `fuzz/failed-<target>`.
//!
//! `cargo run -p casemate-fuzz -- fuzz/corpus [--seconds N] [TARGET...]`
#![expect(clippy::print_stdout, reason = "a tool that reports what it did")]

mod mutate;
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use mutate::Mutator;
use targets::{TARGETS, Target};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut corpus = None;
    let mut seconds = 2;
    let mut wanted = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds = words.next().context("--seconds needs a number")?.parse()?,
            _ if corpus.is_none() => corpus = Some(PathBuf::from(word)),
            _ => wanted.push(word),
        }
    }
    let corpus = corpus.context("usage: casemate-fuzz CORPUS [--seconds N] [TARGET...]")?;
    let mut failed = 0;
    for target in TARGETS {
        if wanted.is_empty() || wanted.iter().any(|name| name == target.name) {
            failed += replay(target, &corpus, Duration::from_secs(seconds))?;
        }
    }
    ensure!(failed == 0, "{failed} targets failed");
    Ok(())
}

/// Runs one target; 1 when it failed.
fn replay(target: &Target, corpus: &Path, limit: Duration) -> anyhow::Result<usize> {
    let directory = corpus.join(target.name);
    let mut seeds = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("no {}", directory.display()))? {
        seeds.push(fs::read(entry?.path())?);
    }
    if seeds.is_empty() {
        bail!("{} has no seed", directory.display());
    }
    // The order of a directory is the disk's; the mutations shall not depend on it.
    seeds.sort();
    let mut mutator = Mutator::new();
    let start = Instant::now();
    let mut count = 0_u64;
    for seed in &seeds {
        count += 1;
        if !holds(target, seed)? {
            return Ok(1);
        }
    }
    'time: loop {
        for seed in &seeds {
            if start.elapsed() > limit {
                break 'time;
            }
            let other = mutator.pick(&seeds);
            let input = mutator.mutate(seed, other);
            count += 1;
            if !holds(target, &input)? {
                return Ok(1);
            }
        }
    }
    println!(
        "fuzz {}: {} seeds, {count} inputs, held",
        target.name,
        seeds.len()
    );
    Ok(0)
}

fn holds(target: &Target, input: &[u8]) -> anyhow::Result<bool> {
    if catch_unwind(AssertUnwindSafe(|| (target.body)(input))).is_ok() {
        return Ok(true);
    }
    let path = format!("fuzz/failed-{}", target.name);
    fs::write(&path, input)?;
    println!("fuzz {}: FAILED; the input is in {path}", target.name);
    Ok(false)
}
