//! Index and manifests of a layout: which images there are, and what is attached to them.

use super::layout::Store;
use crate::node::{Entry, Node, Value};
use crate::place::{Files, Place};
use crate::yaml;

/// One image, with its layers by the names of their parts.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) digest: String,
    pub(super) reference: Option<Node>,
    pub(super) annotations: Node,
    pub(super) manifest: Node,
    pub(super) configuration: Node,
    pub(super) layers: Vec<String>,
    pub(super) attached: Vec<Node>,
}

/// What a layout holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) images: Vec<Packed>,
    pub(super) faults: Vec<String>,
}

struct Reader<'store> {
    store: &'store Store,
    files: &'store mut Files,
    name: &'store str,
    held: Held,
    /// Manifests that belong to an image, by the digest of that image.
    attached: Vec<(String, Node)>,
    manifests: usize,
}

/// The images of a layout.
pub(super) fn images(store: &Store, files: &mut Files, name: &str) -> Result<Held, String> {
    let mut reader = Reader {
        store,
        files,
        name,
        held: Held::default(),
        attached: Vec::new(),
        manifests: 0,
    };
    if reader.store.has("index.json") {
        let index = reader.document("index.json")?;
        reader.index(&index, 0);
    } else if reader.store.has("manifest.json") {
        let saved = reader.document("manifest.json")?;
        reader.saved(&saved);
    } else {
        return Err(
            "an archive without `index.json` or `manifest.json`: no image that is known here"
                .to_owned(),
        );
    }
    let Reader {
        mut held, attached, ..
    } = reader;
    for (digest, manifest) in attached {
        let of_image = held
            .images
            .iter_mut()
            .filter(|image| image.digest == digest);
        of_image.for_each(|image| image.attached.push(manifest.clone()));
    }
    if held.images.is_empty() && held.faults.is_empty() {
        return Err("no image is in it".to_owned());
    }
    Ok(held)
}

