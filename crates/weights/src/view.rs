//! An unlocked model as a read-only file system.
//!
//! It shows the signed files and nothing else, never changes, and answers reads from whole chunks
//! whose tags matched; a chunk that does not match gives `EIO` and a call of the reporter. Pages
//! that were read stay in the kernel's page cache, so that a second read, or a mapping, asks nobody.
//!
//! The caller mounts `/dev/fuse` and confines itself; nothing here opens a path.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, Request, Session, SessionACL,
};

use crate::unlock::{OpenedModel, ReadChunkError};

mod cache;
mod tree;

use cache::{ChunkCache, ChunkId, Filled};
use tree::{Node, Tree};

/// How a view is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewSettings {
    /// Threads that answer the kernel.
    pub threads: usize,
    /// Locked memory for decrypted chunks.
    pub cache_bytes: usize,
    /// How many chunks are decrypted ahead of a sequential reader.
    pub read_ahead: u64,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self {
            threads: 2,
            cache_bytes: 32 * 1024 * 1024,
            read_ahead: 4,
        }
    }
}

/// What a view has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewStatistics {
    /// Files opened.
    pub opens: u64,
    /// Reads answered with bytes.
    pub reads: u64,
    /// Plaintext bytes handed to the kernel.
    pub bytes: u64,
    /// Chunks decrypted.
    pub chunks: u64,
    /// Chunks that were not handed out.
    pub corrupt: u64,
}

/// Told of each chunk that was refused, from the thread that read it.
pub type Reporter = Box<dyn Fn(&ReadChunkError) + Send + Sync>;

/// The file system of one model.
pub struct SealedFilesystem {
    shared: Arc<Shared>,
    settings: ViewSettings,
}

/// A file system that shook hands with the kernel and is about to serve.
pub struct Running {
    session: Session<Handle>,
    shared: Arc<Shared>,
    ahead: Option<Receiver<ChunkId>>,
}

/// Looks at, and ends, a view that is served elsewhere.
#[derive(Clone)]
pub struct ViewControl(Arc<Shared>);

struct Shared {
    /// Nothing after [`ViewControl::forget`].
    model: RwLock<Option<OpenedModel>>,
    tree: Tree,
    chunk_size: u64,
    cache: ChunkCache,
    reporter: Reporter,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    opens: AtomicU64,
    reads: AtomicU64,
    bytes: AtomicU64,
    chunks: AtomicU64,
    corrupt: AtomicU64,
}

/// What fuser owns and calls.
struct Handle {
    shared: Arc<Shared>,
    ahead: SyncSender<ChunkId>,
    read_ahead: u64,
    /// The next byte that a sequential reader would ask for, by file; only a hint.
    expected: Vec<AtomicU64>,
}

impl SealedFilesystem {
    /// Prepares the view of `model`: takes all the memory that it will use.
    ///
    /// # Errors
    /// When that much memory cannot be locked; raise `RLIMIT_MEMLOCK` or lower the cache.
    pub fn new(model: OpenedModel, settings: ViewSettings, reporter: Reporter) -> io::Result<Self> {
        let chunk = usize::try_from(model.layout().chunk_size).unwrap_or(usize::MAX);
        // Each thread holds at most one buffer, so this many never wait for each other for ever.
        let least = settings.threads + 3;
        let cache = ChunkCache::new((settings.cache_bytes / chunk).max(least), chunk)?;
        let tree = Tree::of(model.entries());
        let chunk_size = u64::from(model.layout().chunk_size);
        let counters = Counters::default();
        let model = RwLock::new(Some(model));
        let shared = Arc::new(Shared {
            model,
            tree,
            chunk_size,
            cache,
            reporter,
            counters,
        });
        Ok(Self { shared, settings })
    }

    /// A handle to look at the view and to end it.
    #[must_use]
    pub fn control(&self) -> ViewControl {
        ViewControl(Arc::clone(&self.shared))
    }

    /// Shakes hands with the kernel through `device`, an open and mounted `/dev/fuse`. Starts no
    /// thread, so that the caller can still confine itself.
    ///
    /// # Errors
    /// When the mount is gone or the kernel speaks another protocol.
    pub fn attach(self, device: OwnedFd) -> io::Result<Running> {
        let (sender, receiver) = sync_channel(AHEAD_QUEUE);
        let files = self.shared.tree.len();
        let handle = Handle {
            shared: Arc::clone(&self.shared),
            ahead: sender,
            read_ahead: self.settings.read_ahead,
            expected: (0..=files).map(|_| AtomicU64::new(0)).collect(),
        };
        let mut config = Config::default();
        config.n_threads = Some(self.settings.threads.max(1));
        // The mount's own options let others in; this only keeps fuser from asking again.
        let session = Session::from_fd(handle, device, SessionACL::All, config)?;
        let ahead = (self.settings.read_ahead > 0).then_some(receiver);
        Ok(Running {
            session,
            shared: self.shared,
            ahead,
        })
    }
}

