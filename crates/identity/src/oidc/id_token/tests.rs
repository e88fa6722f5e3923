use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::encoding::to_base64url;
use crate::jwks::JwkSet;
use crate::jws::{SigningKey, sign_es256};
use crate::testing::NOW;

struct Bench {
    key: SigningKey,
    jwk: Jwk,
    issuer: IssuerUrl,
}

fn bench() -> Bench {
    let key = SigningKey::generate().unwrap();
    let jwk = JwkSet::of_points([key.public_point()])
        .find(key.id())
        .unwrap()
        .clone();
    Bench {
        key,
        jwk,
        issuer: IssuerUrl::parse("https://idp.example").unwrap(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "sub": "alice", "aud": "casemate",
        "iat": NOW.0 - 5, "exp": NOW.0 + 600, "groups": ["analysts"], "nonce": "n",
        "email": "alice@example",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

impl Bench {
    fn token(&self, claims: &Value) -> String {
        sign_es256(&self.key, "JWT", claims.to_string().as_bytes()).unwrap()
    }

    fn with_header(&self, header: &str) -> String {
        let claims = claims().to_string();
        let signed = format!(
            "{}.{}",
            to_base64url(header.as_bytes()),
            to_base64url(claims.as_bytes())
        );
        format!(
            "{signed}.{}",
            to_base64url(&self.key.sign(signed.as_bytes()).unwrap())
        )
    }

    fn verify(&self, token: &str) -> Result<VerifiedLogin, IdTokenError> {
        self.verify_at(token, None, NOW)
    }

    fn verify_at(
        &self,
        token: &str,
        nonce: Option<&str>,
        now: UnixTime,
    ) -> Result<VerifiedLogin, IdTokenError> {
        let expected = Expected {
            issuer: &self.issuer,
            audience: "casemate",
            groups_claim: "groups",
            nonce,
        };
        verify(token, &self.jwk, &expected, now)
    }

    fn refused(&self, claims: &Value) -> IdTokenError {
        self.verify(&self.token(claims)).unwrap_err()
    }
}

#[test]
fn a_login_is_proved_with_its_groups() {
    let bench = bench();
    let token = bench.token(&claims());
    let login = bench.verify(&token).unwrap();
    assert_eq!(
        (login.subject(), login.groups()),
        ("alice", &["analysts".to_owned()][..])
    );
    assert_eq!(login.expires(), UnixTime(NOW.0 + 600));
    let hint = hint(&token).unwrap();
    assert_eq!(hint.issuer, "https://idp.example");
    assert_eq!(hint.key_id.as_deref(), Some(bench.key.id()));
}

#[test]
fn the_issuer_is_compared_byte_for_byte() {
    let bench = bench();
    for other in [
        "https://idp.example/",
        "https://IDP.example",
        "http://idp.example",
        "",
    ] {
        assert_eq!(
            bench.refused(&with("iss", json!(other))),
            IdTokenError::Issuer,
            "{other}"
        );
    }
    assert_eq!(
        bench.refused(&with("iss", json!(["https://idp.example"]))),
        IdTokenError::Issuer
    );
    assert_eq!(bench.refused(&without("iss")), IdTokenError::Issuer);
}

#[test]
fn the_audience_must_name_us_and_an_authorized_party_must_be_us() {
    let bench = bench();
    for (aud, error) in [
        (json!("other"), IdTokenError::Audience),
        (json!("casemate "), IdTokenError::Audience),
        (json!([]), IdTokenError::Audience),
        (json!(["other"]), IdTokenError::Audience),
        (json!(["casemate", "other"]), IdTokenError::Audience),
        (json!(["casemate", 1]), IdTokenError::Claim("aud")),
        (json!({}), IdTokenError::Claim("aud")),
        (json!(null), IdTokenError::Claim("aud")),
    ] {
        assert_eq!(bench.refused(&with("aud", aud.clone())), error, "{aud}");
    }
    assert_eq!(bench.refused(&without("aud")), IdTokenError::Claim("aud"));
    assert_eq!(
        bench.refused(&with("azp", json!("other"))),
        IdTokenError::Audience
    );
    assert_eq!(
        bench.refused(&with("azp", json!(1))),
        IdTokenError::Claim("azp")
    );
    assert!(
        bench
            .verify(&bench.token(&with("aud", json!(["casemate"]))))
            .is_ok()
    );
    let mut both = with("aud", json!(["casemate", "other"]));
    both["azp"] = json!("casemate");
    assert!(bench.verify(&bench.token(&both)).is_ok());
}

#[test]
fn a_date_that_cannot_be_read_is_an_error_and_not_an_absent_claim() {
    let bench = bench();
    for name in ["exp", "iat", "nbf"] {
        for bad in [
            json!("1900000000"),
            json!(1_900_000_000.5),
            json!(1.9e9),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(null),
            json!([]),
            json!(true),
        ] {
            let error = bench.refused(&with(name, bad.clone()));
            assert_eq!(error, IdTokenError::Claim(name), "{name} {bad}");
        }
    }
    assert_eq!(bench.refused(&without("exp")), IdTokenError::Claim("exp"));
    assert_eq!(bench.refused(&without("iat")), IdTokenError::Claim("iat"));
}

#[test]
fn it_is_refused_from_the_second_it_expires() {
    let bench = bench();
    let token = bench.token(&claims());
    assert!(bench.verify_at(&token, None, UnixTime(NOW.0 + 599)).is_ok());
    let expired = bench.verify_at(&token, None, UnixTime(NOW.0 + 600));
    assert_eq!(expired, Err(IdTokenError::Expired));
}

#[test]
fn a_token_from_the_future_or_from_long_ago_is_refused() {
    let bench = bench();
    let long = with("exp", json!(NOW.0 + 1_000_000));
    let at = |issued: u64| {
        let mut claims = long.clone();
        claims["iat"] = json!(issued);
        bench.verify(&bench.token(&claims)).map(drop)
    };
    assert_eq!(at(NOW.0 + 60), Ok(()));
    assert_eq!(at(NOW.0 + 61), Err(IdTokenError::NotYetValid));
    assert_eq!(at(NOW.0 - 24 * 3600), Ok(()));
    assert_eq!(at(NOW.0 - 24 * 3600 - 1), Err(IdTokenError::TooOld));
    let later = with("nbf", json!(NOW.0 + 61));
    assert_eq!(bench.refused(&later), IdTokenError::NotYetValid);
}

#[test]
fn an_expected_nonce_must_be_there_and_equal() {
    let bench = bench();
    let token = bench.token(&claims());
    assert!(bench.verify_at(&token, Some("n"), NOW).is_ok());
    for wrong in ["m", "", "nn"] {
        assert_eq!(
            bench.verify_at(&token, Some(wrong), NOW),
            Err(IdTokenError::Nonce)
        );
    }
    let bare = bench.token(&without("nonce"));
    assert_eq!(
        bench.verify_at(&bare, Some("n"), NOW),
        Err(IdTokenError::Nonce)
    );
}

#[test]
fn a_ticket_or_another_token_is_never_an_id_token() {
    let bench = bench();
    for typ in [
        "at+jwt",
        "txntoken+jwt",
        "wit+jwt",
        "wpt+jwt",
        "dpop+jwt",
        "logout+jwt",
        "",
    ] {
        let token = sign_es256(&bench.key, typ, claims().to_string().as_bytes()).unwrap();
        assert_eq!(bench.verify(&token), Err(IdTokenError::Type), "{typ}");
    }
    let id = bench.key.id();
    let untyped = bench.with_header(&format!(r#"{{"alg":"ES256","kid":"{id}"}}"#));
    assert!(bench.verify(&untyped).is_ok());
}

#[test]
fn the_key_decides_the_algorithm() {
    let bench = bench();
    let id = bench.key.id();
    for alg in ["none", "HS256", "PS256", "ES384", "EdDSA", "rs256", "RS256"] {
        let token = bench.with_header(&format!(r#"{{"alg":"{alg}","kid":"{id}"}}"#));
        assert_eq!(bench.verify(&token), Err(IdTokenError::Algorithm), "{alg}");
    }
}

#[test]
fn headers_that_ask_for_processing_or_bring_keys_are_refused() {
    let bench = bench();
    let id = bench.key.id();
    for (name, value) in [
        ("crit", r#"["exp"]"#),
        ("jwk", "{}"),
        ("jku", r#""https://evil.example""#),
        ("x5u", r#""https://evil.example""#),
        ("x5c", "[]"),
        ("b64", "false"),
        ("zip", r#""DEF""#),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"{id}","{name}":{value}}}"#);
        let refused = bench.verify(&bench.with_header(&header));
        assert_eq!(refused, Err(IdTokenError::Header(name)));
    }
    for bad in ["1", "null", "\"\"", "[]"] {
        let header = format!(r#"{{"alg":"ES256","kid":{bad}}}"#);
        let refused = bench.verify(&bench.with_header(&header));
        assert_eq!(refused, Err(IdTokenError::Header("kid")), "{bad}");
    }
    let nameless = bench.with_header(r#"{"alg":"ES256"}"#);
    assert_eq!(hint(&nameless).unwrap().key_id, None);
    assert!(bench.verify(&nameless).is_ok());
    let thumbprint = format!(r#"{{"alg":"ES256","kid":"{id}","x5t":"abc"}}"#);
    assert!(bench.verify(&bench.with_header(&thumbprint)).is_ok());
}

#[test]
fn a_signature_by_another_key_of_the_same_name_is_refused() {
    let bench = bench();
    let other = SigningKey::generate().unwrap();
    let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, bench.key.id());
    let signed = format!(
        "{}.{}",
        to_base64url(header.as_bytes()),
        to_base64url(claims().to_string().as_bytes())
    );
    let token = format!(
        "{signed}.{}",
        to_base64url(&other.sign(signed.as_bytes()).unwrap())
    );
    assert_eq!(bench.verify(&token), Err(IdTokenError::Signature));
}

#[test]
fn groups_are_a_list_of_texts_or_absent() {
    let bench = bench();
    assert!(
        bench
            .verify(&bench.token(&without("groups")))
            .unwrap()
            .groups()
            .is_empty()
    );
    for bad in [
        json!("analysts"),
        json!({}),
        json!(null),
        json!([1]),
        json!([""]),
        json!(["a\nb"]),
        json!(vec!["g"; 257]),
        json!(["g".repeat(257)]),
    ] {
        let error = bench.refused(&with("groups", bad.clone()));
        assert_eq!(error, IdTokenError::Claim("groups"), "{bad}");
    }
}

#[test]
fn a_subject_is_needed() {
    let bench = bench();
    for bad in [
        json!(""),
        json!(1),
        json!(null),
        json!("a\u{0}b"),
        json!("x".repeat(256)),
    ] {
        let error = bench.refused(&with("sub", bad.clone()));
        assert_eq!(error, IdTokenError::Claim("sub"), "{bad}");
    }
    assert_eq!(bench.refused(&without("sub")), IdTokenError::Claim("sub"));
}

#[test]
fn overlong_and_malformed_tokens_are_refused_early() {
    let bench = bench();
    assert_eq!(
        bench.verify(&"a".repeat(20_000)),
        Err(IdTokenError::TooLong)
    );
    for bad in [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "e30.e30.",
        "e30.e30.AA",
        "é.é.é",
    ] {
        assert!(bench.verify(bad).is_err(), "{bad}");
        assert!(hint(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_changed_token_is_a_login(at in 0_usize..2000, to in any::<char>()) {
        thread_local!(static MADE: (Bench, String) = {
            let bench = bench();
            let token = bench.token(&claims());
            (bench, token)
        });
        MADE.with(|(bench, token)| {
            let mut changed: Vec<char> = token.chars().collect();
            let at = at % changed.len();
            prop_assume!(changed[at] != to);
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            prop_assert!(bench.verify(&changed).is_err());
            Ok(())
        })?;
    }
}

#[test]
fn every_spelling_of_one_token_has_one_digest_and_two_tokens_have_two() {
    let bench = bench();
    let token = bench.token(&claims());
    let twin = crate::testing::other_spelling(&token);
    assert_ne!(token, twin);
    let login = bench.verify(&token).unwrap();
    assert_eq!(login.digest(), bench.verify(&twin).unwrap().digest());
    // The same claims signed again are another token.
    let again = bench.verify(&bench.token(&claims())).unwrap();
    assert_ne!(login.digest(), again.digest());
    assert_eq!(login.issued(), UnixTime(NOW.0 - 5));
}

#[test]
fn a_token_without_an_end_ends_when_it_is_too_old() {
    let bench = bench();
    let token = bench.token(&with("exp", json!(LAST_DATE)));
    let login = bench.verify(&token).unwrap();
    assert_eq!(login.expires(), UnixTime(NOW.0 - 5 + MAX_AGE + 1));
    let before = UnixTime(login.expires().0 - 1);
    assert!(bench.verify_at(&token, None, before).is_ok());
    assert_eq!(
        bench.verify_at(&token, None, login.expires()),
        Err(IdTokenError::TooOld)
    );
}