impl Reader<'_> {
    /// A part as a tree with places.
    fn document(&mut self, part: &str) -> Result<Node, String> {
        let bytes = self.store.part(part)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("`{part}` is not UTF-8 text"))?;
        let file = self.files.add(&format!("{}!{part}", self.name), &text);
        let mut stream = yaml::read(file, &text);
        if let Some(error) = stream.error {
            return Err(format!("`{part}`: {}", error.message));
        }
        let first = (!stream.documents.is_empty()).then(|| stream.documents.remove(0));
        first.ok_or_else(|| format!("`{part}` is empty"))
    }

    fn index(&mut self, index: &Node, depth: usize) {
        for descriptor in index.list("manifests") {
            self.manifests += 1;
            if self.manifests > MAX_MANIFESTS || depth > MAX_DEPTH {
                self.held.faults.push(format!(
                    "more than {MAX_MANIFESTS} manifests, or indexes in indexes"
                ));
                return;
            }
            if let Err(message) = self.described(descriptor, depth) {
                self.held.faults.push(message);
            }
        }
    }

    fn described(&mut self, descriptor: &Node, depth: usize) -> Result<(), String> {
        let digest = descriptor
            .text_at("digest")
            .ok_or("a manifest without a digest")?
            .to_owned();
        let part = blob(&digest)?;
        if !self.store.has(&part) {
            // An index of many platforms of which one was fetched is as usual as a whole one.
            return if depth > 0 {
                Ok(())
            } else {
                Err(format!("`{part}` is not there"))
            };
        }
        let manifest = self.document(&part)?;
        let manifests = manifest.get("manifests").is_some();
        if manifests {
            self.index(&manifest, depth + 1);
            return Ok(());
        }
        let note = |key: &str| {
            descriptor
                .get("annotations")
                .and_then(|notes| notes.text_at(key))
        };
        let is_attestation = note("vnd.docker.reference.type") == Some("attestation-manifest");
        let subject = manifest.at(&["subject", "digest"]).and_then(Node::text);
        let of = subject.or_else(|| note("vnd.docker.reference.digest").filter(|_| is_attestation));
        if let Some(of) = of {
            self.attached.push((of.to_owned(), manifest));
            return Ok(());
        }
        let reference = descriptor.get("annotations").and_then(|notes| {
            notes
                .get("io.containerd.image.name")
                .or_else(|| notes.get("org.opencontainers.image.ref.name"))
        });
        let annotations = joined(
            manifest.get("annotations"),
            descriptor.get("annotations"),
            manifest.place,
        );
        let configuration = manifest
            .at(&["config", "digest"])
            .and_then(Node::text)
            .ok_or_else(|| format!("`{part}` names no configuration"))?;
        let configuration = self.document(&blob(configuration)?)?;
        if configuration.get("rootfs").is_none() {
            return Err(format!(
                "`{part}` is no image, and nothing that is known here"
            ));
        }
        let layers = manifest
            .list("layers")
            .iter()
            .take(MAX_LAYERS)
            .map(|layer| {
                layer
                    .text_at("digest")
                    .map_or(Err("a layer without a digest".to_owned()), blob)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.held.images.push(Packed {
            digest,
            reference: reference.cloned(),
            annotations,
            manifest,
            configuration,
            layers,
            attached: Vec::new(),
        });
        Ok(())
    }

    /// The list that older engines write: configuration, names and layers by their paths in the archive.
    fn saved(&mut self, saved: &Node) {
        for image in saved.items().iter().take(MAX_MANIFESTS) {
            let configuration = image
                .text_at("Config")
                .ok_or_else(|| "an image without a configuration".to_owned())
                .and_then(plain)
                .and_then(|part| Ok((self.document(&part)?, part)));
            let layers = image
                .list("Layers")
                .iter()
                .take(MAX_LAYERS)
                .filter_map(Node::text)
                .map(plain)
                .collect::<Result<Vec<_>, _>>();
            match (configuration, layers) {
                (Ok((configuration, part)), Ok(layers)) => self.held.images.push(Packed {
                    digest: part,
                    reference: image.list("RepoTags").first().cloned(),
                    annotations: joined(None, None, image.place),
                    manifest: image.clone(),
                    configuration,
                    layers,
                    attached: Vec::new(),
                }),
                (Err(message), _) | (_, Err(message)) => self.held.faults.push(message),
            }
        }
    }
}

/// The part that holds a blob. A digest is not a path: whatever it says, it stays among the blobs.
fn blob(digest: &str) -> Result<String, String> {
    let (algorithm, value) = digest.split_once(':').unwrap_or(("", ""));
    let known = matches!((algorithm, value.len()), ("sha256", 64) | ("sha512", 128));
    if known && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(format!("blobs/{algorithm}/{value}"))
    } else {
        Err(format!("`{}` is no digest", shown(digest)))
    }
}

/// A path inside the archive, as older engines name its parts.
fn plain(path: &str) -> Result<String, String> {
    let fits = !path.is_empty()
        && !path.starts_with('/')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if fits {
        Ok(path.to_owned())
    } else {
        Err(format!("`{}` leads out of the archive", shown(path)))
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}

/// The annotations of a manifest and of what names it; the manifest's own win.
fn joined(own: Option<&Node>, outer: Option<&Node>, place: Place) -> Node {
    let own = own.map_or(&[][..], Node::entries);
    let mut entries: Vec<Entry> = own.iter().take(MAX_NOTES).cloned().collect();
    for entry in outer.map_or(&[][..], Node::entries).iter().take(MAX_NOTES) {
        if !entries.iter().any(|one| one.key == entry.key) {
            entries.push(entry.clone());
        }
    }
    Node {
        place,
        value: Value::Mapping {
            entries,
            flow: false,
        },
    }
}

const MAX_MANIFESTS: usize = 256;
const MAX_DEPTH: usize = 4;
const MAX_LAYERS: usize = 512;
// Notes are compared with one another.
const MAX_NOTES: usize = 1_024;
