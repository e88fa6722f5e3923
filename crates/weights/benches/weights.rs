//! Sealing, checking and reading a sealed model beside its peers, alternately, on the same work.
//!
//! `cargo bench -p casemate-weights -- [--json] [--mib N] [--rounds N] [--dir DIR] [--only TEXT]`
//!
//! Everything lies in memory (`/dev/shm` unless told otherwise), so that no disk is measured: a
//! disk only makes the ratios smaller. A cold read is one of a fresh mount. The view's numbers need
//! root, and are taken in a private mount namespace. The bar of each row is in the last column.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that fails has nothing to tell but where"
)]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use casemate_linux::namespace;
use casemate_weights::key_release::{Recipient, generate_identity, unwrap};
use casemate_weights::seal::{SealRequest, seal};
use casemate_weights::signing::{SigningKey, generate_key};
use casemate_weights::unlock::{OpenedModel, unlock};
use casemate_weights::verify::{Expectation, verify};
use casemate_weights::{no_progress, oms, open};

#[path = "support/mounts.rs"]
mod mounts;

struct Options {
    json: bool,
    mib: usize,
    rounds: usize,
    directory: PathBuf,
    only: String,
}

struct Row {
    name: &'static str,
    ours: f64,
    peer_name: &'static str,
    peer: f64,
    bar: f64,
}

pub(crate) struct Bench {
    pub(crate) place: tempfile::TempDir,
    signer: SigningKey,
    recipient: Recipient,
    bytes: u64,
    rounds: usize,
    only: String,
}

fn main() {
    let options = options();
    let place = tempfile::tempdir_in(&options.directory).unwrap();
    let (identity, recipient) = generate_identity();
    fs::write(place.path().join("identity.age"), identity.expose()).unwrap();
    fs::create_dir(place.path().join("plain")).unwrap();
    let model = place.path().join("plain/model.gguf");
    let mut random = File::open("/dev/urandom")
        .unwrap()
        .take((options.mib as u64) << 20);
    std::io::copy(&mut random, &mut File::create(&model).unwrap()).unwrap();
    let bench = Bench {
        place,
        signer: generate_key().unwrap(),
        recipient,
        bytes: (options.mib as u64) << 20,
        rounds: options.rounds,
        only: options.only,
    };
    let mut rows = Vec::new();
    bench.row(
        &mut rows,
        "seal",
        "age",
        2.0,
        || bench.seal(),
        || bench.age(),
    );
    bench.seal();
    bench.row(
        &mut rows,
        "verify sealed",
        "model-signing",
        1.7,
        || bench.verify(),
        || bench.python(),
    );
    bench.row(
        &mut rows,
        "verify plain",
        "model-signing",
        1.0,
        || bench.oms(),
        || bench.python(),
    );
    if rustix::process::geteuid().is_root() {
        namespace::isolate_mounts().unwrap();
        mounts::rows(&bench, &mut rows);
    } else {
        eprintln!("SKIPPED the view: mounting needs root");
    }
    print(&rows, options.json);
}

impl Bench {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Runs both alternately and keeps the best of each, in GB/s; a peer that is absent is skipped.
    fn row(
        &self,
        rows: &mut Vec<Row>,
        name: &'static str,
        peer_name: &'static str,
        bar: f64,
        ours: impl Fn() -> Option<Duration>,
        peer: impl Fn() -> Option<Duration>,
    ) {
        if !name.contains(&self.only) {
            return;
        }
        let (mut best_ours, mut best_peer) = (Duration::MAX, Duration::MAX);
        for _ in 0..self.rounds {
            let (Some(one), Some(other)) = (ours(), peer()) else {
                eprintln!("SKIPPED {name}: {peer_name} is not installed or failed");
                return;
            };
            best_ours = best_ours.min(one);
            best_peer = best_peer.min(other);
        }
        let rate = |time: Duration| self.bytes as f64 / time.as_secs_f64() / 1e9;
        rows.push(Row {
            name,
            ours: rate(best_ours),
            peer_name,
            peer: rate(best_peer),
            bar,
        });
        eprintln!(
            "{name}: {:.2} GB/s, {peer_name} {:.2} GB/s",
            rate(best_ours),
            rate(best_peer)
        );
    }