impl Running {
    /// Serves until the file system is unmounted; then the keys are forgotten.
    ///
    /// # Errors
    /// When the connection to the kernel breaks otherwise.
    pub fn serve(self) -> io::Result<ViewStatistics> {
        let Self {
            session,
            shared,
            ahead,
        } = self;
        let helper = ahead.map(|ahead| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.decrypt_ahead(&ahead))
        });
        let outcome = session.run();
        // The session dropped its sender with the file system, which ends the helper.
        if let Some(helper) = helper
            && helper.join().is_err()
        {
            return Err(io::Error::other("the read-ahead thread panicked"));
        }
        let control = ViewControl(shared);
        control.forget();
        outcome.map(|()| control.statistics())
    }
}

impl ViewControl {
    /// What the view has done so far.
    #[must_use]
    pub fn statistics(&self) -> ViewStatistics {
        let counters = &self.0.counters;
        ViewStatistics {
            opens: counters.opens.load(Ordering::Relaxed),
            reads: counters.reads.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            chunks: counters.chunks.load(Ordering::Relaxed),
            corrupt: counters.corrupt.load(Ordering::Relaxed),
        }
    }

    /// Drops the keys and wipes the decrypted chunks; every later read of the kernel gives `EIO`.
    pub fn forget(&self) {
        drop(
            self.0
                .model
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.0.cache.forget();
    }
}

impl Shared {
    /// One decrypted chunk; nothing when it was refused, which is then reported.
    fn chunk(&self, id: ChunkId) -> Option<Arc<Filled>> {
        let outcome = self.cache.chunk(id, |buffer| {
            let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
            let (file, chunk) = id;
            let absent = ReadChunkError::Absent { file, chunk };
            let length = model
                .as_ref()
                .ok_or(absent)?
                .read_chunk(file, chunk, buffer)?
                .len();
            self.counters.chunks.fetch_add(1, Ordering::Relaxed);
            Ok(length)
        });
        match outcome {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
                (self.reporter)(&error);
                None
            }
        }
    }

    fn decrypt_ahead(&self, wanted: &Receiver<ChunkId>) {
        for id in wanted {
            if self.cache.has(id) {
                continue;
            }
            if let Some(chunk) = self.chunk(id) {
                self.cache.give_back(chunk);
            }
        }
    }

    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let (kind, perm, size, nlink) = match self.tree.node(inode)? {
            Node::Directory { .. } => (FileType::Directory, 0o555, 0, 2),
            Node::File {
                size,
                executable: false,
                ..
            } => (FileType::RegularFile, 0o444, *size, 1),
            Node::File {
                size,
                executable: true,
                ..
            } => (FileType::RegularFile, 0o555, *size, 1),
        };
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: LONG_AGO,
            mtime: LONG_AGO,
            ctime: LONG_AGO,
            crtime: LONG_AGO,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Answers a read that may cross chunks.
    fn answer(&self, file: usize, size: u64, offset: u64, wanted: u32, reply: ReplyData) {
        let end = size.min(offset.saturating_add(u64::from(wanted)));
        if offset >= end {
            return reply.data(&[]);
        }
        let (first, last) = (offset / self.chunk_size, (end - 1) / self.chunk_size);
        if first == last {
            let Some(chunk) = self.chunk((file, first)) else {
                return reply.error(Errno::EIO);
            };
            let start = first * self.chunk_size;
            match part(chunk.bytes(), offset - start, end - start) {
                Some(bytes) => {
                    self.count(bytes.len());
                    reply.data(bytes);
                }
                None => reply.error(Errno::EIO),
            }
            return self.cache.give_back(chunk);
        }
        let mut gathered = zeroize::Zeroizing::new(Vec::new());
        gathered.reserve_exact(usize::try_from(end - offset).unwrap_or(0));
        for index in first..=last {
            let Some(chunk) = self.chunk((file, index)) else {
                return reply.error(Errno::EIO);
            };
            let start = index * self.chunk_size;
            let (from, to) = (offset.max(start), end.min(start + self.chunk_size));
            let Some(bytes) = part(chunk.bytes(), from - start, to - start) else {
                return reply.error(Errno::EIO);
            };
            gathered.extend_from_slice(bytes);
            self.cache.give_back(chunk);
        }
        self.count(gathered.len());
        reply.data(&gathered);
    }

