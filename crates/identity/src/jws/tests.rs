use proptest::prelude::*;

use super::*;

fn token(header: &str, claims: &str, key: &SigningKey) -> String {
    let signed = format!(
        "{}.{}",
        to_base64url(header.as_bytes()),
        to_base64url(claims.as_bytes())
    );
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", to_base64url(&signature))
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[test]
fn what_was_signed_verifies_as_the_same_type_and_with_the_same_key_only() {
    let (key, other) = (key(), key());
    let token = sign_es256(&key, "at+jwt", br#"{"a":1}"#).unwrap();
    let keys = key.verifying_keys();
    assert_eq!(verify_es256("at+jwt", &token, &keys).unwrap()["a"], 1);
    let unknown = verify_es256("at+jwt", &token, &other.verifying_keys());
    assert_eq!(unknown, Err(JwsError::UnknownKey));
    let none = verify_es256("at+jwt", &token, &VerifyingKeys::default());
    assert_eq!(none, Err(JwsError::UnknownKey));
}

#[test]
fn a_token_of_another_type_is_refused_even_in_another_spelling() {
    let key = key();
    let keys = key.verifying_keys();
    for typ in [
        "AT+JWT",
        "application/at+jwt",
        "JWT",
        "txntoken+jwt",
        "wit+jwt",
        "at+jwt ",
        "",
    ] {
        let token = sign_es256(&key, typ, b"{}").unwrap();
        assert_eq!(
            verify_es256("at+jwt", &token, &keys),
            Err(JwsError::Type),
            "{typ}"
        );
    }
}

#[test]
fn the_header_never_chooses_the_algorithm() {
    let key = key();
    for alg in [
        "none", "None", "HS256", "RS256", "ES384", "es256", "EdDSA", "",
    ] {
        let header = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"at+jwt"}}"#, key.id());
        let refused = verify_es256("at+jwt", &token(&header, "{}", &key), &key.verifying_keys());
        assert_eq!(refused, Err(JwsError::Algorithm), "{alg}");
    }
    // The classic: no algorithm and no signature.
    let header = format!(r#"{{"alg":"none","kid":"{}","typ":"at+jwt"}}"#, key.id());
    let bare = format!(
        "{}.{}.",
        to_base64url(header.as_bytes()),
        to_base64url(b"{}")
    );
    assert_eq!(
        verify_es256("at+jwt", &bare, &key.verifying_keys()),
        Err(JwsError::Form)
    );
}

#[test]
fn any_further_or_missing_header_member_is_refused() {
    let key = key();
    let id = key.id();
    for extra in [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""b64":false"#,
        r#""jwk":{"kty":"EC"}"#,
        r#""jku":"https://evil.example/keys""#,
        r#""x5u":"https://evil.example/chain""#,
        r#""x5c":[]"#,
        r#""x":1"#,
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"{id}","typ":"at+jwt",{extra}}}"#);
        let refused = verify_es256("at+jwt", &token(&header, "{}", &key), &key.verifying_keys());
        assert_eq!(refused, Err(JwsError::Header), "{extra}");
    }
    for header in [
        r#"{"alg":"ES256","typ":"at+jwt"}"#.to_owned(),
        format!(r#"{{"alg":"ES256","kid":"{id}"}}"#),
        format!(r#"{{"kid":"{id}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":["ES256"],"kid":"{id}","typ":"at+jwt"}}"#),
        r#"{"alg":"ES256","kid":1,"typ":"at+jwt"}"#.to_owned(),
    ] {
        let refused = verify_es256("at+jwt", &token(&header, "{}", &key), &key.verifying_keys());
        assert_eq!(refused, Err(JwsError::Header), "{header}");
    }
}

#[test]
fn a_member_named_twice_in_header_or_claims_is_refused() {
    let key = key();
    let id = key.id();
    let header = format!(r#"{{"alg":"none","alg":"ES256","kid":"{id}","typ":"at+jwt"}}"#);
    let refused = verify_es256("at+jwt", &token(&header, "{}", &key), &key.verifying_keys());
    assert_eq!(refused, Err(JwsError::Json));
    let header = format!(r#"{{"alg":"ES256","kid":"{id}","typ":"at+jwt"}}"#);
    for claims in [r#"{"exp":1,"exp":2}"#, "[]", "1", "", "{} ", "{}{}"] {
        let refused = verify_es256(
            "at+jwt",
            &token(&header, claims, &key),
            &key.verifying_keys(),
        );
        assert_eq!(refused.is_err(), claims != "{} ", "{claims}");
    }
}

#[test]
fn a_token_has_one_spelling() {
    let key = key();
    let keys = key.verifying_keys();
    let good = sign_es256(&key, "at+jwt", br#"{"a":1}"#).unwrap();
    assert!(verify_es256("at+jwt", &good, &keys).is_ok());
    let last = good.chars().last().unwrap();
    let twin = char::from(u8::try_from(last).unwrap() + 1);
    let mut others = vec![
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        good.replacen('.', "..", 1),
        good.replace('.', "=."),
        String::new(),
        "..".to_owned(),
    ];
    // The last of 86 characters carries four bits that must be zero.
    others.push(format!("{}{twin}", good.strip_suffix(last).unwrap()));
    for other in others {
        assert!(verify_es256("at+jwt", &other, &keys).is_err(), "{other}");
    }
    let long = sign_es256(
        &key,
        "at+jwt",
        format!(r#"{{"a":"{}"}}"#, "x".repeat(9000)).as_bytes(),
    );
    assert_eq!(
        verify_es256("at+jwt", &long.unwrap(), &keys),
        Err(JwsError::TooLong)
    );
}

#[test]
fn a_signature_in_der_or_with_zero_is_refused() {
    let pair = KeyPair::generate().unwrap();
    let key = SigningKey::new(pair.duplicate().unwrap());
    let good = sign_es256(&key, "at+jwt", b"{}").unwrap();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let der = pair.sign_der(signed.as_bytes()).unwrap();
    for signature in [der, vec![0; 64], vec![0xff; 64], Vec::new(), vec![1; 63]] {
        let forged = format!("{signed}.{}", to_base64url(&signature));
        assert!(verify_es256("at+jwt", &forged, &key.verifying_keys()).is_err());
    }
}

#[test]
fn a_detached_signature_verifies_with_the_public_pem() {
    let pair = KeyPair::generate().unwrap();
    let pem = pair.public_pem();
    let signature = pair.sign_fixed(b"receipt").unwrap();
    assert!(verify_detached(&pem, b"receipt", &signature));
    assert!(!verify_detached(&pem, b"receipts", &signature));
    assert!(!verify_detached("", b"receipt", &signature));
}

#[test]
fn nothing_secret_is_printed() {
    let pair = KeyPair::generate().unwrap();
    let text = format!("{pair:?} {:?}", SigningKey::new(pair.duplicate().unwrap()));
    assert!(!text.contains(&to_base64url(pair.pkcs8().expose())) && text.contains("redacted"));
}

proptest! {
    #[test]
    fn no_changed_token_verifies(at in 0_usize..1000, to in any::<char>()) {
        thread_local! {
            static MADE: (VerifyingKeys, String) = {
                let key = SigningKey::generate().unwrap();
                (key.verifying_keys(), sign_es256(&key, "at+jwt", br#"{"a":1,"b":"c"}"#).unwrap())
            };
        }
        MADE.with(|(keys, token)| {
            let mut changed: Vec<char> = token.chars().collect();
            let at = at % changed.len();
            prop_assume!(changed[at] != to);
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            prop_assert!(verify_es256("at+jwt", &changed, keys).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
        prop_assert!(verify_es256("at+jwt", &text, &VerifyingKeys::default()).is_err());
    }
}
