//! Prepares a directory in which a person does by hand what the demonstration does by itself, and
//! runs the OpenID provider that they log in at for as long as they need it.
//!
//! Keys are left to the person: whoever makes them for somebody else has them too. A directory that
//! is there already is used again, and what is missing in it is put in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use casemate_testkit::{Chat, IdentityProvider, Programs, Tools, chat, programs};

use crate::narrator::Narrator;

/// A prepared directory and its provider, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Workshop {
    directory: PathBuf,
    provider: IdentityProvider,
}

/// Makes everything ready in `directory`.
pub(crate) fn open(narrator: Narrator, directory: &Path) -> anyhow::Result<Workshop> {
    check(directory)?;
    let tools = Tools::locate();
    let provider_at = SocketAddr::from((Ipv4Addr::LOCALHOST, PROVIDER_PORT));
    drop(TcpListener::bind(provider_at).with_context(|| {
        format!("{provider_at} is taken; the OpenID provider listens there (is another one open?)")
    })?);
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make `{}`", directory.display()))?;
    // First, because it is the sign by which the directory is known the next time.
    place(directory, ENVIRONMENT, |path| {
        let text = environment(directory, Programs::locate()?.directory());
        Ok(fs::write(path, text)?)
    })?;
    place(directory, "model", |path| {
        fs::create_dir(path)?;
        fs::copy(tools.model()?, path.join("model.gguf"))?;
        Ok(())
    })?;
    place(directory, "redact.oci", chat::pack_redact)?;
    place(directory, "llama", |path| chat::copy_server(&tools, path))?;
    let issuer = format!("http://{provider_at}");
    place(directory, "chat.yaml", |path| {
        let gate = SocketAddr::from((Ipv4Addr::LOCALHOST, GATE_PORT));
        let text = chat::enclosure(&issuer, &directory.join("llama"), gate)?;
        Ok(fs::write(path, text)?)
    })?;
    place(directory, "question.json", |path| {
        let question = Chat::question(QUESTION, 96, true);
        let text = serde_json::to_string_pretty(&question)?;
        Ok(fs::write(path, text + "\n")?)
    })?;
    place(directory, "corporate-login", |path| {
        let example = programs::checkout().join("examples/chat/corporate-login");
        let text = fs::read_to_string(example).context("examples/chat/corporate-login")?;
        fs::write(path, text.replace("https://idp.example.internal", &issuer))?;
        Ok(fs::set_permissions(
            path,
            fs::Permissions::from_mode(0o755),
        )?)
    })?;
    let provider = IdentityProvider::start_at(&tools, provider_at)?;
    provider.add_user("alice", &["analysts"])?;
    provider.add_user("bob", &["visitors"])?;
    let workshop = Workshop {
        directory: directory.to_owned(),
        provider,
    };
    workshop.explain(narrator);
    Ok(workshop)
}

impl Workshop {
    fn explain(&self, narrator: Narrator) {
        let directory = self.directory.display();
        narrator.heading(&format!("{directory} has what first steps need"));
        for (name, what) in CONTENT {
            narrator.say(&format!("{name:<16} {what}"));
        }
        narrator.heading("In a second terminal, as root");
        narrator.say(&format!("cd {directory} && . ./environment && casemated"));
        narrator.heading("In a third terminal, as root");
        narrator.say(&format!("cd {directory} && . ./environment"));
        for line in STEPS {
            narrator.say(line);
        }
        narrator.say("\ndocs/guide/first-steps.md says what each of them does.");
        narrator.say(&format!(
            "An OpenID provider is ready on {}: alice is an analyst, bob a visitor. Ctrl-C ends it.",
            self.provider.issuer()
        ));
    }

    /// What is left when it ends, and how to be rid of it.
    pub(crate) fn close(self, narrator: Narrator) {
        let directory = self.directory.display().to_string();
        drop(self);
        narrator.say(&format!(
            "\nthe OpenID provider ended; {directory} is kept\n\
             go on:        cargo xtask try {directory}\n\
             be rid of it: casemate down chat, end casemated, and rm -r {directory}"
        ));
    }
}