    fn seal(&self) -> Option<Duration> {
        let output = self.path("sealed");
        fs::remove_dir_all(&output).ok();
        let (source, recipients) = (self.path("plain"), [self.recipient.clone()]);
        let model = "bench@1".parse().unwrap();
        let mut request = SealRequest::new(&source, &output, model, &self.signer, &recipients);
        if let Some(kib) = option("--chunk-kib") {
            request.chunk_size = kib.parse::<u32>().unwrap() * 1024;
        }
        let start = Instant::now();
        seal(&request, &no_progress).unwrap();
        Some(start.elapsed())
    }

    fn age(&self) -> Option<Duration> {
        let output = self.path("peer.age");
        fs::remove_file(&output).ok();
        let mut age = Command::new("age");
        age.args(["--recipient", &self.recipient.to_string(), "--output"])
            .arg(&output);
        let time = timed(age.arg(self.path("plain/model.gguf")));
        fs::remove_file(&output).ok();
        time
    }

    pub(crate) fn open(&self) -> OpenedModel {
        let signers = vec![self.signer.public()];
        let expectation = Expectation {
            signers,
            ..Expectation::default()
        };
        let verified = verify(&self.path("sealed"), &expectation).unwrap();
        let key = unwrap(&verified, &self.path("identity.age")).unwrap();
        unlock(verified, &key).unwrap()
    }

    fn verify(&self) -> Option<Duration> {
        let start = Instant::now();
        open::check(&self.open(), open::Depth::Tags, &no_progress).unwrap();
        Some(start.elapsed())
    }

    fn oms(&self) -> Option<Duration> {
        let (plain, signers) = (self.path("plain"), [self.signer.public()]);
        let bundle = self.signature();
        let start = Instant::now();
        oms::verify_directory(&plain, &bundle, &signers, None, &no_progress).unwrap();
        Some(start.elapsed())
    }

    fn signature(&self) -> casemate_weights::bundle::Bundle {
        let file = self.path("model.sig");
        if !file.exists() {
            let bundle = oms::sign_directory(&self.path("plain"), &self.signer, &no_progress);
            fs::write(&file, bundle.unwrap().to_json()).unwrap();
            fs::write(self.path("signing.pub"), self.signer.public().to_pem()).unwrap();
        }
        casemate_weights::bundle::Bundle::parse(&fs::read(file).unwrap()).unwrap()
    }

    fn python(&self) -> Option<Duration> {
        self.signature();
        let installed = Path::new("/opt/cmvenv/bin/model_signing");
        let program = if installed.exists() {
            installed
        } else {
            Path::new("model_signing")
        };
        let mut python = Command::new(program);
        python
            .args(["verify", "key", "--signature"])
            .arg(self.path("model.sig"));
        timed(
            python
                .arg("--public_key")
                .arg(self.path("signing.pub"))
                .arg(self.path("plain")),
        )
    }
}

/// How long a program ran; nothing when it is absent or failed.
pub(crate) fn timed(command: &mut Command) -> Option<Duration> {
    let start = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    status.success().then(|| start.elapsed())
}

/// How long it takes to read `path` from start to end, as a loader does.
pub(crate) fn read_through(path: &Path) -> Duration {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    let mut file = File::open(path).unwrap();
    while file.read(&mut buffer).unwrap() > 0 {}
    start.elapsed()
}

fn print(rows: &[Row], json: bool) {
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "row": row.name, "unit": "GB/s", "ours": row.ours, "peer_name": row.peer_name,
                    "peer": row.peer, "ratio": row.ours / row.peer, "bar": row.bar,
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return;
    }
    println!(
        "{:<22} {:>10}  {:<22} {:>10} {:>7} {:>6}",
        "", "ours GB/s", "peer", "GB/s", "ratio", "bar"
    );
    for row in rows {
        println!(
            "{:<22} {:>10.2}  {:<22} {:>10.2} {:>7.2} {:>6.2}",
            row.name,
            row.ours,
            row.peer_name,
            row.peer,
            row.ours / row.peer,
            row.bar
        );
    }
}

pub(crate) fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.next()?;
    arguments.next()
}

fn options() -> Options {
    let number = |name, default| option(name).map_or(default, |text| text.parse().unwrap());
    Options {
        json: std::env::args().any(|argument| argument == "--json"),
        mib: number("--mib", 1024),
        rounds: number("--rounds", 3),
        directory: option("--dir")
            .unwrap_or_else(|| "/dev/shm".to_owned())
            .into(),
        only: option("--only").unwrap_or_default(),
    }
}
