//! The mounted view: what it shows, and what it never gives.
//!
//! Mounting needs root; each test mounts in a private namespace of its own thread.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use casemate_linux::{mount, namespace};
use casemate_weights::view::{SealedFilesystem, ViewSettings, ViewStatistics};

use crate::lab::{Lab, contents, noise, skip};

/// Mounts the view of `lab`'s sealing, runs `body` on it, and unmounts; gives what was refused.
fn with_view(lab: &Lab, body: impl FnOnce(&Path) + Send) -> Option<(Vec<String>, ViewStatistics)> {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        skip("mounting a view needs root and /dev/fuse");
        return None;
    }
    let refused: Arc<Mutex<Vec<String>>> = Arc::default();
    let statistics = thread::scope(|scope| {
        let work = scope.spawn(|| {
            namespace::isolate_mounts().unwrap();
            let place = lab.path("view");
            fs::create_dir_all(&place).unwrap();
            let request = mount::Fuse {
                name: "casemate",
                uid: 0,
                gid: 0,
                largest_read_bytes: 1 << 24,
                flags: mount::Flags::DATA,
            };
            let device = mount::fuse(&place, &request).unwrap();
            let told = Arc::clone(&refused);
            let settings = ViewSettings {
                cache_bytes: 1 << 20,
                ..ViewSettings::default()
            };
            let filesystem = SealedFilesystem::new(
                lab.open(),
                settings,
                Box::new(move |error| told.lock().unwrap().push(error.to_string())),
            )
            .unwrap();
            let running = filesystem.attach(device).unwrap();
            let server = thread::spawn(move || running.serve());
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&place)));
            mount::unmount(&place).unwrap();
            let statistics = server.join().unwrap().unwrap();
            outcome.unwrap();
            statistics
        });
        work.join().unwrap()
    });
    let refused = refused.lock().unwrap().clone();
    Some((refused, statistics))
}

#[test]
fn the_view_shows_the_signed_files_and_nothing_else() {
    let lab = Lab::new();
    lab.seal();
    with_view(&lab, |place| {
        assert_eq!(contents(place), contents(&lab.source()));
        let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("config.json") & 0o777, 0o444);
        assert_eq!(mode("run.sh") & 0o777, 0o555);
        assert_eq!(mode("weights") & 0o777, 0o555);
        assert!(fs::metadata(place.join("header.json")).is_err());
    });
}

#[test]
fn the_view_cannot_be_written() {
    let lab = Lab::new();
    lab.seal();
    with_view(&lab, |place| {
        assert!(File::create(place.join("new")).is_err());
        assert!(
            File::options()
                .write(true)
                .open(place.join("config.json"))
                .is_err()
        );
        assert!(fs::remove_file(place.join("config.json")).is_err());
        assert!(fs::rename(place.join("config.json"), place.join("other")).is_err());
        assert!(fs::create_dir(place.join("directory")).is_err());
    });
}

#[test]
fn any_range_equals_the_plaintext_also_from_many_readers() {
    let lab = Lab::new();
    lab.add("large.bin", &noise("large", 40 * 65536 + 1234));
    lab.seal();
    let plain = fs::read(lab.source().join("large.bin")).unwrap();
    with_view(&lab, |place| {
        let file = File::open(place.join("large.bin")).unwrap();
        thread::scope(|scope| {
            for reader in 0_usize..4 {
                let (file, plain) = (&file, &plain);
                scope.spawn(move || {
                    let numbers = noise(&format!("reader {reader}"), 600);
                    for number in numbers.chunks_exact(6) {
                        let word = |from: usize| {
                            usize::from(number[from]) << 16
                                | usize::from(number[from + 1]) << 8
                                | usize::from(number[from + 2])
                        };
                        let from = word(0) % plain.len();
                        let length = (word(3) % 300_000).min(plain.len() - from);
                        let mut read = vec![0; length];
                        file.read_exact_at(&mut read, from as u64).unwrap();
                        assert!(read == plain[from..from + length], "{from}+{length}");
                    }
                });
            }
        });
        let mut end = [0; 10];
        assert_eq!(file.read_at(&mut end, plain.len() as u64).unwrap(), 0);
        assert_eq!(file.read_at(&mut end, plain.len() as u64 - 3).unwrap(), 3);
    });
}

#[test]
fn a_mapped_file_equals_the_plaintext() {
    let lab = Lab::new();
    lab.add("large.gguf", &noise("gguf", 5 * 65536 + 9));
    lab.seal();
    let plain = fs::read(lab.source().join("large.gguf")).unwrap();
    with_view(&lab, |place| {
        // `cmp` of a mapping: Python's mmap, since this crate may not map memory itself.
        let script = "import mmap,sys,hashlib\nf=open(sys.argv[1],'rb')\n\
                      m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ,flags=mmap.MAP_SHARED)\n\
                      print(hashlib.sha256(m).hexdigest())";
        let Ok(mapped) = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(place.join("large.gguf"))
            .output()
        else {
            return skip("python3 is not installed");
        };
        let expected = casemate_weights::digest::Digest::of(&plain).to_string();
        assert_eq!(String::from_utf8(mapped.stdout).unwrap().trim(), expected);
    });
}

#[test]
fn a_warm_read_asks_nobody() {
    let lab = Lab::new();
    lab.add("large.bin", &noise("large", 10 * 65536));
    lab.seal();
    let seen = with_view(&lab, |place| {
        for _ in 0..5 {
            let mut read = Vec::new();
            File::open(place.join("large.bin"))
                .unwrap()
                .read_to_end(&mut read)
                .unwrap();
            assert_eq!(read.len(), 10 * 65536);
        }
    });
    if let Some((_, statistics)) = seen {
        assert_eq!(statistics.opens, 5);
        assert_eq!(
            statistics.bytes,
            10 * 65536,
            "only the first read came from the vault"
        );
    }
}

#[test]
fn a_corrupt_chunk_gives_an_error_a_report_and_no_byte() {
    let lab = Lab::new();
    lab.add("large.bin", &noise("large", 6 * 65536));
    lab.seal();
    let model = lab.open();
    let file = model
        .entries()
        .iter()
        .position(|entry| entry.path.as_str() == "large.bin")
        .unwrap();
    let offset = model.layout().chunk(file, 3).unwrap().offset;
    let data = lab.sealed().join("data");
    let plain = fs::read(lab.source().join("large.bin")).unwrap();
    let seen = with_view(&lab, |place: &Path| {
        let sealed = File::options().read(true).write(true).open(&data).unwrap();
        let mut byte = [0; 1];
        sealed.read_exact_at(&mut byte, offset).unwrap();
        byte[0] ^= 1;
        sealed.write_all_at(&byte, offset).unwrap();
        let path: PathBuf = place.join("large.bin");
        let file = File::open(path).unwrap();
        let mut buffer = vec![0; 65536];
        let error = file
            .read_exact_at(&mut buffer, 3 * 65536 + 100)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "EIO");
        assert!(buffer.iter().all(|byte| *byte == 0), "not one byte");
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert!(buffer == plain[..65536], "other chunks are served");
        file.read_exact_at(&mut buffer, 5 * 65536).unwrap();
        assert!(buffer == plain[5 * 65536..]);
    });
    if let Some((refused, statistics)) = seen {
        assert!(refused[0].contains("chunk 3 of `large.bin`"), "{refused:?}");
        assert!(statistics.corrupt >= 1);
    }
}
