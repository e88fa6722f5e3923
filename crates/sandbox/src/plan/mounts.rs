//! What is mounted where, with which restrictions, and what Landlock grants on it.

use std::path::{Path, PathBuf};

use casemate_core::confinement::{MountFlag, PROGRAM_DIRECTORY, PlannedMount};

use super::{
    HOST_DIRECTORY, PlanStageError, PlannedRoot, RootFileSystem, STAGE_USER, StageRequest, paths,
};
use crate::oci::Mount;

/// Everything about files, in one pass so that the parts agree.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) mounts: Vec<Mount>,
    pub(super) planned: Vec<PlannedMount>,
    pub(super) root: PlannedRoot,
    pub(super) execute: Vec<String>,
    pub(super) read: Vec<String>,
    pub(super) write: Vec<String>,
}

pub(super) fn lay(request: &StageRequest) -> Result<Laid, PlanStageError> {
    let mut laid = Laid {
        mounts: Vec::new(),
        planned: Vec::new(),
        root: PlannedRoot {
            image: None,
            host: Vec::new(),
            kept: request.kept.clone(),
            directories: Vec::new(),
            links: Vec::new(),
            files: Vec::new(),
        },
        execute: Vec::new(),
        read: Vec::new(),
        write: Vec::new(),
    };
    laid.kernel_views(request);
    match &request.root {
        RootFileSystem::Image(image) => laid.image(image)?,
        RootFileSystem::HostDirectories(directories) => laid.host(directories, &request.kept)?,
    }
    laid.bind(&request.programs, PROGRAM_DIRECTORY, &PROGRAMS)?;
    laid.execute.push(PROGRAM_DIRECTORY.to_owned());
    laid.models(request)?;
    for path in &request.writable {
        laid.scratch(path, request.limits.scratch_bytes)?;
    }
    laid.no_overlap()?;
    Ok(laid)
}

impl Laid {
    fn kernel_views(&mut self, request: &StageRequest) {
        // Processes of other users are not even listed.
        self.mount("/proc", "proc", "proc", &SCRATCH, &["hidepid=invisible"]);
        let device_options = ["strictatime", "mode=755", "size=65536"];
        self.mount("/dev", "tmpfs", "tmpfs", &DEVICE_DIRECTORY, &device_options);
        self.memory("/dev/shm", request.limits.shared_memory_bytes);
        self.memory("/tmp", request.limits.scratch_bytes);
        // Servers count processors here. The rest of sysfs belongs to a network namespace that this
        // user namespace does not own, and is not missed.
        self.mount(PROCESSORS, "none", PROCESSORS, &DATA, &["bind"]);
        self.root.directories.push(PROCESSORS.to_owned());
        for path in ["/proc", "/dev", "/tmp"] {
            self.root.directories.push(path.to_owned());
        }
        self.read.push(PROCESSORS.to_owned());
    }

    fn image(&mut self, image: &crate::image::Image) -> Result<(), PlanStageError> {
        self.plan_root(&[
            MountFlag::ReadOnly,
            MountFlag::NoSetuid,
            MountFlag::NoDevices,
        ]);
        self.root.image = Some(image.root.clone());
        for entry in &image.top_level {
            let path = format!("/{entry}");
            paths::plain(&path)?;
            if !RESERVED.contains(&path.as_str()) {
                self.execute.push(path);
            }
        }
        Ok(())
    }

    fn host(&mut self, directories: &[PathBuf], kept: &[PathBuf]) -> Result<(), PlanStageError> {
        self.plan_root(&DATA);
        for (number, directory) in directories.iter().enumerate() {
            let path = paths::text(directory)?;
            let forbidden = |reason| PlanStageError::Forbidden {
                path: path.clone(),
                what: "a directory of the host for a stage",
                reason,
            };
            if path == "/" || path == "/etc" || path == "/root" || path == "/home" || path == "/var"
            {
                return Err(forbidden("it holds more than programs and libraries"));
            }
            if RESERVED
                .iter()
                .chain(&["/run", "/boot", "/etc"])
                .any(|reserved| Path::new(&path).starts_with(reserved))
            {
                return Err(forbidden(
                    "the sandbox has its own, or the host's must not be seen",
                ));
            }
            if kept
                .iter()
                .any(|kept| kept.starts_with(&path) || directory.starts_with(kept))
            {
                return Err(forbidden("the launcher keeps it for itself"));
            }
            // The runtime gets what was looked at, by a name that nobody else can change.
            let source = format!("{HOST_DIRECTORY}/{number}");
            self.mount(&path, "none", &source, &PROGRAMS, &["bind"]);
            self.root.directories.push(path.clone());
            self.root.host.push(directory.clone());
            self.execute.push(path.clone());
            if path == "/usr" {
                for name in ["bin", "lib", "lib64", "sbin"] {
                    self.root
                        .links
                        .push((format!("/{name}"), format!("usr/{name}")));
                }
            }
        }
        self.root.directories.push("/etc".to_owned());
        let (uid, gid) = (STAGE_USER.uid, STAGE_USER.gid);
        let files = [
            (
                "/etc/passwd",
                format!("stage:x:{uid}:{gid}:stage:/tmp:/sbin/nologin\n"),
            ),
            ("/etc/group", format!("stage:x:{gid}:\n")),
            ("/etc/hosts", HOSTS.to_owned()),
            (
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
            ),
            ("/etc/resolv.conf", String::new()),
        ];
        let files = files
            .into_iter()
            .map(|(path, content)| (path.to_owned(), content));
        self.root.files.extend(files);
        self.read.push("/etc".to_owned());
        Ok(())
    }

