//! The vault as the daemon starts it: own uid, no capability, everything by descriptor.
//!
//! Mounting needs root; each test mounts in a private namespace of its own thread.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot prepare itself must fail, and say where"
)]
#![expect(
    clippy::panic,
    reason = "another report than the expected one fails the test"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use casemate_api::vault::{Report, SealedDescriptors, Settings};
use casemate_linux::process::{Child, Command, Exit, Resource};
use casemate_linux::{memory, mount, namespace, socket};
use casemate_weights::artifact::SealedFiles;
use casemate_weights::key_release::{Identity, generate_identity, unwrap_with};
use casemate_weights::no_progress;
use casemate_weights::seal::{SealRequest, seal};
use casemate_weights::signing::{PublicKey, generate_key};
use casemate_weights::verify::{Expectation, verify};

const UID: u32 = 522_777;

struct Sealed {
    directory: tempfile::TempDir,
    signer: PublicKey,
    identity: Identity,
    plain: Vec<u8>,
}

struct Vault {
    child: Child,
    control: BufReader<File>,
    place: PathBuf,
}

impl Sealed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (secret, recipient) = generate_identity();
        let signer = generate_key().unwrap();
        fs::create_dir(path("plain")).unwrap();
        let plain: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(path("plain/model.gguf"), &plain).unwrap();
        let (source, output) = (path("plain"), path("sealed"));
        let recipients = [recipient];
        let model = "m@1".parse().unwrap();
        let mut request = SealRequest::new(&source, &output, model, &signer, &recipients);
        request.epoch = 3;
        seal(&request, &no_progress).unwrap();
        // Nobody but root reads the artefact: the vault lives off its descriptors.
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(directory.path(), owner_only).unwrap();
        let identity = Identity::parse(secret.expose()).unwrap();
        Self {
            directory,
            signer: signer.public(),
            identity,
            plain,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, change: impl FnOnce(&mut Settings)) -> Vault {
        let place = self.path("view");
        fs::create_dir_all(&place).unwrap();
        let request = mount::Fuse {
            name: "casemate",
            uid: UID,
            gid: UID,
            largest_read_bytes: 1 << 24,
            flags: mount::Flags::DATA,
        };
        let device = mount::fuse(&place, &request).unwrap();
        let signers = vec![self.signer.clone()];
        let expectation = Expectation {
            signers,
            ..Expectation::default()
        };
        let verified = verify(&self.path("sealed"), &expectation).unwrap();
        let key = unwrap_with(&verified, &self.identity).unwrap();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        File::from(write).write_all(key.expose()).unwrap();
        let mut settings = Settings {
            model: "m@1".parse().unwrap(),
            files: SealedDescriptors {
                header: 10,
                key: 11,
                index: 12,
                tags: 13,
                data: 14,
            },
            fuse: 5,
            key: 6,
            signers: vec![self.signer.to_pem()],
            root_digest: Some(verified.header().root_digest.to_string()),
            minimum_epoch: 3,
            cache_mib: 8,
            threads: 2,
        };
        change(&mut settings);
        let text = serde_json::to_vec(&settings).unwrap();
        let (ours, theirs) = socket::pair().unwrap();
        let files = SealedFiles::open(&self.path("sealed"))
            .unwrap()
            .into_descriptors();
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-vault"));
        command
            .descriptor(2, std::io::stderr().try_clone_to_owned())
            .descriptor(3, memory::sealed_file("settings", &text).unwrap())
            .descriptor(4, theirs)
            .descriptor(5, device)
            .descriptor(6, read)
            .identity(UID, UID, &[])
            .confined()
            .dies_with_parent()
            .limit_up_to(Resource::Memlock, 512 << 20)
            .limit(Resource::Nofile, 64);
        for (number, file) in (10..).zip(files) {
            command.descriptor(number, file);
        }
        let child = command.spawn().unwrap();
        drop(command);
        Vault {
            child,
            control: BufReader::new(File::from(OwnedFd::from(ours))),
            place,
        }
    }
}

trait TryCloneToOwned {
    fn try_clone_to_owned(&self) -> OwnedFd;
}

impl TryCloneToOwned for std::io::Stderr {
    fn try_clone_to_owned(&self) -> OwnedFd {
        use std::os::fd::AsFd as _;
        self.as_fd().try_clone_to_owned().unwrap()
    }
}

impl Vault {
    fn report(&mut self) -> Report {
        let mut line = String::new();
        self.control.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn ended(&self) -> Exit {
        self.child
            .wait_for(Duration::from_secs(20))
            .unwrap()
            .unwrap()
    }
}

/// Runs `body` in a mount namespace of its own, when this is root.
fn in_private(body: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        let line = b"SKIPPED: a vault needs root and /dev/fuse\n";
        return std::io::stderr().write_all(line).unwrap();
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            namespace::isolate_mounts().unwrap();
            body();
        });
    });
}

