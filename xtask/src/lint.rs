//! Formatting and lints, one configuration for everybody.

use crate::shell;

/// Fails on anything that rustfmt would change and on every warning of clippy or rustdoc.
pub(crate) fn check() -> anyhow::Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    shell::run(shell::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny=warnings",
    ]))
}

/// Formats everything.
pub(crate) fn format() -> anyhow::Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all"]))
}