    fn models(&mut self, request: &StageRequest) -> Result<(), PlanStageError> {
        if request.models.is_empty() {
            return Ok(());
        }
        self.root.directories.push("/models".to_owned());
        for model in &request.models {
            let path = format!("/models/{}", model.name);
            paths::plain(&path)?;
            if model.name.contains('/') {
                return Err(PlanStageError::Path(path));
            }
            self.bind(&model.view, &path, &DATA)?;
        }
        self.read.push("/models".to_owned());
        Ok(())
    }

    fn scratch(&mut self, path: &str, bytes: u64) -> Result<(), PlanStageError> {
        paths::plain(path)?;
        if path == "/"
            || RESERVED
                .iter()
                .any(|reserved| Path::new(path).starts_with(reserved))
        {
            return Err(PlanStageError::Forbidden {
                path: path.to_owned(),
                what: "scratch space",
                reason: "the sandbox uses it itself",
            });
        }
        self.memory(path, bytes);
        self.root.directories.push(path.to_owned());
        Ok(())
    }

    fn plan_root(&mut self, flags: &[MountFlag]) {
        self.planned.push(PlannedMount {
            path: "/".to_owned(),
            file_system: None,
            flags: flags.to_vec(),
        });
    }

    fn memory(&mut self, path: &str, bytes: u64) {
        let size = format!("size={bytes}");
        // Its owner, because the runtime gives it the mode of the directory that it covers.
        let (uid, gid) = (
            format!("uid={}", STAGE_USER.uid),
            format!("gid={}", STAGE_USER.gid),
        );
        self.mount(
            path,
            "tmpfs",
            "tmpfs",
            &SCRATCH,
            &["mode=700", &uid, &gid, &size],
        );
        self.write.push(path.to_owned());
    }

    fn bind(
        &mut self,
        source: &Path,
        path: &str,
        flags: &[MountFlag],
    ) -> Result<(), PlanStageError> {
        let source = paths::text(source)?;
        // Not recursive: what is mounted below the source is not shown, or the bind fails.
        self.mount(path, "none", &source, flags, &["bind"]);
        self.root.directories.push(path.to_owned());
        Ok(())
    }

    fn mount(
        &mut self,
        path: &str,
        kind: &str,
        source: &str,
        flags: &[MountFlag],
        options: &[&str],
    ) {
        let names = flags.iter().map(|flag| match flag {
            MountFlag::ReadOnly => "ro",
            MountFlag::NoSetuid => "nosuid",
            MountFlag::NoDevices => "nodev",
            MountFlag::NoExecute => "noexec",
        });
        self.mounts.push(Mount {
            destination: path.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options
                .iter()
                .copied()
                .chain(names)
                .map(str::to_owned)
                .collect(),
        });
        self.planned.push(PlannedMount {
            path: path.to_owned(),
            file_system: (kind != "none").then(|| kind.to_owned()),
            flags: flags.to_vec(),
        });
    }

    /// No mount may be at the place of another, nor between one and its mount point.
    fn no_overlap(&self) -> Result<(), PlanStageError> {
        for (index, mount) in self.mounts.iter().enumerate() {
            for earlier in self.mounts.iter().take(index) {
                let inside = Path::new(&mount.destination).starts_with(&earlier.destination);
                let hides = Path::new(&earlier.destination).starts_with(&mount.destination);
                let own = mount.destination == "/dev/shm" && earlier.destination == "/dev";
                if (inside || hides) && !own {
                    return Err(PlanStageError::Overlap(mount.destination.clone()));
                }
            }
        }
        Ok(())
    }
}

const DATA: [MountFlag; 4] = [
    MountFlag::ReadOnly,
    MountFlag::NoSetuid,
    MountFlag::NoDevices,
    MountFlag::NoExecute,
];
const PROGRAMS: [MountFlag; 3] = [
    MountFlag::ReadOnly,
    MountFlag::NoSetuid,
    MountFlag::NoDevices,
];
/// Its nodes are mounts of their own.
const DEVICE_DIRECTORY: [MountFlag; 3] = [
    MountFlag::ReadOnly,
    MountFlag::NoSetuid,
    MountFlag::NoExecute,
];
const SCRATCH: [MountFlag; 3] = [
    MountFlag::NoSetuid,
    MountFlag::NoDevices,
    MountFlag::NoExecute,
];

/// Places that the sandbox fills itself.
const RESERVED: [&str; 6] = [
    "/proc",
    "/sys",
    "/dev",
    "/tmp",
    "/models",
    PROGRAM_DIRECTORY,
];
const PROCESSORS: &str = "/sys/devices/system/cpu";
pub(crate) const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
