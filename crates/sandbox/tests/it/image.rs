//! Images, friendly and hostile, and a stage made from one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use casemate_sandbox::image::{Bounds, Image, UnpackImageError, unpack};
use casemate_sandbox::plan::RootFileSystem;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::lab;

/// An image being packed.
#[derive(Default)]
struct Pack {
    layers: Vec<Vec<u8>>,
    config: Value,
}

struct Layer(Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Layer {
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o6755);
        header.set_mtime(1_000_000_000);
        // Written as bytes: the library refuses names that this test needs.
        let put =
            |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, link);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Pack {
    fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer.bytes());
        self
    }

    /// Writes the layout and returns the blob of each layer.
    fn write(&self, path: &Path) -> Vec<PathBuf> {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], media: &str| {
            let digest = sha256(bytes);
            fs::write(blobs.join(&digest), bytes).unwrap();
            json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let mut descriptors = Vec::new();
        let mut paths = Vec::new();
        for layer in &self.layers {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(layer).unwrap();
            let packed = packed.finish().unwrap();
            paths.push(blobs.join(sha256(&packed)));
            descriptors.push(put(&packed, "application/vnd.oci.image.layer.v1.tar+gzip"));
        }
        let ids: Vec<String> = self
            .layers
            .iter()
            .map(|layer| format!("sha256:{}", sha256(layer)))
            .collect();
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": ids},
        });
        let config = put(
            config.to_string().as_bytes(),
            "application/vnd.oci.image.config.v1+json",
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": descriptors});
        let manifest = put(
            manifest.to_string().as_bytes(),
            "application/vnd.oci.image.manifest.v1+json",
        );
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(path.join("index.json"), index.to_string()).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        paths
    }

    fn unpack(&self) -> (tempfile::TempDir, Result<Image, UnpackImageError>) {
        self.unpack_within(&Bounds::default())
    }

    fn unpack_within(
        &self,
        bounds: &Bounds,
    ) -> (tempfile::TempDir, Result<Image, UnpackImageError>) {
        let directory = tempfile::tempdir().unwrap();
        self.write(&directory.path().join("layout"));
        fs::write(directory.path().join("witness"), "untouched").unwrap();
        let image = unpack(
            &directory.path().join("layout"),
            &directory.path().join("store"),
            bounds,
        );
        // Whatever the image was, nothing outside the store has changed, and nothing half done is left.
        assert_eq!(
            fs::read_to_string(directory.path().join("witness")).unwrap(),
            "untouched"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        for entry in fs::read_dir(directory.path().join("store")).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left");
        }
        (directory, image)
    }
}

fn refusal(layer: Layer) -> String {
    let (_directory, image) = Pack::default().layer(layer).unpack();
    image.unwrap_err().to_string()
}

#[test]
fn layers_hide_replace_and_keep_as_the_specification_says() {
    let (_directory, image) = Pack::default()
        .layer(
            Layer::default()
                .directory("a/")
                .file("a/one", "1")
                .file("a/two", "2")
                .file("b/deep/three", "3")
                .file("hidden/below", "x")
                .directory("usr/lib")
                .link("lib", "usr/lib"),
        )
        .layer(
            Layer::default()
                .file("a/.wh.one", "")
                .file("a/two", "22")
                .file("b/.wh..wh..opq", "")
                .file("b/new", "n")
                .file(".wh.hidden", "")
                .file("lib/through", "t"),
        )
        .unpack();
    let image = image.unwrap();
    let read = |path: &str| fs::read_to_string(image.root.join(path)).ok();
    assert_eq!(read("a/one"), None);
    assert_eq!(read("a/two").as_deref(), Some("22"));
    assert_eq!(read("b/deep/three"), None);
    assert_eq!(read("b/new").as_deref(), Some("n"));
    assert!(!image.root.join("hidden").exists());
    // The entry went through the link, inside the root.
    assert_eq!(read("usr/lib/through").as_deref(), Some("t"));
    assert!(image.top_level.contains(&"usr".to_owned()));
    assert!(!image.top_level.contains(&"lib".to_owned()));
}

#[test]
fn permissions_are_made_plain_and_times_kept() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (_directory, image) = Pack::default()
        .layer(Layer::default().file("su", "x"))
        .unpack();
    let image = image.unwrap();
    let metadata = fs::metadata(image.root.join("su")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
    assert_eq!(metadata.mtime(), 1_000_000_000);
}

#[test]
fn the_image_says_how_it_runs() {
    let mut pack = Pack::default().layer(Layer::default().file("x", ""));
    pack.config = json!({"Env": ["A=b"], "Entrypoint": ["/x"], "Cmd": ["y"], "WorkingDir": "/w", "User": "0"});
    let (_directory, image) = pack.unpack();
    let config = image.unwrap().config;
    assert_eq!(config.environment, ["A=b"]);
    assert_eq!(
        (config.entrypoint, config.command),
        (vec!["/x".to_owned()], vec!["y".to_owned()])
    );
    assert_eq!(config.directory.as_deref(), Some("/w"));
}

