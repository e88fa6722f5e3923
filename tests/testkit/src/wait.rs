//! Waiting for a condition, with a deadline. Tests never sleep for a guessed time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks `condition` until it gives a value; fails after `limit`, naming what was waited for.
///
/// # Errors
/// When the deadline passes, or when `condition` itself fails.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("waited {:.1} s for {what}", limit.as_secs_f64());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
