//! The mounted peers: our view, gocryptfs, and a FUSE server that only hands out memory.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use casemate_linux::mount;
use casemate_weights::view::{SealedFilesystem, ViewSettings};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
    Session, SessionACL,
};

use crate::{Bench, Row, option, read_through};

pub(crate) fn rows(bench: &Bench, rows: &mut Vec<Row>) {
    let null = || cold_null(bench);
    bench.row(
        rows,
        "view cold",
        "gocryptfs",
        2.0,
        || cold_view(bench),
        || cold_gocryptfs(bench),
    );
    bench.row(
        rows,
        "view cold",
        "null FUSE",
        0.8,
        || cold_view(bench),
        null,
    );
    let plain = || {
        read_through(&bench.path("plain/model.gguf"));
        Some(read_through(&bench.path("plain/model.gguf")))
    };
    bench.row(
        rows,
        "view warm",
        "plain file",
        0.9,
        || warm_view(bench),
        plain,
    );
}

fn cold_view(bench: &Bench) -> Option<Duration> {
    with_view(bench, |place| read_through(&place.join("model.gguf")))
}

fn warm_view(bench: &Bench) -> Option<Duration> {
    with_view(bench, |place| {
        read_through(&place.join("model.gguf"));
        read_through(&place.join("model.gguf"))
    })
}

fn with_view(bench: &Bench, body: impl Fn(&Path) -> Duration) -> Option<Duration> {
    let place = bench.path("view");
    let device = mounted(&place);
    let mut settings = ViewSettings::default();
    let number = |name: &str| option(name).map(|text| text.parse::<usize>().unwrap());
    settings.threads = number("--threads").unwrap_or(settings.threads);
    settings.read_ahead = number("--ahead").map_or(settings.read_ahead, |ahead| ahead as u64);
    let filesystem = SealedFilesystem::new(bench.open(), settings, Box::new(|_| {})).unwrap();
    let running = filesystem.attach(device).unwrap();
    let server = thread::spawn(move || running.serve());
    raise_read_ahead(&place);
    let time = body(&place);
    mount::unmount(&place).unwrap();
    server.join().unwrap().unwrap();
    Some(time)
}

fn cold_gocryptfs(bench: &Bench) -> Option<Duration> {
    let (cipher, place, password) = (bench.path("gocryptfs"), bench.path("g"), bench.path("pw"));
    let run = |command: &mut Command| {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    let gocryptfs = |arguments: &[&Path]| {
        let mut command = Command::new("gocryptfs");
        command.args(["-q", "-passfile"]).arg(&password);
        run(command.args(arguments))
    };
    if !cipher.exists() {
        fs::create_dir_all(&cipher).unwrap();
        fs::create_dir_all(&place).unwrap();
        fs::write(&password, "bench").unwrap();
        let init = [
            Path::new("-init"),
            Path::new("-scryptn"),
            Path::new("10"),
            &cipher,
        ];
        let filled = gocryptfs(&init)
            && gocryptfs(&[&cipher, &place])
            && fs::copy(bench.path("plain/model.gguf"), place.join("model.gguf")).is_ok();
        mount::unmount(&place).ok();
        if !filled {
            return None;
        }
    }
    if !gocryptfs(&[&cipher, &place]) {
        return None;
    }
    if option("--peer-read-ahead").is_some() {
        raise_read_ahead(&place);
    }
    let time = read_through(&place.join("model.gguf"));
    mount::unmount(&place).unwrap();
    Some(time)
}

fn cold_null(bench: &Bench) -> Option<Duration> {
    let place = bench.path("null");
    let device = mounted(&place);
    let file = fs::read(bench.path("plain/model.gguf")).unwrap();
    let mut config = Config::default();
    config.n_threads = Some(2);
    let session = Session::from_fd(Null { file }, device, SessionACL::All, config).unwrap();
    let server = thread::spawn(move || session.run());
    raise_read_ahead(&place);
    let time = read_through(&place.join("model.gguf"));
    mount::unmount(&place).unwrap();
    server.join().unwrap().unwrap();
    Some(time)
}

fn mounted(place: &Path) -> OwnedFd {
    fs::create_dir_all(place).unwrap();
    let flags = mount::Flags::DATA;
    let request = mount::Fuse {
        name: "bench",
        uid: 0,
        gid: 0,
        largest_read_bytes: 1 << 24,
        flags,
    };
    mount::fuse(place, &request).unwrap()
}

/// What the daemon does for a view: the kernel's default of 128 KiB halves every cold read.
fn raise_read_ahead(place: &Path) {
    let device = fs::metadata(place).unwrap().dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kib = option("--read-ahead-kib").unwrap_or_else(|| "8192".to_owned());
    fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), kib).unwrap();
}

/// A server that does nothing but hand out memory: what FUSE itself costs.
struct Null {
    file: Vec<u8>,
}

impl Null {
    fn attributes(&self, inode: u64) -> FileAttr {
        let file = inode == 2;
        FileAttr {
            ino: INodeNo(inode),
            size: if file { self.file.len() as u64 } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: 0o555,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Null {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        if let Err(most) = config.set_max_readahead(1 << 24) {
            config.set_max_readahead(most).ok();
        }
        config.set_max_background(64).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "model.gguf" {
            reply.entry(
                &Duration::from_secs(3600),
                &self.attributes(2),
                Generation(0),
            );
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::from_secs(3600), &self.attributes(inode.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let start = usize::try_from(offset).unwrap().min(self.file.len());
        let end = (start + size as usize).min(self.file.len());
        reply.data(self.file.get(start..end).unwrap_or_default());
    }
}
