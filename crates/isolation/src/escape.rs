//! Tries to leave the sandbox, or to gain privilege in it.

pub(crate) mod files;
pub(crate) mod filter;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod privilege;

/// Capability numbers that the kernel asks for.
pub(crate) mod capability {
    pub(crate) const CHOWN: u8 = 0;
    pub(crate) const DAC_READ_SEARCH: u8 = 2;
    pub(crate) const SETUID: u8 = 7;
    pub(crate) const SYS_MODULE: u8 = 16;
    pub(crate) const SYS_RAWIO: u8 = 17;
    pub(crate) const SYS_CHROOT: u8 = 18;
    pub(crate) const SYS_PTRACE: u8 = 19;
    pub(crate) const SYS_PACCT: u8 = 20;
    pub(crate) const SYS_ADMIN: u8 = 21;
    pub(crate) const SYS_BOOT: u8 = 22;
    pub(crate) const SYS_NICE: u8 = 23;
    pub(crate) const SYS_TIME: u8 = 25;
    pub(crate) const MKNOD: u8 = 27;
    pub(crate) const SYSLOG: u8 = 34;
    pub(crate) const PERFMON: u8 = 38;
    pub(crate) const BPF: u8 = 39;
}