#[test]
fn an_image_is_unpacked_once() {
    let pack = Pack::default().layer(Layer::default().file("x", "x"));
    let (directory, image) = pack.unpack();
    let image = image.unwrap();
    // A second time it is only looked up: a changed blob is not even read.
    for blob in fs::read_dir(directory.path().join("layout/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if !fs::read_to_string(&path).is_ok_and(|text| text.starts_with('{')) {
            fs::write(path, "changed").unwrap();
        }
    }
    let store = directory.path().join("store");
    assert_eq!(
        unpack(&directory.path().join("layout"), &store, &Bounds::default()).unwrap(),
        image
    );
}

#[test]
fn names_that_leave_the_root_are_refused() {
    assert!(refusal(Layer::default().file("../witness", "gone")).contains("leaves the root"));
    assert!(refusal(Layer::default().file("a/../../witness", "gone")).contains("leaves the root"));
    // A leading slash is the root of the image.
    let (_directory, image) = Pack::default()
        .layer(Layer::default().file("/witness", "in"))
        .unpack();
    assert_eq!(
        fs::read_to_string(image.unwrap().root.join("witness")).unwrap(),
        "in"
    );
}

#[test]
fn links_that_lead_out_lead_nowhere() {
    // A link to the host's directory, then a file through it: it lands inside.
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let (_directory, image) = Pack::default()
        .layer(
            Layer::default()
                .link("out", target)
                .link("up", "../../../../../..")
                .file("out/file", "x")
                .file("up/file", "y"),
        )
        .unpack();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let image = image.unwrap();
    assert_eq!(fs::read_to_string(image.root.join("file")).unwrap(), "y");
    // A file over a link replaces the link and not what it leads to.
    let victim = outside.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    let layer = Layer::default()
        .link("v", victim.to_str().unwrap())
        .file("v", "changed");
    let (_directory, image) = Pack::default().layer(layer).unpack();
    assert!(image.is_ok());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
}

#[test]
fn hard_links_stay_inside_and_name_files_only() {
    let hard = |name: &str, target: &str| {
        Layer::default()
            .file("real", "r")
            .link("soft", "/etc/passwd")
            .entry(EntryType::Link, name, target, b"")
    };
    let (_directory, image) = Pack::default().layer(hard("copy", "real")).unpack();
    assert_eq!(
        fs::read_to_string(image.unwrap().root.join("copy")).unwrap(),
        "r"
    );
    assert!(refusal(hard("x", "../../etc/passwd")).contains("leaves the root"));
    let (_directory, image) = Pack::default().layer(hard("x", "/etc/passwd")).unpack();
    assert!(
        matches!(image, Err(UnpackImageError::File { .. })),
        "the host's file is not in the image"
    );
    let (_directory, image) = Pack::default().layer(hard("x", "soft")).unpack();
    assert!(matches!(image, Err(UnpackImageError::File { .. })));
}

#[test]
fn devices_pipes_and_unknown_things_are_refused() {
    let of = |kind| Layer::default().entry(kind, "thing", "", b"");
    assert!(refusal(of(EntryType::Char)).contains("device"));
    assert!(refusal(of(EntryType::Block)).contains("device"));
    assert!(refusal(of(EntryType::Fifo)).contains("pipe"));
    assert!(refusal(of(EntryType::new(b'9'))).contains("not understood"));
}

#[test]
fn whiteouts_without_a_name_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.plnk"] {
        assert!(
            refusal(Layer::default().file(name, "")).contains("whiteout"),
            "{name}"
        );
    }
}

#[test]
fn places_of_the_sandbox_are_directories_whatever_the_image_put_there() {
    let layer = Layer::default()
        .link("proc", "/")
        .file("dev", "x")
        .link("sys", "etc")
        .link("models", "..");
    let (_directory, image) = Pack::default().layer(layer).unpack();
    let root = image.unwrap().root;
    for place in [
        "proc",
        "dev",
        "tmp",
        "models",
        ".casemate",
        "sys/devices/system/cpu",
    ] {
        assert!(
            fs::symlink_metadata(root.join(place)).unwrap().is_dir(),
            "{place}"
        );
    }
}

#[test]
fn more_than_allowed_is_refused() {
    let layer = || {
        Layer::default()
            .file("a", &"x".repeat(100_000))
            .file("b", "")
            .file("c", "")
    };
    let within = |bounds: Bounds| Pack::default().layer(layer()).unpack_within(&bounds).1;
    let bytes = within(Bounds {
        bytes: 50_000,
        ..Bounds::default()
    });
    assert!(
        matches!(bytes, Err(UnpackImageError::TooMuch { what: "bytes", .. })),
        "{bytes:?}"
    );
    let entries = within(Bounds {
        entries: 2,
        ..Bounds::default()
    });
    assert!(matches!(
        entries,
        Err(UnpackImageError::TooMuch {
            what: "entries",
            ..
        })
    ));
    let layers = within(Bounds {
        layers: 0,
        ..Bounds::default()
    });
    assert!(matches!(
        layers,
        Err(UnpackImageError::TooMuch { what: "layers", .. })
    ));
    let document = within(Bounds {
        document_bytes: 10,
        ..Bounds::default()
    });
    assert!(matches!(document, Err(UnpackImageError::TooMuch { .. })));
    assert!(within(Bounds::default()).is_ok());
}

