//! Mounts: making them with every restriction asked for, removing them, listing them.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::ptr;

/// Restrictions of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Nothing can be written.
    pub read_only: bool,
    /// Set-user-ID bits and file capabilities have no effect.
    pub no_setuid: bool,
    /// Device nodes cannot be opened.
    pub no_devices: bool,
    /// Nothing can be executed.
    pub no_execute: bool,
}

impl Flags {
    /// No restriction.
    pub const NONE: Self = Self {
        read_only: false,
        no_setuid: false,
        no_devices: false,
        no_execute: false,
    };
    /// Every restriction: data to read.
    pub const DATA: Self = Self {
        read_only: true,
        no_setuid: true,
        no_devices: true,
        no_execute: true,
    };
    /// Every restriction but on writing: scratch space.
    pub const SCRATCH: Self = Self {
        read_only: false,
        no_setuid: true,
        no_devices: true,
        no_execute: true,
    };

    const fn bits(self) -> libc::c_ulong {
        let mut bits = 0;
        if self.read_only {
            bits |= libc::MS_RDONLY;
        }
        if self.no_setuid {
            bits |= libc::MS_NOSUID;
        }
        if self.no_devices {
            bits |= libc::MS_NODEV;
        }
        if self.no_execute {
            bits |= libc::MS_NOEXEC;
        }
        bits
    }
}

/// A line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u32,
    /// The number of the mount it is on.
    pub parent: u32,
    /// Which directory of the file system is its root.
    pub root: PathBuf,
    /// Where it is.
    pub point: PathBuf,
    /// The options of the mount.
    pub options: Vec<String>,
    /// The file system's type.
    pub file_system: String,
    /// Where the file system comes from.
    pub source: String,
    /// The options of the file system.
    pub super_options: Vec<String>,
}

impl Mount {
    /// The restrictions of the mount; read-only also when its file system is.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let has = |name: &str| self.options.iter().any(|option| option == name);
        Flags {
            read_only: has("ro") || self.super_options.iter().any(|option| option == "ro"),
            no_setuid: has("nosuid"),
            no_devices: has("nodev"),
            no_execute: has("noexec"),
        }
    }
}

/// Makes the whole tree below `path` private: nothing propagates in or out.
///
/// # Errors
/// When privilege is missing or `path` is no mount point.
pub fn make_private(path: &Path) -> io::Result<()> {
    mount(None, path, None, libc::MS_REC | libc::MS_PRIVATE, None)
}

/// Shows `source`, without what is mounted below it, at `target` with the given restrictions.
///
/// # Errors
/// When privilege is missing or either path is not there; then nothing is mounted.
pub fn bind(source: &Path, target: &Path, flags: Flags) -> io::Result<()> {
    mount(Some(source), target, None, libc::MS_BIND, None)?;
    if flags == Flags::NONE {
        return Ok(());
    }
    // A bind ignores restrictions; they are applied by a second call to the new mount alone.
    let restricted = libc::MS_REMOUNT | libc::MS_BIND | flags.bits();
    mount(None, target, None, restricted, None).inspect_err(|_| {
        drop(unmount(target));
    })
}

/// A file system in memory of at most `bytes`, at `target`, whose root has `mode`.
///
/// # Errors
/// When privilege is missing or `target` is no directory.
pub fn memory(target: &Path, bytes: u64, mode: u32, flags: Flags) -> io::Result<()> {
    let options = format!("size={bytes},mode={mode:o}");
    mount(
        Some(Path::new("tmpfs")),
        target,
        Some("tmpfs"),
        flags.bits(),
        Some(&options),
    )
}

/// How a FUSE file system is mounted.
#[derive(Clone, Debug)]
pub struct Fuse<'request> {
    /// What the mount table shows as its source.
    pub name: &'request str,
    /// The user that serves it.
    pub uid: u32,
    /// The group that serves it.
    pub gid: u32,
    /// The largest read the kernel may send.
    pub largest_read_bytes: u32,
    /// Restrictions; a FUSE file system is best [`Flags::DATA`].
    pub flags: Flags,
}

