//! An enclosure of one stage whose server behaves as a test wants, with a small sealed model.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::identity_provider::free_address;
use crate::{IdentityProvider, Node, Programs, oci};

/// The prepared enclosure `stand-in` with its one stage `server`.
#[derive(Clone, Debug)]
pub struct StandIn {
    directory: PathBuf,
    gate: SocketAddr,
}

impl StandIn {
    /// Makes keys, a small sealed model, the image and the file. `behaviour` is the program's.
    ///
    /// # Errors
    /// When a step fails.
    pub fn prepare(
        node: &Node,
        provider: &IdentityProvider,
        behaviour: &str,
    ) -> anyhow::Result<Self> {
        let scenario = Self {
            directory: node.path("stand-in"),
            gate: free_address()?,
        };
        let path = |name: &str| scenario.directory.join(name);
        let text = |name: &str| path(name).display().to_string();
        fs::create_dir_all(path("plain"))?;
        fs::set_permissions(&scenario.directory, fs::Permissions::from_mode(0o711))?;
        fs::write(
            path("plain/model.gguf"),
            [b"GGUF".as_slice(), &vec![7; 48 << 20]].concat(),
        )?;
        node.run_casemate(&["model", "keygen", "--out", &text("")])?;
        node.run_casemate(&[
            "model",
            "seal",
            &text("plain"),
            &text("model.sealed"),
            "--name",
            "small",
            "--model-version",
            "1",
            "--recipient",
            &text("recipient.txt"),
            "--signer",
            &text("signing.key"),
        ])?;
        oci::pack_program(
            &Programs::locate()?.path("stand-in"),
            "stand-in",
            &path("server.oci"),
        )?;
        let file = FILE
            .replace("ISSUER", &provider.issuer())
            .replace("GATE", &scenario.gate.to_string())
            .replace("BEHAVIOUR", behaviour);
        fs::write(scenario.file(), file)?;
        Ok(scenario)
    }

    /// The enclosure file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.join("enclosure.yaml")
    }

    /// Where the gate listens on the host.
    #[must_use]
    pub const fn gate(&self) -> SocketAddr {
        self.gate
    }

    /// The stage's SPIFFE ID.
    #[must_use]
    pub const fn stage_id() -> &'static str {
        "spiffe://example.internal/enclosure/stand-in/stage/server"
    }

    /// A request body that the gate admits.
    #[must_use]
    pub fn question(stream: bool) -> serde_json::Value {
        serde_json::json!({
            "model": "small@1", "stream": stream, "max_tokens": 16,
            "messages": [{ "role": "user", "content": "hello" }],
        })
    }
}

const FILE: &str = r#"apiVersion: casemate.dev/v1alpha1
kind: Enclosure
metadata: { name: stand-in }
spec:
  trustDomain: example.internal
  identityProviders:
    - { issuer: "ISSUER", audience: casemate }
  models:
    - name: small
      version: "1"
      sealed: ./model.sealed
      signers: [./signing.pub]
      key: file:./identity.age
  stages:
    - name: server
      profile: http
      run: { image: ./server.oci, command: [/stand-in, "8000", BEHAVIOUR] }
      models: [small@1]
      serves: 8000
      resources: { memory: 128MiB, cpus: 2, pids: 64 }
  flows:
    - { from: { group: analysts }, to: server, routes: [chat], models: [small@1], limits: { max-tokens: 256 } }
  exposes:
    - { stage: server, listen: "GATE" }
"#;