/// Refuses a directory that is somebody's, and places that a stage cannot be shown.
fn check(directory: &Path) -> anyhow::Result<()> {
    ensure!(
        directory.is_absolute(),
        "`{}` must be an absolute path",
        directory.display()
    );
    for hidden in ["/tmp", "/root", "/home", "/proc", "/sys", "/dev", "/run"] {
        ensure!(
            !directory.starts_with(hidden),
            "`{}` cannot be used: a stage has its own {hidden}, or may not enter it; take one below /opt or /var",
            directory.display()
        );
    }
    if directory.join(ENVIRONMENT).is_file() || !directory.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(directory)
        .with_context(|| format!("cannot look into `{}`", directory.display()))?;
    if entries.next().is_some() {
        bail!(
            "`{}` holds files that are not ours; name another directory",
            directory.display()
        );
    }
    Ok(())
}

/// Puts one thing in if it is not there. It gets its name when it is whole.
fn place(
    directory: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let target = directory.join(name);
    if target.exists() {
        return Ok(());
    }
    let partial = directory.join(format!(".{name}.partial"));
    if partial.is_dir() {
        fs::remove_dir_all(&partial)?;
    }
    make(&partial).with_context(|| format!("cannot make `{}`", target.display()))?;
    fs::rename(&partial, &target).with_context(|| format!("cannot make `{}`", target.display()))
}

fn environment(directory: &Path, programs: &Path) -> String {
    let (directory, programs) = (directory.display(), programs.display());
    format!(
        "# For a shell, in each terminal: . ./environment\n\
         # Finds the programs, and keeps all that they write in this directory.\n\
         export PATH=\"{programs}:$PATH\"\n\
         export CASEMATE_STATE=\"{directory}/state\" CASEMATE_RUN=\"{directory}/run\"\n\
         export CASEMATE_SOCKET=\"{directory}/run/casemated.sock\" CASEMATE_HOME=\"{directory}/home\"\n"
    )
}

const ENVIRONMENT: &str = "environment";
const PROVIDER_PORT: u16 = 8445;
const GATE_PORT: u16 = 8443;

const CONTENT: &[(&str, &str)] = &[
    (ENVIRONMENT, "for each terminal: where the programs are"),
    ("model/", "a real language model, in plain"),
    ("redact.oci/", "the pre-processor, an OCI image layout"),
    ("llama/", "llama.cpp's server, shown to its stage as it is"),
    (
        "chat.yaml",
        "the enclosure: two stages, two flows, one exposed port",
    ),
    ("question.json", "a question with an address in it"),
    (
        "corporate-login",
        "prints an ID token: ./corporate-login alice",
    ),
];

const STEPS: &[&str] = &[
    "casemate model keygen --out keys",
    "casemate model seal ./model ./smollm2.sealed --name smollm2-135m-instruct \\",
    "    --model-version 1 --recipient keys/recipient.txt --signer keys/signing.key",
    "casemate up chat.yaml",
    "./corporate-login alice > id-token",
    "casemate login --token-file id-token",
    "casemate ticket exchange --stage redact",
    "casemate call redact /v1/chat/completions -d @question.json --stream",
];

const QUESTION: &str =
    "My address is alice@example.org. What is a fortress? Answer in one sentence.";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{ENVIRONMENT, check, place};

    #[test]
    fn a_directory_with_somebodys_files_is_left_alone() {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        check(scratch.path()).unwrap();
        fs::write(scratch.path().join("thesis.tex"), "").unwrap();
        assert!(check(scratch.path()).is_err());
        fs::write(scratch.path().join(ENVIRONMENT), "").unwrap();
        check(scratch.path()).unwrap();
    }

    #[test]
    fn places_that_a_stage_cannot_be_shown_are_refused() {
        assert!(check(Path::new("/tmp/try")).is_err());
        assert!(check(Path::new("try")).is_err());
        check(Path::new("/opt/casemate-never-made")).unwrap();
    }

    #[test]
    fn what_is_there_is_kept_and_what_failed_has_no_name() {
        let scratch = tempfile::tempdir().unwrap();
        place(scratch.path(), "a", |path| Ok(fs::write(path, "first")?)).unwrap();
        place(scratch.path(), "a", |path| Ok(fs::write(path, "second")?)).unwrap();
        let kept = fs::read_to_string(scratch.path().join("a")).unwrap();
        assert_eq!(kept, "first");
        let failed = place(scratch.path(), "b", |path| {
            fs::create_dir(path)?;
            anyhow::bail!("no room")
        });
        assert!(failed.is_err() && !scratch.path().join("b").exists());
        place(scratch.path(), "b", |path| Ok(fs::create_dir(path)?)).unwrap();
    }
}
