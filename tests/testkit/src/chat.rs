//! The example `chat`, made ready to run beside a [`Node`]: keys, sealed model, image, enclosure file.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::identity_provider::free_address;
use crate::programs::checkout;
use crate::{IdentityProvider, Node, Programs, Tools, oci};

/// The prepared example.
#[derive(Debug)]
pub struct Chat {
    directory: PathBuf,
    gate: SocketAddr,
}

impl Chat {
    /// Makes everything that `examples/chat/enclosure.yaml` names, in a directory of the node.
    ///
    /// # Errors
    /// When a tool is missing or a step fails.
    pub fn prepare(
        node: &Node,
        tools: &Tools,
        provider: &IdentityProvider,
    ) -> anyhow::Result<Self> {
        let chat = Self {
            directory: node.path("chat"),
            gate: free_address()?,
        };
        fs::create_dir_all(&chat.directory)?;
        fs::set_permissions(&chat.directory, fs::Permissions::from_mode(0o711))?;
        chat.make_keys(node)?;
        chat.seal(node, &tools.model()?)?;
        pack_redact(&chat.directory.join("redact.oci"))?;
        copy_server(tools, &chat.server())?;
        let text = enclosure(&provider.issuer(), &chat.server(), chat.gate)?;
        fs::write(chat.file(), text)?;
        Ok(chat)
    }

    /// The enclosure file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("enclosure.yaml")
    }

    /// The directory of the file and of everything that it names.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the gate of `redact` listens on the host.
    #[must_use]
    pub const fn gate(&self) -> SocketAddr {
        self.gate
    }

    /// A request body that asks the model.
    #[must_use]
    pub fn question(text: &str, max_tokens: u32, stream: bool) -> serde_json::Value {
        serde_json::json!({
            "model": MODEL, "stream": stream, "max_tokens": max_tokens, "temperature": 0,
            "messages": [{ "role": "user", "content": text }],
        })
    }

    fn server(&self) -> PathBuf {
        self.directory.join("llama")
    }

    fn make_keys(&self, node: &Node) -> anyhow::Result<()> {
        let keys = self.directory.join("keys").display().to_string();
        node.run_casemate(&["model", "keygen", "--out", &keys])
            .map(drop)
    }

    fn seal(&self, node: &Node, model: &Path) -> anyhow::Result<()> {
        let plain = self.directory.join("plain");
        fs::create_dir(&plain)?;
        // The file keeps its place on the disk: the stage is shown the name `model.gguf`.
        fs::hard_link(model, plain.join("model.gguf"))
            .or_else(|_| fs::copy(model, plain.join("model.gguf")).map(drop))?;
        let path = |name: &str| self.directory.join(name).display().to_string();
        node.run_casemate(&[
            "model",
            "seal",
            &path("plain"),
            &path("smollm2.sealed"),
            "--name",
            "smollm2-135m-instruct",
            "--model-version",
            "1",
            "--recipient",
            &path("keys/recipient.txt"),
            "--signer",
            &path("keys/signing.key"),
        ])?;
        fs::remove_dir_all(plain)?;
        Ok(())
    }
}

/// Packs the pre-processor as an image at `layout`.
///
/// # Errors
/// When it is not built or cannot be written.
pub fn pack_redact(layout: &Path) -> anyhow::Result<()> {
    oci::pack_program(&Programs::locate()?.path("redact"), "redact", layout).map(drop)
}

/// Lays llama.cpp's server out at `directory`, which the stage is given as it is.
///
/// # Errors
/// When it is not installed or cannot be copied.
pub fn copy_server(tools: &Tools, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    fs::copy(
        checkout().join("examples/chat/serve.py"),
        directory.join("serve.py"),
    )?;
    copy_tree(&tools.llama_packages()?, &directory.join("packages"))
}

/// The example's enclosure file with the places of this host put in.
///
/// # Errors
/// When the example cannot be read or no longer has those places.
pub fn enclosure(issuer: &str, server: &Path, gate: SocketAddr) -> anyhow::Result<String> {
    let example = checkout().join("examples/chat/enclosure.yaml");
    let mut text = fs::read_to_string(example).context("examples/chat/enclosure.yaml")?;
    for (from, to) in [
        ("https://idp.example.internal", issuer),
        ("/opt/llama", &server.display().to_string()),
        ("127.0.0.1:8443", &gate.to_string()),
    ] {
        ensure!(
            text.contains(from),
            "examples/chat/enclosure.yaml no longer names {from}"
        );
        text = text.replace(from, to);
    }
    Ok(text)
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The example's model, as callers name it.
pub const MODEL: &str = "smollm2-135m-instruct@1";
