//! The documents of an OCI layout: index, manifest, configuration.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reading::Sha256Digest;
use super::{Bounds, ImageConfig, UnpackImageError};

/// What is to be unpacked.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) digest: Sha256Digest,
    pub(super) layers: Vec<Layer>,
    pub(super) config: ImageConfig,
}

/// A layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Of the blob, as stored.
    pub(super) blob: Sha256Digest,
    /// Bytes of the blob.
    pub(super) size: u64,
    /// Of the tar archive in it.
    pub(super) content: Sha256Digest,
    /// Whether the blob is the archive compressed.
    pub(super) compressed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    architecture: String,
    os: String,
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFileSystem,
}

#[derive(Debug, Deserialize)]
struct RootFileSystem {
    diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    entrypoint: Option<Vec<String>>,
    #[serde(default)]
    cmd: Option<Vec<String>>,
    #[serde(default)]
    working_dir: Option<String>,
}

pub(super) fn describe(layout: &Path, bounds: &Bounds) -> Result<Description, UnpackImageError> {
    let marker = read(&layout.join("oci-layout"), bounds.document_bytes)?;
    check_marker(&marker)?;
    let index = parse_index(&read(&layout.join("index.json"), bounds.document_bytes)?)?;
    let descriptor = choose(layout, index, bounds)?;
    let digest = Sha256Digest::parse(&descriptor.digest)?;
    let manifest = parse_manifest(&blob(layout, &descriptor, "manifest", bounds)?)?;
    let configuration =
        parse_configuration(&blob(layout, &manifest.config, "configuration", bounds)?)?;
    check_platform(&configuration)?;
    let layers = layers(&manifest, &configuration, bounds)?;
    let execution = configuration.config.unwrap_or_default();
    let config = ImageConfig {
        environment: execution.env.unwrap_or_default(),
        entrypoint: execution.entrypoint.unwrap_or_default(),
        command: execution.cmd.unwrap_or_default(),
        directory: execution
            .working_dir
            .filter(|directory| !directory.is_empty()),
    };
    Ok(Description {
        digest,
        layers,
        config,
    })
}

pub(super) fn blob_path(layout: &Path, digest: &Sha256Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hexadecimal())
}

pub(crate) fn parse_index(text: &[u8]) -> Result<Index, UnpackImageError> {
    let index: Index =
        serde_json::from_slice(text).map_err(|error| UnpackImageError::document("index", error))?;
    check_version("index", index.schema_version)?;
    Ok(index)
}

pub(crate) fn parse_manifest(text: &[u8]) -> Result<Manifest, UnpackImageError> {
    let manifest: Manifest = serde_json::from_slice(text)
        .map_err(|error| UnpackImageError::document("manifest", error))?;
    check_version("manifest", manifest.schema_version)?;
    Ok(manifest)
}

pub(crate) fn parse_configuration(text: &[u8]) -> Result<Configuration, UnpackImageError> {
    serde_json::from_slice(text).map_err(|error| UnpackImageError::document("configuration", error))
}

fn check_version(document: &'static str, version: u32) -> Result<(), UnpackImageError> {
    if version == 2 {
        Ok(())
    } else {
        Err(UnpackImageError::document(
            document,
            format!("schema version {version}"),
        ))
    }
}

fn check_marker(text: &[u8]) -> Result<(), UnpackImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker = serde_json::from_slice(text)
        .map_err(|error| UnpackImageError::document("layout marker", error))?;
    if marker.image_layout_version.starts_with("1.") {
        Ok(())
    } else {
        let reason = format!("layout version `{}`", marker.image_layout_version);
        Err(UnpackImageError::document("layout marker", reason))
    }
}