#[test]
fn a_vault_verifies_confines_itself_serves_and_says_what_it_did() {
    in_private(|| {
        let sealed = Sealed::new();
        let mut vault = sealed.start(|_| {});
        let Report::Ready(ready) = vault.report() else {
            panic!("not ready")
        };
        assert_eq!(
            (ready.files, ready.bytes, ready.epoch),
            (1, sealed.plain.len() as u64, 3)
        );
        assert_eq!(ready.signer, sealed.signer.fingerprint());

        let status = fs::read_to_string(format!("/proc/{}/status", vault.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(field("Uid:"), UID.to_string());
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        assert_ne!(field("VmLck:"), "0");

        assert!(fs::read(vault.place.join("model.gguf")).unwrap() == sealed.plain);
        mount::unmount(&vault.place).unwrap();
        let Report::Stopped(served) = vault.report() else {
            panic!("not stopped")
        };
        assert_eq!(
            (served.bytes, served.corrupt),
            (sealed.plain.len() as u64, 0)
        );
        assert_eq!(vault.ended(), Exit::Status(0));
    });
}

#[test]
fn a_corrupt_chunk_is_reported_once_and_read_by_nobody() {
    in_private(|| {
        let sealed = Sealed::new();
        let data = File::options()
            .write(true)
            .open(sealed.path("sealed/data"))
            .unwrap();
        data.write_all_at(b"!", 5).unwrap();
        let mut vault = sealed.start(|_| {});
        assert!(matches!(vault.report(), Report::Ready(_)));
        let file = File::open(vault.place.join("model.gguf")).unwrap();
        let mut buffer = [0; 4096];
        for _ in 0..3 {
            let error = file.read_at(&mut buffer, 0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "EIO");
        }
        let second = 1 << 20;
        file.read_exact_at(&mut buffer, second as u64).unwrap();
        assert!(buffer == sealed.plain[second..second + 4096]);
        let Report::Corrupt { path, chunk, .. } = vault.report() else {
            panic!("no report")
        };
        assert_eq!((path.as_str(), chunk), ("model.gguf", 0));
        drop(file);
        mount::unmount(&vault.place).unwrap();
        assert!(
            matches!(vault.report(), Report::Stopped(_)),
            "reported once"
        );
    });
}

#[test]
fn a_vault_ends_with_its_daemon_and_answers_nothing_more() {
    in_private(|| {
        let sealed = Sealed::new();
        let mut vault = sealed.start(|_| {});
        assert!(matches!(vault.report(), Report::Ready(_)));
        let file = File::open(vault.place.join("model.gguf")).unwrap();
        drop(vault.control);
        let exit = vault.child.wait_for(Duration::from_secs(20)).unwrap();
        assert_eq!(exit, Some(Exit::Status(0)));
        assert!(file.read_at(&mut [0; 10], 0).is_err());
        mount::unmount(&vault.place).unwrap();
    });
}

#[test]
fn a_model_that_is_not_the_expected_one_is_refused_with_the_reason() {
    in_private(|| {
        let sealed = Sealed::new();
        let stranger = generate_key().unwrap().public().to_pem();
        let refused = |change: &dyn Fn(&mut Settings), words: &str| {
            let mut vault = sealed.start(change);
            let Report::Refused { reason } = vault.report() else {
                panic!("not refused")
            };
            assert!(reason.contains(words), "{reason}");
            let exit = vault.ended();
            mount::unmount(&vault.place).unwrap();
            exit
        };
        let model = |settings: &mut Settings| settings.model = "m@2".parse().unwrap();
        assert_eq!(refused(&model, "this is m@1, not m@2"), Exit::Status(1));
        assert_eq!(
            refused(&|settings| settings.minimum_epoch = 4, "epoch is 3"),
            Exit::Status(1)
        );
        let signer = |settings: &mut Settings| settings.signers = vec![stranger.clone()];
        assert_eq!(
            refused(&signer, "not one of the 1 trusted"),
            Exit::Status(1)
        );
        let nobody = |settings: &mut Settings| settings.signers.clear();
        assert_eq!(refused(&nobody, "no public key"), Exit::Status(70));
        let digest = |settings: &mut Settings| settings.root_digest = Some("0".repeat(64));
        assert_eq!(refused(&digest, "root digest"), Exit::Status(1));
    });
}

#[test]
fn a_vault_that_nobody_handed_anything_ends_at_once() {
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_casemate-vault"))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(70));
}
