//! A place for one test: directories, a mount tree and networks of its own.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use casemate_linux::namespace;
use casemate_sandbox::bundle::Bundle;
use casemate_sandbox::plan::{HostFacts, Plan, RootFileSystem, StageLimits, StageRequest, plan};
use casemate_sandbox::runtime::{Floor, Runc};
use casemate_sandbox::stage::{self, Created, RunStageError, Serving};

pub(crate) struct Lab {
    directory: tempfile::TempDir,
    pub(crate) runc: Runc,
    slot: u16,
}

/// Runs a test in a mount namespace of its own, or says why it cannot be run.
pub(crate) fn run(slot: u16, test: impl FnOnce(&Lab) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let Some(init) = init() else {
        println!("skipped: casemate-init cannot be built statically here");
        return;
    };
    let outcome = std::thread::spawn(move || {
        namespace::isolate_mounts().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(directory.path(), 0o711);
        for part in ["bundles", "networks", "programs", "views", "images"] {
            fs::create_dir(directory.path().join(part)).unwrap();
            open(&directory.path().join(part), 0o711);
        }
        let programs = directory.path().join("programs");
        open(&programs, 0o755);
        fs::copy(init, programs.join("init")).unwrap();
        open(&programs.join("init"), 0o755);
        let (runc, _) = match Runc::find(None, &directory.path().join("runc"), Floor::Kept) {
            Ok(found) => found,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        let lab = Lab {
            directory,
            runc,
            slot,
        };
        test(&lab);
        let left = casemate_linux::mount::list(lab.directory.path()).unwrap();
        assert_eq!(left, [], "mounts are left");
        assert_eq!(
            lab.runc.containers().unwrap(),
            Vec::<String>::new(),
            "containers are left"
        );
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The static program, built once.
fn init() -> Option<&'static Path> {
    static INIT: OnceLock<Option<PathBuf>> = OnceLock::new();
    INIT.get_or_init(|| {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "casemate-init",
                "--target",
                &target,
            ])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .ok()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        let program = root.join(target).join("debug/casemate-init");
        (status.success() && program.is_file()).then_some(program)
    })
    .as_deref()
}

impl Lab {
    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.directory.path().join(part)
    }

    pub(crate) fn request(&self, command: &[&str]) -> StageRequest {
        StageRequest {
            id: format!("lab-{}-{}", std::process::id(), self.slot),
            slot: self.slot,
            root: RootFileSystem::HostDirectories(vec!["/usr".into()]),
            kept: vec![self.path("views")],
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: Vec::new(),
            directory: None,
            models: Vec::new(),
            programs: self.path("programs"),
            network: self.path("networks/stage"),
            serves: 8000,
            flows: Vec::new(),
            writable: Vec::new(),
            limits: StageLimits {
                memory_bytes: 512 << 20,
                processes: 64,
                ..StageLimits::default()
            },
            host: HostFacts::detect().unwrap(),
        }
    }

    pub(crate) fn shell(&self, script: &str) -> StageRequest {
        self.request(&["/bin/sh", "-c", script])
    }

    pub(crate) fn create(&self, plan: &Plan) -> Result<(Created, Output), RunStageError> {
        let network = self.path("networks/stage");
        if !network.exists() {
            namespace::create_network(&network).unwrap();
        }
        let bundle = Bundle::prepare(plan, &self.path("bundles/stage"))?;
        let path = self.path("output");
        let file = File::create(&path).unwrap();
        let created = stage::create(&self.runc, plan, bundle, file.into())?;
        Ok((created, Output(path)))
    }

    pub(crate) fn serve(&self, request: &StageRequest) -> (Serving, Output) {
        let plan = plan(request).unwrap();
        let (created, output) = self.create(&plan).unwrap();
        let served = created.confine().and_then(stage::Confined::serve);
        let serving = served.unwrap_or_else(|error| panic!("{error:?}: {}", output.text()));
        (serving, output)
    }

    /// Runs a script to its end and returns what it wrote.
    pub(crate) fn output(&self, request: &StageRequest) -> String {
        let (serving, output) = self.serve(request);
        wait_for("the script", Duration::from_secs(60), || {
            serving.exit().unwrap()
        });
        serving.stop(Duration::ZERO).unwrap();
        self.remove_network();
        output.text()
    }

    pub(crate) fn remove_network(&self) {
        namespace::remove_network(&self.path("networks/stage")).unwrap();
    }

    pub(crate) fn null() -> OwnedFd {
        File::options()
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    }
}

pub(crate) struct Output(PathBuf);

impl Output {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        File::open(&self.0)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

/// Waits until there is something, with a deadline.
pub(crate) fn wait_for<T>(what: &str, longest: Duration, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < longest,
            "{what} did not come within {longest:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