/// The one manifest for this machine; indexes in the index are followed once.
fn choose(layout: &Path, index: Index, bounds: &Bounds) -> Result<Descriptor, UnpackImageError> {
    let mut candidates = Vec::new();
    for descriptor in index.manifests {
        if is_index(&descriptor) {
            let inner = parse_index(&blob(layout, &descriptor, "index", bounds)?)?;
            candidates.extend(inner.manifests.into_iter().filter(|inner| !is_index(inner)));
        } else {
            candidates.push(descriptor);
        }
        if candidates.len() > MOST_MANIFESTS {
            let limit = u64::try_from(MOST_MANIFESTS).unwrap_or(u64::MAX);
            return Err(UnpackImageError::TooMuch {
                what: "manifests",
                limit,
            });
        }
    }
    candidates.retain(|descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_none_or(|platform| {
            platform.os == "linux" && platform.architecture == architecture()
        })
    });
    let found = candidates.len();
    match (candidates.pop(), found) {
        (Some(descriptor), 1) => Ok(descriptor),
        _ => Err(UnpackImageError::Manifest {
            found,
            platform: format!("linux/{}", architecture()),
        }),
    }
}

fn is_index(descriptor: &Descriptor) -> bool {
    descriptor.media_type.ends_with("image.index.v1+json")
        || descriptor.media_type.ends_with("manifest.list.v2+json")
}

fn check_platform(configuration: &Configuration) -> Result<(), UnpackImageError> {
    let (os, machine) = (&configuration.os, &configuration.architecture);
    if os == "linux" && machine == architecture() {
        return Ok(());
    }
    let reason = format!(
        "it is for {os}/{machine}, this machine is linux/{}",
        architecture()
    );
    Err(UnpackImageError::document("configuration", reason))
}

fn layers(
    manifest: &Manifest,
    configuration: &Configuration,
    bounds: &Bounds,
) -> Result<Vec<Layer>, UnpackImageError> {
    if manifest.layers.len() > bounds.layers {
        let limit = u64::try_from(bounds.layers).unwrap_or(u64::MAX);
        return Err(UnpackImageError::TooMuch {
            what: "layers",
            limit,
        });
    }
    let identities = &configuration.rootfs.diff_ids;
    if identities.len() != manifest.layers.len() {
        let (ids, layers) = (identities.len(), manifest.layers.len());
        let reason = format!("{ids} layer identities for {layers} layers");
        return Err(UnpackImageError::document("configuration", reason));
    }
    let pairs = manifest.layers.iter().zip(identities);
    pairs
        .map(|(descriptor, identity)| {
            Ok(Layer {
                blob: Sha256Digest::parse(&descriptor.digest)?,
                size: descriptor.size,
                content: Sha256Digest::parse(identity)?,
                compressed: compressed(&descriptor.media_type)?,
            })
        })
        .collect()
}

fn compressed(media_type: &str) -> Result<bool, UnpackImageError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" => Ok(false),
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(true),
        other => Err(UnpackImageError::LayerType(
            other.chars().take(100).collect(),
        )),
    }
}

/// A document by its descriptor, of the length and digest that it says.
fn blob(
    layout: &Path,
    descriptor: &Descriptor,
    what: &'static str,
    bounds: &Bounds,
) -> Result<Vec<u8>, UnpackImageError> {
    let digest = Sha256Digest::parse(&descriptor.digest)?;
    let text = read(
        &blob_path(layout, &digest),
        descriptor.size.min(bounds.document_bytes),
    )?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length != descriptor.size || Sha256Digest::of(&text) != digest {
        return Err(UnpackImageError::Altered {
            what,
            expected: digest.to_string(),
        });
    }
    Ok(text)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, UnpackImageError> {
    let file = File::open(path).map_err(UnpackImageError::file("open", path))?;
    let mut text = Vec::new();
    let most = limit.saturating_add(1);
    file.take(most)
        .read_to_end(&mut text)
        .map_err(UnpackImageError::file("read", path))?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= limit) {
        Ok(text)
    } else {
        Err(UnpackImageError::TooMuch {
            what: "bytes in a document",
            limit,
        })
    }
}

/// This machine, in the words of images.
pub(super) const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

const MOST_MANIFESTS: usize = 1000;