    fn count(&self, bytes: usize) {
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Handle {
    /// Wants the chunks behind a sequential read decrypted before the kernel asks for them.
    fn look_ahead(&self, inode: u64, file: usize, size: u64, offset: u64, wanted: u32) {
        let end = offset.saturating_add(u64::from(wanted));
        let Some(expected) = usize::try_from(inode)
            .ok()
            .and_then(|at| self.expected.get(at))
        else {
            return;
        };
        let before = expected.swap(end, Ordering::Relaxed);
        // Requests of one reader overtake each other, so near is sequential enough.
        if self.read_ahead == 0 || before.abs_diff(offset) > NEAR * self.shared.chunk_size {
            return;
        }
        let current = offset / self.shared.chunk_size;
        let chunks = size.div_ceil(self.shared.chunk_size);
        for index in current + 1..=(current + self.read_ahead).min(chunks.saturating_sub(1)) {
            if self.shared.cache.has((file, index)) {
                continue;
            }
            match self.ahead.try_send((file, index)) {
                Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            }
        }
        if end % self.shared.chunk_size == 0 {
            let model = self
                .shared
                .model
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(model) = model.as_ref() {
                model.expect_chunk(file, current + self.read_ahead + DISK_AHEAD);
            }
        }
    }
}

impl Filesystem for Handle {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each is a wish: where the kernel has less, reads are slower and nothing else.
        for wish in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_MAX_PAGES,
        ] {
            config.add_capabilities(wish).ok();
        }
        if let Err(most) = config.set_max_readahead(LARGEST_READ) {
            config.set_max_readahead(most).ok();
        }
        config.set_max_write(LARGEST_READ).ok();
        config.set_max_background(64).ok();
        config.set_congestion_threshold(64).ok();
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let child = match (self.shared.tree.node(parent.0), name.to_str()) {
            (Some(Node::Directory { children, .. }), Some(name)) => children.get(name),
            (Some(Node::Directory { .. } | Node::File { .. }) | None, _) => None,
        };
        match child.and_then(|inode| self.shared.attributes(*inode)) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match self.shared.attributes(inode.0) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match (self.shared.tree.node(inode.0), flags.acc_mode()) {
            (Some(Node::File { .. }), OpenAccMode::O_RDONLY) => {
                self.shared.counters.opens.fetch_add(1, Ordering::Relaxed);
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(FileHandle(0), flags);
            }
            (Some(Node::File { .. }), OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR) => {
                reply.error(Errno::EROFS);
            }
            (Some(Node::Directory { .. }), _) => reply.error(Errno::EISDIR),
            (None, _) => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.shared.tree.node(inode.0) {
            Some(Node::File {
                ordinal,
                size: length,
                ..
            }) => {
                self.look_ahead(inode.0, *ordinal, *length, offset, size);
                self.shared.answer(*ordinal, *length, offset, size, reply);
            }
            Some(Node::Directory { .. }) => reply.error(Errno::EISDIR),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.shared.tree.node(inode.0) {
            Some(Node::Directory { .. }) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
                reply.opened(FileHandle(0), flags);
            }
            Some(Node::File { .. }) => reply.error(Errno::ENOTDIR),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let (parent, children) = match self.shared.tree.node(inode.0) {
            Some(Node::Directory { parent, children }) => (*parent, children),
            Some(Node::File { .. }) => return reply.error(Errno::ENOTDIR),
            None => return reply.error(Errno::ENOENT),
        };
        let dots = [(".", inode.0), ("..", parent)];
        let entries = dots
            .into_iter()
            .chain(children.iter().map(|(name, to)| (name.as_str(), *to)));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((name, to), next) in entries.zip(1_u64..).skip(skipped) {
            let kind = match self.shared.tree.node(to) {
                Some(Node::File { .. }) => FileType::RegularFile,
                Some(Node::Directory { .. }) | None => FileType::Directory,
            };
            if reply.add(INodeNo(to), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, self.shared.tree.len(), 0, 4096, 255, 4096);
    }
}

fn part(bytes: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

impl fmt::Debug for SealedFilesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealedFilesystem({:?})", self.settings)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Running")
    }
}

impl fmt::Debug for ViewControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ViewControl({:?})", self.statistics())
    }
}

/// A view never changes, so what the kernel knows stays true.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The format keeps no times: they would say when somebody trained.
const LONG_AGO: SystemTime = UNIX_EPOCH;
/// The most that one request can ask for.
const LARGEST_READ: u32 = 16 * 1024 * 1024;
/// Chunks that can wait to be decrypted ahead.
const AHEAD_QUEUE: usize = 8;
/// How far, in chunks, a request may be from the expected one and still count as sequential.
const NEAR: u64 = 8;
/// How far, in chunks, the disk is asked ahead of decryption.
const DISK_AHEAD: u64 = 8;