/// Opens the FUSE device and mounts it at `target` for every user, with permissions checked by the
/// kernel. Whoever gets the descriptor serves the file system.
///
/// # Errors
/// When the device is not there or privilege is missing.
pub fn fuse(target: &Path, request: &Fuse<'_>) -> io::Result<OwnedFd> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions,max_read={}",
        device.as_raw_fd(),
        request.uid,
        request.gid,
        request.largest_read_bytes,
    );
    let kind = format!("fuse.{}", request.name);
    let source = Path::new(request.name);
    mount(
        Some(source),
        target,
        Some(&kind),
        request.flags.bits(),
        Some(&options),
    )?;
    Ok(device.into())
}

/// Takes a mount away at once, also while it is in use.
///
/// # Errors
/// `InvalidInput` when nothing is mounted at `target`.
pub fn unmount(target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: the path is a terminated string that outlives the call.
    let status = unsafe { libc::umount2(target.as_ptr(), flags) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Every mount at or below `directory` in this thread's mount namespace, in the order of mounting.
///
/// # Errors
/// When `/proc` is not there or is not understood.
pub fn list(directory: &Path) -> io::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/thread-self/mountinfo")?;
    let mut mounts = parse(&String::from_utf8_lossy(&text))?;
    mounts.retain(|mount| mount.point.starts_with(directory));
    Ok(mounts)
}

/// Takes away every mount at or below `directory`, the last first, and says how many there were.
///
/// # Errors
/// As [`list`] and [`unmount`], except that a mount that is already gone is no error.
pub fn unmount_below(directory: &Path) -> io::Result<usize> {
    let mounts = list(directory)?;
    for mount in mounts.iter().rev() {
        match unmount(&mount.point) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(mounts.len())
}

/// Reads the text of a `mountinfo` file.
///
/// # Errors
/// `InvalidData` for a line that is not understood.
pub fn parse(mountinfo: &str) -> io::Result<Vec<Mount>> {
    mountinfo
        .lines()
        .map(|line| {
            parse_line(line)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}`")))
        })
        .collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (place, file_system) = line.split_once(" - ")?;
    let mut place = place.split(' ');
    let id = place.next()?.parse().ok()?;
    let parent = place.next()?.parse().ok()?;
    let root = unescape(place.nth(1)?);
    let point = unescape(place.next()?);
    let options = comma_separated(place.next()?);
    let mut file_system = file_system.splitn(3, ' ');
    Some(Mount {
        id,
        parent,
        root: root.into(),
        point: point.into(),
        options,
        file_system: file_system.next()?.to_owned(),
        source: unescape(file_system.next()?),
        super_options: comma_separated(file_system.next()?),
    })
}

fn comma_separated(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// The kernel writes blank, tab, newline and backslash as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, piece.get(3..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(piece);
            }
        }
    }
    plain
}

fn mount(
    source: Option<&Path>,
    target: &Path,
    file_system: Option<&str>,
    flags: libc::c_ulong,
    options: Option<&str>,
) -> io::Result<()> {
    let source = source
        .map(|path| CString::new(path.as_os_str().as_bytes()))
        .transpose()?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    let file_system = file_system.map(CString::new).transpose()?;
    let options = options.map(CString::new).transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: each pointer is null, where mount allows it, or a terminated string that outlives the
    // call.
    let status = unsafe {
        libc::mount(
            pointer(&source),
            target.as_ptr(),
            pointer(&file_system),
            flags,
            pointer(&options).cast(),
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_understood_with_its_escapes_and_optional_fields() {
        let line =
            "36 35 98:0 /mnt1 /mnt\\0402 ro,noatime,nosuid master:1 - ext3 /dev/root rw,errors=x";
        let mount = parse(line).unwrap().remove(0);
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.point, Path::new("/mnt 2"));
        assert_eq!(mount.file_system, "ext3");
        assert!(mount.flags().read_only);
        assert!(mount.flags().no_setuid);
        assert!(!mount.flags().no_execute);
    }

    #[test]
    fn a_damaged_line_is_an_error_and_not_left_out() {
        assert!(parse("36 35 98:0 /mnt1").is_err());
    }

    #[test]
    fn the_own_table_has_a_root() {
        let mounts = list(Path::new("/")).unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/")));
    }
}
