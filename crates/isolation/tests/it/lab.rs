//! Makes small OCI bundles, runs the prober in them, and takes everything away again.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use casemate_core::finding::{
    Budget, Finding, Grants, Limits, ModelGrant, Namespaces, ProbeOrder, Verdict,
};
use casemate_isolation::conduct::{Conducted, conduct};
use casemate_isolation::guard;
use casemate_isolation::witness::{Witness, WitnessSettings};

mod bundle;

/// Everything that can be taken away from the hardened sandbox, one by one.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) user_namespace: bool,
    pub(crate) own_network: bool,
    pub(crate) own_ipc: bool,
    pub(crate) own_cgroup_view: bool,
    pub(crate) memory_files_execute: bool,
    pub(crate) leaked_directory: bool,
    pub(crate) seccomp: Seccomp,
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) uid: u32,
    pub(crate) no_new_privileges: bool,
    pub(crate) read_only_root: bool,
    pub(crate) scratch_options: Vec<&'static str>,
    pub(crate) scratch_bytes: u64,
    pub(crate) masked: bool,
    pub(crate) pids: Option<u32>,
    pub(crate) memory: Option<u64>,
    pub(crate) core: u64,
    pub(crate) view_options: Vec<&'static str>,
    pub(crate) extra_devices: bool,
    pub(crate) host_directory: bool,
    pub(crate) environment: Vec<&'static str>,
    /// Bytes of a plain model in the root file system.
    pub(crate) plain_model: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seccomp {
    None,
    Engine,
    Hardened,
}

pub(crate) const PIDS: u32 = 96;
pub(crate) const MEMORY: u64 = 160 << 20;
pub(crate) const SCRATCH: u64 = 4 << 20;
const MODEL: u64 = 12 << 20;

impl Variant {
    pub(crate) fn hardened() -> Self {
        Self {
            user_namespace: true,
            own_network: true,
            own_ipc: true,
            own_cgroup_view: true,
            memory_files_execute: false,
            leaked_directory: false,
            seccomp: Seccomp::Hardened,
            capabilities: Vec::new(),
            uid: 1000,
            no_new_privileges: true,
            read_only_root: true,
            scratch_options: vec!["nosuid", "nodev", "noexec", "mode=1777"],
            scratch_bytes: SCRATCH,
            masked: true,
            pids: Some(PIDS),
            memory: Some(MEMORY),
            core: 0,
            view_options: vec!["bind", "ro", "nosuid", "nodev", "noexec"],
            extra_devices: false,
            host_directory: false,
            environment: Vec::new(),
            plain_model: false,
        }
    }

    /// As `runc spec` writes it.
    pub(crate) fn runtime_default() -> Self {
        Self {
            user_namespace: false,
            own_cgroup_view: false,
            memory_files_execute: true,
            seccomp: Seccomp::None,
            capabilities: vec!["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            uid: 0,
            scratch_options: vec!["nosuid", "nodev", "mode=1777"],
            scratch_bytes: 64 << 20,
            pids: None,
            memory: None,
            core: u64::MAX,
            view_options: vec!["bind"],
            ..Self::hardened()
        }
    }

    /// As container engines run an image without options.
    pub(crate) fn engine_default() -> Self {
        Self {
            seccomp: Seccomp::Engine,
            capabilities: ENGINE_CAPABILITIES.to_vec(),
            no_new_privileges: false,
            read_only_root: false,
            ..Self::runtime_default()
        }
    }

    /// Nothing but namespaces: here every check that this kernel has something for should open.
    pub(crate) fn weak() -> Self {
        Self {
            own_network: false,
            own_ipc: false,
            capabilities: ALL_CAPABILITIES.to_vec(),
            no_new_privileges: false,
            read_only_root: false,
            scratch_options: vec!["mode=1777"],
            seccomp: Seccomp::None,
            masked: false,
            extra_devices: true,
            leaked_directory: true,
            host_directory: true,
            environment: vec![
                "API_TOKEN=x",
                "LD_LIBRARY_PATH=/x",
                "KEY=AGE-SECRET-KEY-1TEST",
            ],
            plain_model: true,
            ..Self::runtime_default()
        }
    }
}

const ENGINE_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All but those with which a mistake could reach the machine under the tests.
const ALL_CAPABILITIES: [&str; 23] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_NET_ADMIN",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_SYS_NICE",
    "CAP_SYSLOG",
    "CAP_BPF",
    "CAP_PERFMON",
    "CAP_SYS_PACCT",
];

