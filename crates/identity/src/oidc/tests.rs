use super::*;
use crate::testing::domain;

fn discovery(issuer: &str, document: &serde_json::Value) -> Result<Discovery, ReadDiscoveryError> {
    Discovery::read(
        &IssuerUrl::parse(issuer).unwrap(),
        document.to_string().as_bytes(),
    )
}

#[test]
fn an_issuer_uses_https_or_is_on_this_host() {
    for good in [
        "https://idp.example",
        "https://idp.example/realms/a",
        "https://idp.example:8443/",
        "http://127.0.0.1:9400",
        "http://[::1]:9400",
        "http://localhost:9400",
    ] {
        assert!(IssuerUrl::parse(good).is_ok(), "{good}");
    }
    for (bad, error) in [
        ("http://idp.example", IssuerUrlError::Scheme),
        ("http://127.0.0.1.example", IssuerUrlError::Scheme),
        ("http://10.0.0.1", IssuerUrlError::Scheme),
        ("http://0.0.0.0", IssuerUrlError::Scheme),
        ("http://[::ffff:10.0.0.1]", IssuerUrlError::Scheme),
        ("ftp://127.0.0.1", IssuerUrlError::Scheme),
        ("file:///etc/passwd", IssuerUrlError::Form),
        ("https://user@idp.example", IssuerUrlError::Parts),
        ("https://user:x@idp.example", IssuerUrlError::Parts),
        ("https://idp.example?x=1", IssuerUrlError::Parts),
        ("https://idp.example#x", IssuerUrlError::Parts),
        ("idp.example", IssuerUrlError::Form),
        ("", IssuerUrlError::Form),
    ] {
        assert_eq!(IssuerUrl::parse(bad).unwrap_err(), error, "{bad}");
    }
}

#[test]
fn the_discovery_document_must_be_of_the_issuer_byte_for_byte() {
    let keys = "https://idp.example/keys";
    let read = |issuer: &str| {
        discovery(
            "https://idp.example",
            &serde_json::json!({"issuer": issuer, "jwks_uri": keys}),
        )
    };
    assert_eq!(read("https://idp.example").unwrap().jwks_uri.as_str(), keys);
    for other in [
        "https://idp.example/",
        "https://IDP.example",
        "https://evil.example",
        "",
    ] {
        assert!(
            matches!(read(other), Err(ReadDiscoveryError::OtherIssuer)),
            "{other}"
        );
    }
}

#[test]
fn keys_are_not_fetched_from_where_a_provider_must_not_send_us() {
    let read = |issuer: &str, keys: &str| {
        discovery(
            issuer,
            &serde_json::json!({"issuer": issuer, "jwks_uri": keys}),
        )
    };
    let public = "https://idp.example";
    for bad in [
        "http://127.0.0.1:8500/v1/kv",
        "http://idp.example/keys",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/shadow",
        "https://user@idp.example/keys",
        "https://idp.example/keys#x",
        "gopher://idp.example",
        "/keys",
        "",
    ] {
        let refused = read(public, bad);
        assert!(
            matches!(refused, Err(ReadDiscoveryError::KeysPlace(_))),
            "{bad}"
        );
    }
    assert!(read(public, "https://keys.example/v3?version=1").is_ok());
    assert!(read("http://127.0.0.1:9400", "http://127.0.0.1:9400/jwks").is_ok());
    let elsewhere = read("http://127.0.0.1:9400", "http://169.254.169.254/keys");
    assert!(matches!(elsewhere, Err(ReadDiscoveryError::KeysPlace(_))));
}

#[test]
fn a_discovery_document_that_is_not_strict_is_refused() {
    let issuer = IssuerUrl::parse("https://a.example").unwrap();
    let read = |text: &str| Discovery::read(&issuer, text.as_bytes());
    for bad in [
        "",
        "[]",
        r#"{"issuer":"https://a.example"}"#,
        r#"{"issuer":"https://a.example","jwks_uri":1}"#,
        r#"{"issuer":"https://a.example","issuer":"https://a.example","jwks_uri":"https://a.example/"}"#,
        r#"{"issuer":"https://a.example","jwks_uri":"https://a.example/","id_token_signing_alg_values_supported":["HS256","none"]}"#,
        r#"{"issuer":"https://a.example","jwks_uri":"https://a.example/","id_token_signing_alg_values_supported":"RS256"}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let long = format!(
        r#"{{"issuer":"https://a.example","x":"{}"}}"#,
        "x".repeat(70_000)
    );
    assert!(matches!(read(&long), Err(ReadDiscoveryError::TooLong(_))));
}

#[test]
fn two_people_never_share_an_identity() {
    let one = IssuerUrl::parse("https://idp.example/a").unwrap();
    let two = IssuerUrl::parse("https://idp.example/b").unwrap();
    let subjects = [
        "alice",
        "Alice",
        "alice@example.com",
        "alice_example.com",
        ".",
        "..",
        "x-abc",
        "a/b",
        "a%2fb",
        "ä",
        "a b",
        &"l".repeat(64),
        &"l".repeat(65),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for issuer in [&one, &two] {
        for subject in subjects {
            let id = issuer.user(&domain(), subject).unwrap();
            assert_eq!(id.trust_domain(), &domain());
            assert!(seen.insert(id.clone()), "{subject}: {id}");
        }
    }
    let hashed = one
        .user(&domain(), "alice@example.com")
        .unwrap()
        .to_string();
    let literal = hashed.rsplit('/').next().unwrap();
    assert_ne!(one.user(&domain(), literal).unwrap().to_string(), hashed);
    let loopback = IssuerUrl::parse("http://[::1]:9400").unwrap();
    assert!(loopback.user(&domain(), "alice").is_ok());
}
