//! A person with a login, as far as the command line shows it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{Client, Credentials};
use crate::programs::output;
use crate::{IdentityProvider, Node};

/// Somebody whose files are in a directory of the node.
#[derive(Clone, Debug)]
pub struct Person {
    home: PathBuf,
    name: String,
}

impl Person {
    /// Adds a person to the provider, logs them in there and then at the node's issuer.
    ///
    /// # Errors
    /// When a login is refused.
    pub fn log_in(
        node: &Node,
        provider: &IdentityProvider,
        name: &str,
        groups: &[&str],
    ) -> anyhow::Result<Self> {
        provider.add_user(name, groups)?;
        let home = node.path(&format!("home-{name}"));
        fs::create_dir_all(&home)?;
        let token = home.join("id-token");
        fs::write(&token, provider.id_token(name, "casemate")?)?;
        let person = Self {
            home,
            name: name.to_owned(),
        };
        let issuer = format!("https://{}", node.issuer());
        let mut login = person.casemate(node);
        login
            .arg("login")
            .arg("--token-file")
            .arg(&token)
            .args(["--issuer", &issuer]);
        output(
            login
                .arg("--bundle")
                .arg(node.run().join("trust-bundle.pem")),
        )?;
        fs::remove_file(token)?;
        Ok(person)
    }

    /// The name they log in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of their files.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The `casemate` command, as this person.
    #[must_use]
    pub fn casemate(&self, node: &Node) -> Command {
        node.casemate(&self.home)
    }

    /// Exchanges the login for a ticket to a stage; `more` are further arguments.
    ///
    /// # Errors
    /// When the issuer refuses.
    pub fn ticket(&self, node: &Node, stage: &str, more: &[&str]) -> anyhow::Result<String> {
        let mut exchange = self.casemate(node);
        exchange
            .args(["ticket", "exchange", "--stage", stage, "--print"])
            .args(more);
        Ok(output(&mut exchange)?.trim().to_owned())
    }

    /// The certificate and key that the login gave.
    ///
    /// # Errors
    /// When there was no login.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        let text = fs::read_to_string(self.home.join("login.json")).context("login.json")?;
        let login: Value = serde_json::from_str(&text)?;
        let member = |name: &str| -> anyhow::Result<String> {
            let value = login.get(name).and_then(Value::as_str);
            Ok(value
                .with_context(|| format!("login.json has no {name}"))?
                .to_owned())
        };
        Ok(Credentials {
            chain_pem: member("chain-pem")?,
            key_pem: member("key-pem")?,
        })
    }

    /// A client at a stage's gate, with this person's certificate.
    ///
    /// # Errors
    /// When there was no login.
    pub fn client(&self, node: &Node, gate: SocketAddr, stage: &str) -> anyhow::Result<Client> {
        Client::new(gate, &node.bundle()?, stage, Some(&self.credentials()?))
    }
}

/// The SPIFFE ID of a stage of the example.
#[must_use]
pub fn stage_id(stage: &str) -> String {
    format!("spiffe://example.internal/enclosure/chat/stage/{stage}")
}
