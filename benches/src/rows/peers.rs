//! The peers that need a configuration of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casemate_testkit::{Tools, wait_for};
use serde_json::{Value, json};

/// What Envoy is told to enforce: the same as our gate.
pub(crate) struct EnvoyPolicy<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    /// Certificate chain and key files of the server, and the bundle that clients are checked with.
    pub(crate) chain: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) bundle: &'a Path,
    /// The tickets' issuer, audience and keys.
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) jwks: &'a str,
    /// The one client that may call.
    pub(crate) client: &'a str,
}

/// A running Envoy; stopped when dropped.
pub(crate) struct Envoy(Child);

impl Envoy {
    /// Starts one with a single worker.
    pub(crate) fn start(directory: &Path, policy: &EnvoyPolicy<'_>) -> anyhow::Result<Self> {
        let file = directory.join("envoy.json");
        fs::write(&file, configuration(policy).to_string())?;
        let log = fs::File::create(directory.join("envoy.log"))?;
        let child = Command::new(Tools::locate().envoy()?)
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ])
            .arg("--config-path")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut envoy = Self(child);
        wait_for("Envoy", Duration::from_secs(20), || {
            if let Some(status) = envoy.0.try_wait()? {
                let log = fs::read_to_string(directory.join("envoy.log")).unwrap_or_default();
                anyhow::bail!("Envoy ended with {status}: {log}");
            }
            Ok(std::net::TcpStream::connect(policy.listen).ok())
        })?;
        Ok(envoy)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn configuration(policy: &EnvoyPolicy<'_>) -> Value {
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "common_tls_context": {
            "alpn_protocols": ["http/1.1"],
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "tls_certificates": [{
                "certificate_chain": { "filename": policy.chain },
                "private_key": { "filename": policy.key },
            }],
            "validation_context": {
                "trusted_ca": { "filename": policy.bundle },
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": policy.client } }],
            },
        },
    });
    let tickets = json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": { "tickets": {
                "issuer": policy.issuer,
                "audiences": [policy.audience],
                "local_jwks": { "inline_string": policy.jwks },
                "jwt_cache_config": { "jwt_cache_size": 1000 },
            } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "tickets" } }],
        },
    });
    let roles = json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": { "action": "ALLOW", "policies": { "chat": {
                "permissions": [{ "and_rules": { "rules": [
                    { "url_path": { "path": { "exact": "/v1/chat/completions" } } },
                    { "header": { "name": ":method", "string_match": { "exact": "POST" } } },
                ] } }],
                "principals": [{ "authenticated": { "principal_name": { "exact": policy.client } } }],
            } } },
        },
    });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gate",
            "normalize_path": true,
            "route_config": { "virtual_hosts": [{
                "name": "stage", "domains": ["*"],
                "routes": [{ "match": { "path": "/v1/chat/completions" }, "route": { "cluster": "stage" } }],
            }] },
            "http_filters": [tickets, roles, router],
        },
    });
    json!({
        "static_resources": {
            "listeners": [{
                "name": "gate",
                "address": address(policy.listen),
                "filter_chains": [{
                    "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
                    "filters": [manager],
                }],
            }],
            "clusters": [{
                "name": "stage", "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": { "cluster_name": "stage", "endpoints": [{ "lb_endpoints": [
                    { "endpoint": { "address": address(policy.upstream) } },
                ] }] },
            }],
        },
    })
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}
