//! The real daemon in temporary directories, and people who use it through the real CLI.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::identity_provider::free_address;
use crate::{Programs, wait_for};

/// A running `casemated`; taken down with all its stages when dropped.
#[derive(Debug)]
pub struct Node {
    programs: Programs,
    directory: TempDir,
    issuer: SocketAddr,
    through: Vec<String>,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// Starts one on fresh directories.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_through(&[], arguments)
    }

    /// Starts one through another program, which must become it (`exec`), with more arguments.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_through(through: &[&str], arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("casemate-test-")
            .tempdir_in("/var/tmp")?;
        // Not below /tmp, which a stage has for itself: its directories could not be shown there.
        // The stages' identities walk through it; the daemon's own directories below are closed.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let programs = Programs::locate()?;
        let issuer = free_address()?;
        let mut node = Self {
            programs,
            directory,
            issuer,
            through: Vec::new(),
            arguments: Vec::new(),
            child: None,
        };
        node.next_through(through, arguments);
        node.restart()?;
        Ok(node)
    }

    /// Has the next [`Node::restart`] go through another program, with other further arguments.
    pub fn next_through(&mut self, through: &[&str], arguments: &[&str]) {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        (self.through, self.arguments) = (owned(through), owned(arguments));
    }

    /// Starts the daemon again on the same directories, after [`Node::kill`] or [`Node::stop`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let program = self.programs.path("casemated");
        let mut command = match self.through.split_first() {
            Some((first, words)) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        let child = command
            .arg("--state")
            .arg(self.path("state"))
            .arg("--run")
            .arg(self.run())
            .arg("--bin")
            .arg(self.programs.directory())
            .args(["--issuer-listen", &self.issuer.to_string()])
            .args(&self.arguments)
            // Ctrl-C in a terminal is for us: we take the daemon down in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start casemated")?;
        self.child = Some(child);
        let ready = wait_for("casemated", Duration::from_secs(30), || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("casemated ended with {status}");
            }
            let mut status = self.casemate(&self.path("home"));
            Ok(status
                .arg("status")
                .output()?
                .status
                .success()
                .then_some(()))
        });
        ready.with_context(|| format!("casemated's log:\n{}", self.log()))
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills the daemon (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks the daemon to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let ended = wait_for("casemated to end", Duration::from_secs(30), || {
            Ok(child.try_wait()?)
        });
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended
            .map(drop)
            .with_context(|| format!("casemated's log:\n{}", self.log()))
    }

    /// The directory that holds everything of this node.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The daemon's run directory.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// A path below this node's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the issuer listens.
    #[must_use]
    pub const fn issuer(&self) -> SocketAddr {
        self.issuer
    }

    /// The trust bundle, PEM.
    ///
    /// # Errors
    /// When the daemon has not written it.
    pub fn bundle(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.run().join("trust-bundle.pem"))?)
    }

    /// The daemon's log, for messages of failed tests.
    #[must_use]
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(60);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// The `casemate` command of a person whose files are in `home`.
    #[must_use]
    pub fn casemate(&self, home: &Path) -> Command {
        let mut command = Command::new(self.programs.path("casemate"));
        command.env("CASEMATE_SOCKET", self.run().join("casemated.sock"));
        command
            .env("CASEMATE_HOME", home)
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        command
    }

    /// Runs `casemate` as root and returns its stdout.
    ///
    /// # Errors
    /// When it does not exit with 0; the text holds its words and the daemon's log.
    pub fn run_casemate(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.casemate(&self.path("home"));
        crate::programs::output(command.args(arguments))
            .with_context(|| format!("casemated's log:\n{}", self.log()))
    }

    fn log_path(&self) -> PathBuf {
        self.path("casemated.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.is_none() && self.run().join("casemated.sock").exists() {
            // Killed by a test: what it left is cleaned up by its successor, as on a real host.
            drop(self.restart());
        }
        drop(self.stop());
    }
}