/// Says why the tests cannot run here, if they cannot.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if !Command::new("runc")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Some("needs runc".to_owned());
    }
    prober().is_none().then(|| {
        "needs a static casemate-probe (RUSTFLAGS=\"-C target-feature=+crt-static\" cargo build -p \
         casemate-probe --target x86_64-unknown-linux-gnu), or CASEMATE_PROBE"
            .to_owned()
    })
}

fn prober() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CASEMATE_PROBE") {
        return Some(PathBuf::from(path));
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    [
        "x86_64-unknown-linux-gnu/release",
        "x86_64-unknown-linux-gnu/debug",
    ]
    .into_iter()
    .map(|profile| target.join(profile).join("casemate-probe"))
    .find(|path| path.exists())
}

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/casemate-lab-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("rootfs")).unwrap();
        fs::create_dir_all(path.join("outside")).unwrap();
        for part in ["", "rootfs", "outside"] {
            fs::set_permissions(path.join(part), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(path)
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _deleted = Command::new("runc")
            .args(["delete", "--force", &self.name()])
            .stderr(Stdio::null())
            .status();
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// Runs the checks `only` (all when empty) in a container of this variant.
pub(crate) fn probe(variant: &Variant, only: &[&str]) -> Conducted {
    let (variant, only) = (
        variant.clone(),
        only.iter().map(|&id| id.to_owned()).collect::<Vec<_>>(),
    );
    // On a thread of its own, which may enter a network namespace for the witness.
    std::thread::spawn(move || probe_here(&variant, only))
        .join()
        .unwrap()
}

fn probe_here(variant: &Variant, only: Vec<String>) -> Conducted {
    let place = Place::new();
    let host = guard::namespaces().unwrap();
    let neighbour = Neighbour::start(&host);
    if !variant.own_network {
        neighbour.enter();
    }
    let outside = place.0.join("outside");
    let witness = Witness::start(&WitnessSettings::in_directory(outside.clone()), &seed()).unwrap();
    bundle::make_root(variant, &place.0.join("rootfs"), &outside);
    let config = bundle::config(variant, &place, &outside, &neighbour.path());
    fs::write(
        place.0.join("config.json"),
        serde_json::to_vec(&config).unwrap(),
    )
    .unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let pid_file = place.0.join("pid");
    let mut container = start(&place, &pid_file, theirs);
    let inside = wait_for_namespaces(&pid_file, &host, &mut container);
    if !variant.memory_files_execute {
        forbid_memory_programs(&pid_file);
    }
    let order = order(host, inside, &witness, only);
    let conducted = conduct(&ours, &order, Some(&witness), &mut |_| {});
    let status = container.wait().unwrap();
    let log = fs::read_to_string(place.0.join("log")).unwrap_or_default();
    let conducted = conducted.unwrap_or_else(|error| panic!("{error:?}, {status}, {log}"));
    assert!(status.success(), "the prober ended with {status}: {log}");
    conducted
}

/// A network namespace that somebody else owns, as a neighbour's or the host's would be.
struct Neighbour(Child);

impl Neighbour {
    fn start(host: &Namespaces) -> Self {
        let owner = Command::new("unshare")
            .args(["--net", "sleep", "120"])
            .spawn()
            .unwrap();
        let neighbour = Self(owner);
        let deadline = Instant::now() + Duration::from_secs(10);
        while number(&neighbour.0.id().to_string(), "net").is_none_or(|found| found == host.net) {
            assert!(Instant::now() < deadline, "no network namespace was made");
            std::thread::sleep(Duration::from_millis(2));
        }
        neighbour
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Moves the calling thread there.
    fn enter(&self) {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let file = fs::File::open(self.path()).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
        assert!(
            Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The inode number of one namespace of a process.
fn number(pid: &str, name: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).ok()?;
    link.to_string_lossy()
        .split_once(":[")?
        .1
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut seed)
        .unwrap();
    seed
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Starts runc with the channel as descriptor 4, which a shell puts there.
fn start(place: &Place, pid_file: &Path, channel: UnixStream) -> Child {
    let log = fs::File::create(place.0.join("log")).unwrap();
    Command::new("bash")
        .arg("-c")
        .arg("exec 4<&0 3</ </dev/null; exec runc run --pid-file \"$1\" --preserve-fds 2 --bundle \"$2\" \"$3\"")
        .arg("start")
        .arg(pid_file)
        .arg(&place.0)
        .arg(place.name())
        .stdin(OwnedFd::from(channel))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn wait_for_namespaces(pid_file: &Path, host: &Namespaces, container: &mut Child) -> Namespaces {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "the container did not start");
        if let Some(status) = container.try_wait().unwrap() {
            let log = fs::read_to_string(pid_file.with_file_name("log")).unwrap_or_default();
            panic!("the container ended at once, {status}: {log}");
        }
        let found = fs::read_to_string(pid_file).ok().and_then(|pid| {
            let number = |name: &str| number(pid.trim(), name);
            Some(Namespaces {
                net: number("net")?,
                mnt: number("mnt")?,
                pid: number("pid")?,
                user: number("user")?,
                ipc: number("ipc")?,
            })
        });
        match found {
            Some(found) if found.mnt != host.mnt && found.pid != host.pid => return found,
            Some(_) | None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What a launcher does from outside: the setting belongs to the process namespace of who writes it.
fn forbid_memory_programs(pid_file: &Path) {
    let pid = fs::read_to_string(pid_file).unwrap();
    let status = Command::new("nsenter")
        .args([
            "--target",
            pid.trim(),
            "--pid",
            "sh",
            "-c",
            "echo 2 > /proc/sys/vm/memfd_noexec",
        ])
        .status()
        .unwrap();
    assert!(status.success(), "memory files could not be made inert");
}

fn order(
    host: Namespaces,
    expected: Namespaces,
    witness: &Witness,
    only: Vec<String>,
) -> ProbeOrder {
    ProbeOrder {
        nonce: hex(&seed()),
        expected,
        host,
        links: vec!["lo".to_owned()],
        canaries: witness.canaries().clone(),
        grants: Grants {
            serves: Some(8000),
            connects: Vec::new(),
            scratch: "/tmp".to_owned(),
            models: vec![ModelGrant {
                path: "/models/m".to_owned(),
                bytes: MODEL,
            }],
            limits: Limits {
                memory_bytes: Some(MEMORY),
                pids: Some(PIDS),
                scratch_bytes: Some(SCRATCH),
            },
            environment: vec!["PATH".to_owned(), "HOME".to_owned()],
            may_exhaust: true,
        },
        budget: Budget::default(),
        identity: "lab".to_owned(),
        only,
    }
}

/// The finding of one check.
pub(crate) fn finding<'a>(conducted: &'a Conducted, check: &str) -> &'a Finding {
    conducted
        .findings
        .iter()
        .find(|finding| finding.check == check)
        .unwrap()
}

/// The ids of all findings with this verdict.
pub(crate) fn with_verdict(conducted: &Conducted, verdict: Verdict) -> Vec<&str> {
    conducted
        .findings
        .iter()
        .filter(|finding| finding.verdict == verdict)
        .map(|finding| finding.check.as_str())
        .collect()
}
