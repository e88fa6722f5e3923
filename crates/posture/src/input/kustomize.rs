//! Folders with a kustomization, rendered by `kubectl kustomize` where there is one.
//!
//! The files of such a folder are parts of something and say nothing alone. Rendering runs under a bound of time
//! and output, with an empty environment, and not at all when the kustomization names something remote:
//! a scan does not open a connection.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{cannot_tell, refuse, texts};
use crate::node::Node;
use crate::place::FileId;
use crate::scan::Corpus;
use crate::yaml;

/// What a kustomization's file is called.
pub(super) const NAMES: &[&str] = &["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What a kustomization builds on: other folders, and anything remote.
#[derive(Debug, Default)]
struct Parts {
    folders: Vec<PathBuf>,
    remote: Option<String>,
}

/// The kustomizations that no other of them builds on: the others are rendered as a part of these.
pub(super) fn roots(folders: &[PathBuf]) -> Vec<PathBuf> {
    let used: HashSet<PathBuf> = folders
        .iter()
        .flat_map(|folder| parts(folder).folders)
        .collect();
    let is_used = |folder: &PathBuf| fs::canonicalize(folder).is_ok_and(|own| used.contains(&own));
    folders
        .iter()
        .filter(|folder| !is_used(folder))
        .cloned()
        .collect()
}

fn parts(folder: &Path) -> Parts {
    let mut found = Parts::default();
    let text = NAMES.iter().find_map(|name| read(&folder.join(name)));
    let stream = yaml::read(FileId::default(), &text.unwrap_or_default());
    for document in &stream.documents {
        // Whatever list a name stands in, it may be fetched from there.
        document.walk(&mut |node| {
            if let Some(remote) = node.text().filter(|text| is_remote(text)) {
                found.remote.get_or_insert_with(|| remote.to_owned());
            }
        });
        for key in ["resources", "bases", "components"] {
            let named = document.list(key).iter().filter_map(Node::text);
            let paths = named.filter_map(|name| fs::canonicalize(folder.join(name)).ok());
            found.folders.extend(paths.filter(|path| path.is_dir()));
        }
    }
    found
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let is_small = metadata.is_file() && metadata.len() <= MAX_BYTES;
    is_small.then(|| fs::read_to_string(path).ok()).flatten()
}

/// Whether kustomize would fetch this from somewhere.
fn is_remote(text: &str) -> bool {
    let hosts = [
        "github.com/",
        "gitlab.com/",
        "bitbucket.org/",
        "git@",
        "git::",
        "gh:",
    ];
    text.contains("://")
        || text.contains("?ref=")
        || text.contains(".git//")
        || hosts.iter().any(|host| text.starts_with(host))
}

/// What is remote in a kustomization or anything that it builds on.
fn remote(folder: &Path) -> Option<String> {
    let mut open = vec![folder.to_owned()];
    let mut seen = HashSet::new();
    while let Some(folder) = open.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        if seen.len() > MAX_FOLDERS {
            return Some(format!("more than {MAX_FOLDERS} folders"));
        }
        let parts = parts(&folder);
        if parts.remote.is_some() {
            return parts.remote;
        }
        open.extend(parts.folders);
    }
    None
}

/// Renders a kustomization and reads what comes out.
pub(super) fn render(corpus: &mut Corpus, folder: &Path) {
    let name = folder.display().to_string();
    if let Some(remote) = remote(&canonical(folder)) {
        let message = format!(
            "a kustomization with `{remote}` in it, which may be fetched: render it and scan the output"
        );
        return cannot_tell(corpus, &name, &message);
    }
    match run(folder) {
        Ok(text) => {
            let shown = format!("{name} (kubectl kustomize)");
            texts::add_text(corpus, &shown, &text, texts::Form::Yaml);
        }
        Err(Failed::Missing) => {
            let message = "a kustomization, and `kubectl` is not here to render it: scan what `kubectl kustomize` prints";
            cannot_tell(corpus, &name, message);
        }
        Err(Failed::Told(message)) => {
            refuse(corpus, &name, &format!("kubectl kustomize: {message}"))
        }
    }
}

fn canonical(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

enum Failed {
    Missing,
    Told(String),
}

fn run(folder: &Path) -> Result<String, Failed> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let child = Command::new("kubectl")
        .arg("kustomize")
        .arg(canonical(folder))
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/nonexistent")
        .env("KUBECONFIG", "/nonexistent")
        // Should it want to fetch something all the same.
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Failed::Missing),
        Err(error) => return Err(Failed::Told(error.to_string())),
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let out = scope.spawn(|| bounded(out));
        let err = scope.spawn(|| bounded(err));
        let ended = wait(&mut child);
        let out = out.join().unwrap_or_default();
        let err = err.join().unwrap_or_default();
        match ended {
            Some(true) if u64::try_from(out.len()).unwrap_or(u64::MAX) > MAX_OUTPUT => Err(
                Failed::Told(format!("it prints more than {MAX_OUTPUT} bytes")),
            ),
            Some(true) => String::from_utf8(out)
                .map_err(|_| Failed::Told("its output is not UTF-8 text".to_owned())),
            Some(false) => {
                let err = String::from_utf8_lossy(&err);
                Err(Failed::Told(
                    err.lines().next().unwrap_or("it failed").to_owned(),
                ))
            }
            None => Err(Failed::Told(format!(
                "stopped after {} seconds",
                MAX_TIME.as_secs()
            ))),
        }
    })
}

/// Reads to the end and keeps what is within the bound, so that the program never waits for its reader.
fn bounded(source: Option<impl Read>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut source) = source else {
        return kept;
    };
    // An error ends the output as an end does: the exit status says the rest.
    if source
        .by_ref()
        .take(MAX_OUTPUT + 1)
        .read_to_end(&mut kept)
        .is_ok()
    {
        let mut rest = [0; 8192];
        while source.read(&mut rest).is_ok_and(|count| count > 0) {}
    }
    kept
}

/// Whether it ended well; none when it had to be killed.
fn wait(child: &mut Child) -> Option<bool> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if started.elapsed() < MAX_TIME => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Ok(None) | Err(_) => {
                let killed = child.kill().and_then(|()| child.wait());
                return killed.ok().and(None);
            }
        }
    }
}

const MAX_BYTES: u64 = 1024 * 1024;
const MAX_OUTPUT: u64 = 32 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_secs(20);
const MAX_FOLDERS: usize = 64;
