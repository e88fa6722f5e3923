//! A real sandbox with one attempt in it: as planned, with one control taken out of the plan, and
//! plain runc's own default beside it.
//!
//! A control is taken out of both halves of the plan, what the runtime is told and what the first
//! process checks; otherwise the first process would end the run, which is a claim of its own (C12).

use std::fs;
use std::io::Read as _;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use casemate_linux::namespace;
use casemate_sandbox::bundle::Bundle;
use casemate_sandbox::image::{Bounds, unpack};
use casemate_sandbox::plan::{HostFacts, Plan, RootFileSystem, StageLimits, StageRequest, plan};
use casemate_sandbox::runtime::{Floor, Runc};
use casemate_sandbox::stage::{self, Confined, RunStageError};
use casemate_testkit::programs::{output, runc};
use casemate_testkit::{Programs, oci};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Attempt, Reference};

/// A place to make sandboxes in: an image with the attempting program, two networks, a runtime.
pub(crate) struct Lab {
    directory: TempDir,
    runc: Runc,
    request: StageRequest,
    witness: UdpSocket,
}

impl Lab {
    /// Moves this thread into a mount namespace of its own and makes everything there.
    pub(crate) fn new() -> Self {
        namespace::isolate_mounts().unwrap();
        let directory = tempfile::Builder::new()
            .prefix("casemate-claim-")
            .tempdir()
            .unwrap();
        let open =
            |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
        open(directory.path());
        let path = |name: &str| directory.path().join(name);
        let programs = Programs::locate().unwrap();
        fs::create_dir(path("programs")).unwrap();
        fs::set_permissions(path("programs"), fs::Permissions::from_mode(0o755)).unwrap();
        for (program, name) in [("casemate-init", "init"), ("casemate-probe", "probe")] {
            fs::copy(programs.path(program), path("programs").join(name)).unwrap();
        }
        oci::pack_program(&programs.path("attempt"), "attempt", &path("image")).unwrap();
        fs::create_dir(path("store")).unwrap();
        open(&path("store"));
        let image = unpack(&path("image"), &path("store"), &Bounds::default()).unwrap();
        for network in ["network", "neighbour"] {
            namespace::create_network(&path(network)).unwrap();
        }
        let neighbour = namespace::open_network(&path("neighbour")).unwrap();
        let witness = namespace::in_network(neighbour, || UdpSocket::bind("127.0.0.1:0")).unwrap();
        witness
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let (runc, _) = Runc::find(None, &path("runc"), Floor::Kept).unwrap();
        // Unique on the host, where control groups have one tree.
        let id = format!("claim-{}", std::process::id());
        let request = StageRequest {
            id,
            slot: 900,
            root: RootFileSystem::Image(image),
            kept: Vec::new(),
            command: Vec::new(),
            environment: Vec::new(),
            directory: None,
            models: Vec::new(),
            programs: path("programs"),
            network: path("network"),
            serves: 8000,
            flows: Vec::new(),
            writable: Vec::new(),
            limits: StageLimits {
                memory_bytes: 64 << 20,
                processes: 64,
                ..StageLimits::default()
            },
            host: HostFacts::detect().unwrap(),
        };
        Self {
            directory,
            runc,
            request,
            witness,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The network namespace of somebody else, in which the witness listens.
    pub(crate) fn neighbour(&self) -> PathBuf {
        self.path("neighbour")
    }

    /// Where the witness listens.
    pub(crate) fn witness_address(&self) -> String {
        self.witness.local_addr().unwrap().to_string()
    }

    /// Whether something arrived at the witness since the last question.
    pub(crate) fn witnessed(&self) -> bool {
        let mut bytes = [0; 16];
        self.witness.recv(&mut bytes).is_ok()
    }

    /// Makes the attempt in the sandbox as planned.
    pub(crate) fn ours(&self, words: &[&str]) -> Attempt {
        self.without(words, |_| {})
    }

    /// Makes the attempt with something taken out of the plan.
    pub(crate) fn without(&self, words: &[&str], change: impl FnOnce(&mut Plan)) -> Attempt {
        let (confined, said) = self.confined(words, change).unwrap();
        let serving = confined.serve().unwrap();
        let text = said
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_default();
        serving.stop(Duration::from_millis(100)).unwrap();
        judged(&text)
    }

    /// A sandbox whose first process has compared it with the plan and waits; what it will say.
    pub(crate) fn confined(
        &self,
        words: &[&str],
        change: impl FnOnce(&mut Plan),
    ) -> Result<(Confined, mpsc::Receiver<String>), RunStageError> {
        let mut request = self.request.clone();
        request.command = std::iter::once("/attempt")
            .chain(words.iter().copied())
            .map(str::to_owned)
            .collect();
        let mut plan = plan(&request).unwrap();
        change(&mut plan);
        let bundle = Bundle::prepare(&plan, &self.path("bundle"))?;
        let (reader, writer) = std::io::pipe().unwrap();
        let said = read_line(reader.into());
        let created = stage::create(&self.runc, &plan, bundle, writer.into())?;
        Ok((created.confine()?, said))
    }

    /// Makes the attempt under plain runc, with the configuration that `runc spec` writes.
    pub(crate) fn reference(
        &self,
        words: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> Option<Reference> {
        let bundle = self.path("reference");
        fs::create_dir_all(bundle.join("rootfs/tmp")).unwrap();
        let attempt = Programs::locate().unwrap().path("attempt");
        fs::copy(attempt, bundle.join("rootfs/attempt")).unwrap();
        let program = runc().unwrap();
        let mut spec = Command::new(&program);
        drop(fs::remove_file(bundle.join("config.json")));
        output(spec.arg("spec").current_dir(&bundle)).unwrap();
        let text = fs::read_to_string(bundle.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!([&["/attempt"], words].concat());
        change(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let id = format!("{}-reference", self.request.id);
        let mut run = Command::new(program);
        run.arg("--root").arg(self.path("runc-reference"));
        run.args(["run", "--bundle"]).arg(&bundle).arg(&id);
        let ran = run.output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        Some(Reference {
            what: "runc's own default",
            attempt: judged(&text),
        })
    }
}

/// Which control a list of mounts or rules loses.
pub(crate) fn forget<T>(list: &mut Vec<T>, which: impl Fn(&T) -> bool) {
    let before = list.len();
    list.retain(|item| !which(item));
    assert!(
        list.len() < before,
        "there was nothing to take out, so the plan is another than thought"
    );
}

fn judged(text: &str) -> Attempt {
    match text.trim() {
        "worked" => Attempt::Worked,
        "" => Attempt::Stopped("the kernel, which ended it".to_owned()),
        other => Attempt::Stopped(other.trim_start_matches("stopped: ").to_owned()),
    }
}

/// The first line that comes through `reader`, or nothing when it closes.
fn read_line(reader: OwnedFd) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut file = fs::File::from(reader);
        let mut text = String::new();
        let mut byte = [0];
        while !text.contains('\n') && matches!(file.read(&mut byte), Ok(1)) {
            text.push(char::from(byte[0]));
        }
        // Nobody waits any more when a test has failed.
        drop(sender.send(text));
    });
    receiver
}

impl Drop for Lab {
    fn drop(&mut self) {
        for network in ["network", "neighbour"] {
            drop(namespace::remove_network(&self.path(network)));
        }
    }
}

#[test]
fn an_attempt_at_nothing_works_everywhere() {
    casemate_testkit::needs_host!();
    let lab = Lab::new();
    assert_eq!(lab.ours(&["nothing"]), Attempt::Worked);
    assert_eq!(
        lab.reference(&["nothing"], |_| {}).unwrap().attempt,
        Attempt::Worked
    );
}
