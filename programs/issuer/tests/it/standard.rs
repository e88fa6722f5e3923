//! The same things, read by software that is not ours.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use casemate_api::issuer::EnclosurePolicy;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;

use crate::harness::{Start, chat, stage, ticket_form};
use crate::provider::Provider;

const PYTHON: &str = "/opt/cmvenv/bin/python";
const MOCK: &str = "/opt/cmvenv/bin/oidc-provider-mock";

#[tokio::test]
async fn a_foreign_stack_verifies_our_tickets_and_certificates() {
    if !Path::new(PYTHON).exists() {
        println!("skipped: {PYTHON} with PyJWT and cryptography is not installed");
        return;
    }
    let provider = Provider::start().await;
    let issuer = Start::with(&provider.issuer).start();
    let token = provider.id_token("alice");
    let (login, svid) = issuer.login(&token).await;
    let chain = svid.chain_pem();
    let mut client = issuer.connect(Some(svid)).await;
    let audience = stage("redact").to_string();
    let (_, answer) = client.token(&ticket_form(&token, &audience)).await;
    let input = serde_json::json!({
        "ticket": answer["access_token"], "jwks": issuer.ready.jwks, "audience": audience,
        "chain": chain, "bundle": issuer.ready.bundle_pem, "id": login.spiffe_id,
    });
    let mut python = Command::new(PYTHON)
        .args(["-c", FOREIGN])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(input.to_string().as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "agreed");
}

/// PyJWT on the ticket; cryptography on the certificate and its binding.
const FOREIGN: &str = r#"
import base64, hashlib, json, sys, jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
data = json.load(sys.stdin)
key = jwt.PyJWKSet.from_dict(data["jwks"]).keys[0]
header = jwt.get_unverified_header(data["ticket"])
assert header == {"alg": "ES256", "kid": key.key_id, "typ": "at+jwt"}, header
claims = jwt.decode(data["ticket"], key.key, algorithms=["ES256"], audience=data["audience"],
    issuer="spiffe://example.internal/issuer", options={"require": ["exp", "iat", "sub", "jti"]})
leaf = x509.load_pem_x509_certificate(data["chain"].encode())
root = x509.load_pem_x509_certificate(data["bundle"].encode())
leaf.verify_directly_issued_by(root)
extension = lambda kind: leaf.extensions.get_extension_for_class(kind)
names = extension(x509.SubjectAlternativeName)
assert names.critical and [name.value for name in names.value] == [data["id"]]
assert extension(x509.BasicConstraints).value.ca is False
usage = extension(x509.KeyUsage)
assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
purposes = [purpose.dotted_string for purpose in extension(x509.ExtendedKeyUsage).value]
assert sorted(purposes) == ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]
thumb = hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest()
assert claims["cnf"]["x5t#S256"] == base64.urlsafe_b64encode(thumb).rstrip(b"=").decode()
assert claims["sub"] == data["id"] == claims["client_id"]
assert root.extensions.get_extension_for_class(x509.BasicConstraints).critical
print("agreed")
"#;

#[test]
fn openssl_verifies_a_chain_of_ours_for_both_roles() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let mut issuer = Start::with("https://idp.example").start();
    let svid = issuer.stage_svid(&stage("redact"));
    let directory = tempfile::tempdir().unwrap();
    let (leaf, root) = (
        directory.path().join("leaf.pem"),
        directory.path().join("root.pem"),
    );
    std::fs::write(&leaf, svid.chain_pem()).unwrap();
    std::fs::write(&root, &issuer.ready.bundle_pem).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .args([&root, &leaf])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[tokio::test]
async fn a_real_openid_provider_logs_a_user_in() {
    if !Path::new(MOCK).exists() {
        println!("skipped: {MOCK} is not installed");
        return;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut mock = Command::new(MOCK)
        .args(["--port", &port.to_string()])
        .args([
            "--user-claims",
            r#"{"sub":"alice","groups":["analysts"],"email":"a@example"}"#,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let outcome = tokio::spawn(log_in_with(port)).await;
    mock.kill().unwrap();
    mock.wait().unwrap();
    outcome.unwrap();
}

async fn log_in_with(port: u16) {
    let provider = format!("http://127.0.0.1:{port}");
    let query = "response_type=code&client_id=casemate&redirect_uri=http%3A%2F%2F127.0.0.1%2Fdone&scope=openid+email&state=s&nonce=n";
    let form = "application/x-www-form-urlencoded";
    let mut code = None;
    for _ in 0..200 {
        let target = format!("/oauth2/authorize?{query}");
        if let Some((_, headers, _)) = post(port, &target, form, "sub=alice").await {
            let location = headers["location"].to_str().unwrap().to_owned();
            let url = url::Url::parse(&location).unwrap();
            code = url
                .query_pairs()
                .find(|(name, _)| name == "code")
                .map(|(_, v)| v.into_owned());
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let code = code.expect("the provider must give a code");
    let body = format!(
        "grant_type=authorization_code&code={code}&client_id=casemate&client_secret=x&redirect_uri=http%3A%2F%2F127.0.0.1%2Fdone"
    );
    let (status, _, answer) = post(port, "/oauth2/token", form, &body).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let id_token = answer["id_token"].as_str().unwrap();

    let policy: EnclosurePolicy = chat(&provider);
    assert_eq!(policy.identity_providers[0].issuer, provider);
    let issuer = Start::with(&provider).start();
    let (login, svid) = issuer.login(id_token).await;
    assert!(
        login.spiffe_id.path().ends_with("/alice"),
        "{}",
        login.spiffe_id
    );
    assert_eq!(login.groups, ["analysts"]);
    let mut client = issuer.connect(Some(svid)).await;
    let audience = stage("redact").to_string();
    let (status, answer) = client.token(&ticket_form(id_token, &audience)).await;
    assert_eq!(status, 200, "{answer}");
}

async fn post(
    port: u16,
    path: &str,
    kind: &str,
    body: &str,
) -> Option<(u16, http::HeaderMap, Bytes)> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let request = hyper::Request::post(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    Some((
        head.status.as_u16(),
        head.headers,
        body.collect().await.ok()?.to_bytes(),
    ))
}
