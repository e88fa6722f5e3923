//! The page about first steps: its commands are run as they stand, in order, so that it cannot rot.
//!
//! Two things are changed: the directory, so that nobody's own is touched, and `cargo`, which is a
//! script that hands over to the program that `cargo xtask try` becomes once all is built.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casemate_testkit::leftovers::Snapshot;
use casemate_testkit::programs::checkout;
use casemate_testkit::{Programs, Tools, needs_host, wait_for};

const DIRECTORY: &str = "/opt/casemate-try";
const PORTS: [u16; 3] = [8443, 8444, 8445];

/// A block of commands of the page.
struct Block {
    /// Whether its last command stays until Ctrl-C.
    foreground: bool,
    text: String,
}

/// The shell blocks of a page, in order.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (inside, line) {
            (false, "```sh" | "```sh foreground") => {
                inside = true;
                blocks.push(Block {
                    foreground: line.ends_with("foreground"),
                    text: String::new(),
                });
            }
            (true, "```") => inside = false,
            (true, _) => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            (false, _) => {}
        }
    }
    blocks
}

/// The commands of a block; a line that ends in `\` goes on in the next.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if let Some(line) = line.strip_suffix('\\') {
            open.push_str(line);
            continue;
        }
        commands.push(std::mem::take(&mut open) + line);
    }
    commands
}

/// A terminal in which something runs until Ctrl-C.
struct Terminal {
    child: Child,
    log: PathBuf,
}

impl Terminal {
    fn open(scene: &Scene, number: usize, text: &str) -> Self {
        let log = scene.scratch.path().join(format!("terminal-{number}"));
        let file = fs::File::create(&log).unwrap();
        let child = scene
            .shell()
            .arg("-c")
            .arg(text)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut terminal = Self { child, log };
        wait_for(text, Duration::from_secs(120), || {
            let words = fs::read_to_string(&terminal.log)?;
            if let Some(status) = terminal.child.try_wait()? {
                anyhow::bail!("it ended with {status}:\n{words}");
            }
            Ok(words.contains("ready").then_some(()))
        })
        .unwrap();
        terminal
    }

    /// Ctrl-C, which goes to all that runs in the terminal.
    fn interrupt(&mut self, signal: &str) -> anyhow::Result<()> {
        let group = format!("-{}", self.child.id());
        Command::new("kill").args([signal, "--", &group]).status()?;
        wait_for("a terminal to end", Duration::from_secs(60), || {
            Ok(self.child.try_wait()?.map(drop))
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.interrupt("-TERM"));
        }
    }
}

/// Directories of this run, removed at its end.
struct Scene {
    scratch: tempfile::TempDir,
    directory: PathBuf,
}

impl Scene {
    fn new(demonstration: &Path) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("casemate-test-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let cargo = scratch.path().join("bin/cargo");
        fs::create_dir(scratch.path().join("bin")).unwrap();
        let text = format!(
            "#!/bin/sh\n[ \"$1 $2\" = 'xtask try' ] && exec '{}' try \"$3\"\nexit 64\n",
            demonstration.display()
        );
        fs::write(&cargo, text).unwrap();
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
        let directory = scratch.path().join("try");
        Self { scratch, directory }
    }

    fn shell(&self) -> Command {
        let mut bash = Command::new("bash");
        let search = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.scratch.path().join("bin").display()
        );
        bash.current_dir(checkout())
            .env_clear()
            .env("PATH", search)
            .env("HOME", self.scratch.path())
            .env("CASEMATE_BIN", Programs::locate().unwrap().directory())
            .stdin(Stdio::null());
        bash
    }

    fn here(&self, text: &str) -> String {
        text.replace(DIRECTORY, &self.directory.display().to_string())
    }
}

#[test]
fn the_page_about_first_steps_can_be_followed() {
    needs_host!();
    let tools = Tools::locate();
    let lacking = [
        tools.model(),
        tools.llama_packages(),
        tools.python_program("oidc-provider-mock"),
    ];
    if let Some(lacking) = lacking.into_iter().find_map(Result::err) {
        casemate_testkit::skip!("{lacking}");
    }
    let test = std::env::current_exe().unwrap();
    let demonstration = test.ancestors().nth(2).unwrap().join("chat-demo");
    if !demonstration.is_file() {
        casemate_testkit::skip!("{} is not built", demonstration.display());
    }
    let before = Snapshot::take();
    let page = fs::read_to_string(checkout().join("docs/guide/first-steps.md")).unwrap();
    let blocks = blocks(&page);
    let scene = Scene::new(&demonstration);
    let mut terminals = Vec::new();
    // One shell for all that is typed into the third terminal; it tells how each command ended.
    let mut script = String::new();
    let mut expected = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        if block.foreground {
            assert!(script.is_empty(), "a terminal is opened after the third");
            terminals.push(Terminal::open(&scene, number, &scene.here(&block.text)));
            continue;
        }
        for command in commands(&block.text) {
            script.push_str(&scene.here(&command));
            script.push_str(&format!("\necho \"{MARK} $?\"\n"));
            let exit = if command.ends_with("exits 1") { 1 } else { 0 };
            expected.push((command, exit));
        }
    }
    assert!(terminals.len() == 2 && expected.len() > 20, "{script}");
    let file = scene.scratch.path().join("third-terminal");
    fs::write(&file, format!("exec 2>&1\n{script}")).unwrap();
    let output = scene.shell().arg(&file).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let ends: Vec<&str> = words
        .lines()
        .filter_map(|line| line.split_once(MARK).map(|(_, code)| code.trim()))
        .collect();
    assert_eq!(ends.len(), expected.len(), "{words}");
    for ((command, exit), end) in expected.iter().zip(ends) {
        assert_eq!(end, exit.to_string(), "`{command}` in:\n{words}");
    }
    let passed_on = words.lines().find(|line| line.contains("passed on: "));
    let passed_on = passed_on.unwrap_or_else(|| panic!("nothing was shown:\n{words}"));
    assert!(
        passed_on.contains("[e-mail]") && !passed_on.contains('@'),
        "{passed_on}"
    );
    assert!(words.contains("route_denied"), "{words}");
    for terminal in terminals.iter_mut().rev() {
        terminal.interrupt("-INT").unwrap();
    }
    assert!(scene.directory.join("chat.yaml").is_file());
    let left = Snapshot::leftovers(&before, &scene.directory, &PORTS);
    assert!(left.is_empty(), "left over: {left:?}");
}

#[test]
fn a_block_is_read_with_its_kind_and_its_continued_lines() {
    let page =
        "a\n```sh foreground\nstay\n```\n```yaml\nno: 1\n```\n```sh\none \\\n    more\ntwo\n```\n";
    let blocks = blocks(page);
    assert_eq!(blocks.len(), 2);
    assert!(blocks[0].foreground && !blocks[1].foreground);
    assert_eq!(commands(&blocks[1].text), ["one     more", "two"]);
}

const MARK: &str = "@@ ended with";
