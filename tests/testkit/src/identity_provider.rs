//! A real OpenID provider on loopback, and people who log in at it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::http::{Answer, Request, encode, send_plain};
use crate::{Tools, wait_for};

/// A running provider; stopped when dropped.
#[derive(Debug)]
pub struct IdentityProvider {
    address: SocketAddr,
    child: Child,
}

impl IdentityProvider {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start(tools: &Tools) -> anyhow::Result<Self> {
        Self::start_at(tools, free_address()?)
    }

    /// Starts one at an address of loopback, so that its name is the same the next time.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_at(tools: &Tools, address: SocketAddr) -> anyhow::Result<Self> {
        let child = Command::new(tools.python_program("oidc-provider-mock")?)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for us: it is stopped when dropped.
            .process_group(0)
            .spawn()
            .context("cannot start oidc-provider-mock")?;
        let provider = Self { address, child };
        wait_for("the OpenID provider", Duration::from_secs(30), || {
            let ask = Request::get("/.well-known/openid-configuration");
            Ok(send_plain(address, &ask)
                .ok()
                .filter(|answer| answer.head.status == 200))
        })?;
        Ok(provider)
    }

    /// The issuer's name, as in its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a person, or changes the groups of one.
    ///
    /// # Errors
    /// When the provider refuses.
    pub fn add_user(&self, subject: &str, groups: &[&str]) -> anyhow::Result<()> {
        let claims = json!({ "email": format!("{subject}@example.internal"), "groups": groups });
        let mut request = Request::post_json(&format!("/users/{subject}"), &claims);
        request.method = "PUT".to_owned();
        expect(send_plain(self.address, &request)?, 204).map(drop)
    }

    /// Logs a person in with the authorization-code flow and returns the ID token.
    ///
    /// # Errors
    /// When any step is refused.
    pub fn id_token(&self, subject: &str, audience: &str) -> anyhow::Result<String> {
        let authorize = format!(
            "/oauth2/authorize?response_type=code&scope=openid&client_id={}&redirect_uri={}",
            encode(audience),
            encode(REDIRECT)
        );
        let consent = Request::post_form(&authorize, &[("sub", subject)]);
        let answer = expect(send_plain(self.address, &consent)?, 302)?;
        let location = answer.head.header("location").context("no redirect")?;
        let code = location
            .split(['?', '&'])
            .find_map(|pair| pair.strip_prefix("code="))
            .context("the redirect has no code")?;
        let exchange = Request::post_form(
            "/oauth2/token",
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", REDIRECT),
                ("client_id", audience),
                ("client_secret", "any"),
            ],
        );
        let tokens: Value = expect(send_plain(self.address, &exchange)?, 200)?.json()?;
        let token = tokens
            .get("id_token")
            .and_then(Value::as_str)
            .context("no id_token")?;
        Ok(token.to_owned())
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A loopback address that was free a moment ago.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn expect(answer: Answer, status: u16) -> anyhow::Result<Answer> {
    anyhow::ensure!(
        answer.head.status == status,
        "the OpenID provider answered {}: {}",
        answer.head.status,
        answer.text()
    );
    Ok(answer)
}

const REDIRECT: &str = "http://127.0.0.1/callback";

#[cfg(test)]
mod tests {
    use super::IdentityProvider;
    use crate::Tools;

    #[test]
    fn a_person_gets_a_signed_id_token() {
        let tools = Tools::locate();
        if let Err(lacking) = tools.python_program("oidc-provider-mock") {
            crate::skip!("{lacking}");
        }
        let provider = IdentityProvider::start(&tools).unwrap();
        provider.add_user("alice", &["analysts"]).unwrap();
        let token = provider.id_token("alice", "casemate").unwrap();
        assert_eq!(token.split('.').count(), 3);
    }
}
