//! Packs one static program as an OCI image layout, the same bytes every time.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Writes an image layout to `layout` whose only layer holds `program` at `/<name>` and runs it.
/// Returns the manifest's digest (`sha256:...`).
///
/// # Errors
/// When the program cannot be read or the layout not written.
pub fn pack_program(program: &Path, name: &str, layout: &Path) -> anyhow::Result<String> {
    let mut layer = tar::Builder::new(Vec::new());
    let binary = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    append(&mut layer, name, 0o755, &binary)?;
    let layer = layer.into_inner()?;
    pack_layers(
        &[layer],
        &json!({ "Entrypoint": [format!("/{name}")] }),
        layout,
    )
}

/// Writes an image layout with the given uncompressed layers, lowest first, and configuration.
/// Tests give it hostile layers.
///
/// # Errors
/// When the layout cannot be written.
pub fn pack_layers(layers: &[Vec<u8>], config: &Value, layout: &Path) -> anyhow::Result<String> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: &str| -> anyhow::Result<Value> {
        let digest = hex(&Sha256::digest(bytes));
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({
            "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len(),
        }))
    };
    let mut descriptors = Vec::new();
    let mut identities = Vec::new();
    for layer in layers {
        descriptors.push(put(layer, "application/vnd.oci.image.layer.v1.tar")?);
        identities.push(format!("sha256:{}", hex(&Sha256::digest(layer))));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": identities },
    });
    let config = put(
        config.to_string().as_bytes(),
        "application/vnd.oci.image.config.v1+json",
    )?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": descriptors,
    });
    let manifest = put(
        manifest.to_string().as_bytes(),
        "application/vnd.oci.image.manifest.v1+json",
    )?;
    let digest = manifest
        .get("digest")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(
        layout.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    )?;
    Ok(digest)
}

/// Adds one regular file to a layer, owned by root, without a time.
///
/// # Errors
/// When the name does not fit a header.
pub fn append(
    layer: &mut tar::Builder<Vec<u8>>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    layer.append_data(&mut header, name, bytes).context("layer")
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::pack_program;

    #[test]
    fn the_same_program_gives_the_same_image() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, b"\x7fELF").unwrap();
        let first = pack_program(&program, "serve", &directory.path().join("a")).unwrap();
        let second = pack_program(&program, "serve", &directory.path().join("b")).unwrap();
        assert_eq!(first, second);
    }
}
