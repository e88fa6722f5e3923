//! Writes a report to the file that was named, and to no other.
//!
//! Reports are written inside of checkouts that somebody else filled: a link under the name that a pipeline uses
//! would put words of theirs into any file of the person who scans, and a pipe would hold the scan up for ever.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Writes `text` to `path`. What is there is replaced when it is a plain file.
///
/// # Errors
///
/// When a link, a pipe or anything else that is no plain file is there, or when it cannot be written. `/dev` and
/// `/proc` are the system's own, so `/dev/stdout` is what it is everywhere.
pub fn save(path: &Path, text: &str) -> io::Result<()> {
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return fs::write(path, text);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let link = || fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let mut file = match opened {
        Err(_) if link() => {
            return Err(io::Error::other(
                "there is a symbolic link under this name; name what it leads to",
            ));
        }
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("what is there is no plain file"));
    }
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_plain_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("plain"), "a long text that was there").unwrap();
        fs::write(at("target"), "precious").unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("absent"), at("dangling")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        save(&at("plain"), "new").unwrap();
        save(&at("fresh"), "new").unwrap();
        assert_eq!(fs::read_to_string(at("plain")).unwrap(), "new");
        assert_eq!(fs::read_to_string(at("fresh")).unwrap(), "new");
        for refused in ["link", "dangling", "pipe"] {
            assert!(save(&at(refused), "new").is_err(), "{refused}");
        }
        assert_eq!(fs::read_to_string(at("target")).unwrap(), "precious");
        assert!(!at("absent").exists());
        save(Path::new("/dev/null"), "new").unwrap();
    }
}