#[test]
fn a_small_blob_that_unpacks_to_much_is_refused() {
    // 64 MiB of zeroes after the archive's end, in 64 KiB of blob.
    let mut layer = Layer::default().file("a", "x").bytes();
    layer.resize(64 << 20, 0);
    let mut pack = Pack::default();
    pack.layers.push(layer);
    let (_directory, image) = pack.unpack_within(&Bounds {
        bytes: 1 << 20,
        ..Bounds::default()
    });
    assert!(
        matches!(image, Err(UnpackImageError::TooMuch { what: "bytes", .. })),
        "{image:?}"
    );
}

#[test]
fn altered_blobs_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let pack = Pack::default().layer(Layer::default().file("a", "original"));
    for flip in ["layer", "document"] {
        let layout = directory.path().join(flip);
        let blobs = pack.write(&layout);
        let victim = match flip {
            "layer" => blobs[0].clone(),
            _ => {
                let all = fs::read_dir(layout.join("blobs/sha256")).unwrap();
                all.map(|blob| blob.unwrap().path())
                    .find(|path| !blobs.contains(path))
                    .unwrap()
            }
        };
        let mut bytes = fs::read(&victim).unwrap();
        // The middle of a document; the time stamp of a compressed layer, which changes nothing else.
        let at = if flip == "layer" { 4 } else { bytes.len() / 2 };
        bytes[at] ^= 1;
        fs::write(&victim, bytes).unwrap();
        let image = unpack(&layout, &directory.path().join("store"), &Bounds::default());
        assert!(
            matches!(image, Err(UnpackImageError::Altered { .. })),
            "{flip}: {image:?}"
        );
    }
}

#[test]
fn an_archive_of_a_layout_is_the_same_image() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    Pack::default()
        .layer(Layer::default().file("a", "x"))
        .write(&layout);
    let archive = directory.path().join("image.tar");
    let mut builder = Builder::new(fs::File::create(&archive).unwrap());
    builder.append_dir_all(".", &layout).unwrap();
    builder.finish().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let from_directory = unpack(&layout, &one, &Bounds::default()).unwrap();
    let from_archive = unpack(&archive, &two, &Bounds::default()).unwrap();
    assert_eq!(from_directory.digest, from_archive.digest);
    assert_eq!(
        fs::read_to_string(from_archive.root.join("a")).unwrap(),
        "x"
    );
    assert_eq!(fs::read_dir(&two).unwrap().count(), 1);
}

#[test]
fn an_archive_cannot_write_beside_its_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("image.tar");
    let layer = Layer::default()
        .file("../witness", "gone")
        .file("blobs/sha256/../../../witness", "gone");
    fs::write(&archive, layer.bytes()).unwrap();
    assert!(
        unpack(
            &archive,
            &directory.path().join("store"),
            &Bounds::default()
        )
        .is_err()
    );
    assert!(!directory.path().join("witness").exists());
    assert_eq!(
        fs::read_dir(directory.path().join("store"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_stage_runs_what_its_image_says() {
    lab::run(3300, |lab| {
        let mut layer = Layer::default();
        let libraries = std::process::Command::new("ldd")
            .arg("/bin/sh")
            .output()
            .unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let paths = libraries
            .split_ascii_whitespace()
            .filter(|word| word.starts_with('/'));
        for path in paths.chain(["/bin/sh"]) {
            layer = layer.entry(EntryType::Regular, &path[1..], "", &fs::read(path).unwrap());
        }
        let mut pack = Pack::default().layer(layer.file("app/words", "from the image"));
        pack.config = json!({
            "Env": ["WHO=image"], "Entrypoint": ["/bin/sh", "-c"], "WorkingDir": "/app",
            "Cmd": ["read words < words; echo \"$words, $WHO, $PWD\""],
        });
        pack.write(&lab.path("layout"));
        // The store is closed to everybody but root, as the daemon's is.
        let private = lab.path("private");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(
            &private,
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let image = unpack(
            &lab.path("layout"),
            &private.join("images"),
            &Bounds::default(),
        )
        .unwrap();
        let mut request = lab.request(&[]);
        request.root = RootFileSystem::Image(image);
        request.models = vec![casemate_sandbox::plan::ModelView {
            name: "m".to_owned(),
            view: lab.path("views"),
        }];
        assert_eq!(lab.output(&request), "from the image, image, /app\n");
    });
}
