//! Names the layer behind an error number.
//!
//! One number has many authors: `EPERM` comes from a filter, a missing capability, or an id that is not
//! mapped. The sweep tells whether the call's number reaches the kernel at all; `access`, which Landlock
//! does not see, tells file modes from Landlock; what cannot be told apart is named so.

use casemate_core::finding::Layer;
use casemate_linux::raw::{Child, Errno};

use crate::primitive;
use crate::scene::Scene;

/// How a step reaches the kernel; what an error number can mean depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    number: i64,
    capability: Option<u8>,
    path: Option<(String, i32)>,
    network: bool,
    process: bool,
    /// The kernel itself never refuses this with EPERM or EACCES, so that only a filter can.
    only_filter: bool,
    /// What the same call answers for arguments that the kernel refuses for another reason.
    twin: Option<Result<i64, Errno>>,
    /// Error numbers with which the kernel refuses this for everybody.
    kernel: &'static [i32],
}

/// Where an error number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Layer(Layer),
    /// The kernel has no such thing.
    Absent,
    Unknown,
}

impl Via {
    /// By system call `number`.
    pub(crate) const fn call(number: i64) -> Self {
        Self {
            number,
            capability: None,
            path: None,
            network: false,
            process: false,
            only_filter: false,
            twin: None,
            kernel: &[],
        }
    }

    /// The kernel asks for capability `number`.
    pub(crate) const fn capability(mut self, number: u8) -> Self {
        self.capability = Some(number);
        self
    }

    /// The call opens or uses `path` with access `mode` (`R_OK`, `W_OK`, `X_OK`).
    pub(crate) fn path(mut self, path: &str, mode: i32) -> Self {
        self.path = Some((path.to_owned(), mode));
        self
    }

    /// The call goes through the network namespace.
    pub(crate) const fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// The call names another process.
    pub(crate) const fn process(mut self) -> Self {
        self.process = true;
        self
    }

    /// Nothing but a filter refuses these arguments with `EPERM` or `EACCES`.
    pub(crate) const fn only_filter(mut self) -> Self {
        self.only_filter = true;
        self
    }

    /// What the same call answered for arguments that differ only in what no filter looks at and that
    /// the kernel refuses for another reason: the same denial can then only come from a filter.
    pub(crate) const fn twin(mut self, answer: Result<i64, Errno>) -> Self {
        self.twin = Some(answer);
        self
    }

    /// With these error numbers the kernel refuses the call for everybody.
    pub(crate) const fn kernel(mut self, errnos: &'static [i32]) -> Self {
        self.kernel = errnos;
        self
    }

    /// What `errno` means for this step.
    pub(crate) fn cause(&self, scene: &Scene, child: &Child, errno: Errno) -> Cause {
        if self.kernel.contains(&errno.0) {
            return Cause::Layer(Layer::Kernel);
        }
        let filtered = match self.twin {
            Some(twin) => {
                matches!(errno.0, libc::EPERM | libc::EACCES | libc::ENOSYS) && twin == Err(errno)
            }
            None => scene.sweep.surely_filtered(self.number, errno),
        };
        if filtered {
            return Cause::Layer(Layer::Seccomp);
        }
        match errno.0 {
            libc::EROFS | libc::ETXTBSY => Cause::Layer(Layer::MountFlag),
            libc::ENOSYS => Cause::Absent,
            libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EHOSTUNREACH
            | libc::ECONNREFUSED
            | libc::EADDRNOTAVAIL
                if self.network =>
            {
                Cause::Layer(Layer::Netns)
            }
            libc::EAFNOSUPPORT
            | libc::EPROTONOSUPPORT
            | libc::ESOCKTNOSUPPORT
            | libc::EOPNOTSUPP
                if self.network =>
            {
                Cause::Absent
            }
            libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTDIR if self.path.is_some() => {
                Cause::Layer(Layer::MissingNode)
            }
            libc::ESRCH if self.process => Cause::Layer(Layer::Pidns),
            libc::EPERM | libc::EACCES => self.denial(scene, child, errno),
            _ => Cause::Unknown,
        }
    }

    fn denial(&self, scene: &Scene, child: &Child, errno: Errno) -> Cause {
        if self.only_filter && scene.status.seccomp_mode == 2 {
            return Cause::Layer(Layer::Seccomp);
        }
        if let Some(capability) = self.capability {
            return Cause::Layer(
                match (
                    scene.status.holds(capability),
                    self.twin.is_none() && scene.sweep.may_be_filtered(self.number),
                ) {
                    (false, true) => Layer::SeccompOrCapability,
                    (false, false) => Layer::Capability,
                    (true, true) => Layer::Seccomp,
                    (true, false) if !scene.status.in_host_users() => Layer::Userns,
                    (true, false) => return self.file_denial(scene, child, errno),
                },
            );
        }
        self.file_denial(scene, child, errno)
    }

    fn file_denial(&self, scene: &Scene, child: &Child, errno: Errno) -> Cause {
        let Some((path, mode)) = &self.path else {
            return match (self.network || self.process, errno.0) {
                // For sockets and processes no file has a mode: EACCES is Landlock's, or the ptrace rules'.
                (true, libc::EACCES) if self.network => Cause::Layer(Layer::Landlock),
                (true, _) if self.process => Cause::Layer(Layer::Dac),
                _ if scene.status.seccomp_mode == 2 => Cause::Layer(Layer::Seccomp),
                _ => Cause::Unknown,
            };
        };
        if *mode == libc::X_OK
            && scene
                .mount_of(path)
                .is_some_and(|mount| mount.has("noexec"))
        {
            return Cause::Layer(Layer::MountFlag);
        }
        Cause::Layer(match primitive::access(child, path, *mode) {
            Ok(_) => Layer::Landlock,
            Err(Errno(libc::EROFS)) => Layer::MountFlag,
            Err(_) if scene.status.uid == 0 && !scene.status.in_host_users() => Layer::Userns,
            Err(_) if errno.0 == libc::EPERM => Layer::Capability,
            Err(_) => Layer::Dac,
        })
    }
}
