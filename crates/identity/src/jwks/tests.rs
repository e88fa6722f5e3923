use super::*;
use crate::jws::SigningKey;

/// The RSA key of RFC 7515 appendix A.2.
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn set(keys: &str) -> Result<JwkSet, JwksError> {
    JwkSet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes())
}

fn ec() -> Map<String, Value> {
    let key = SigningKey::generate().unwrap();
    let json = JwkSet::of_points([key.public_point()]).to_json();
    let value: Value = serde_json::from_str(&json).unwrap();
    value["keys"][0].as_object().unwrap().clone()
}

fn changed(name: &str, value: Value) -> Result<JwkSet, JwksError> {
    let mut key = ec();
    key.insert(name.to_owned(), value);
    set(&Value::Object(key).to_string())
}

fn rsa(n: &str, e: &str) -> Result<JwkSet, JwksError> {
    set(&json!({ "kty": "RSA", "kid": "r", "n": n, "e": e }).to_string())
}

#[test]
fn what_we_write_we_read() {
    let key = SigningKey::generate().unwrap();
    let written = JwkSet::of_points([key.public_point()]);
    let read = JwkSet::parse(written.to_json().as_bytes()).unwrap();
    assert_eq!(read, written);
    assert_eq!(read.find(key.id()).unwrap().algorithm(), Algorithm::Es256);
    let signature = key.sign(b"x").unwrap();
    assert!(read.find(key.id()).unwrap().verifies(b"x", &signature));
    assert!(!read.find(key.id()).unwrap().verifies(b"y", &signature));
}

#[test]
fn the_thumbprint_of_the_standard_is_ours() {
    // RFC 7638 has an RSA example only; this one was computed with another implementation.
    let x = from_base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").unwrap();
    let y = from_base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").unwrap();
    let point = [vec![4], x, y].concat();
    assert_eq!(
        thumbprint_of_point(&point),
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
    );
}

#[test]
fn the_signature_of_rfc_7515_verifies_and_a_changed_one_does_not() {
    let set = rsa(RSA_N, "AQAB").unwrap();
    let key = set.find("r").unwrap();
    let signed = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = from_base64url("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw").unwrap();
    assert!(key.verifies(signed.as_bytes(), &signature));
    assert!(!key.verifies(&signed.as_bytes()[1..], &signature));
}

#[test]
fn weak_and_malformed_rsa_keys_are_refused() {
    let bytes = from_base64url(RSA_N).unwrap();
    let padded = to_base64url(&[vec![0], bytes.clone()].concat());
    let mut even = bytes.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert_eq!(rsa(&padded, "AQAB"), Err(JwksError::Rsa));
    assert_eq!(rsa(&to_base64url(&even), "AQAB"), Err(JwksError::Rsa));
    assert_eq!(
        rsa(&to_base64url(&bytes[..128]), "AQAB"),
        Err(JwksError::Rsa)
    );
    assert_eq!(rsa(&to_base64url(&bytes[1..]), "AQAB"), Err(JwksError::Rsa));
    for e in ["AQ", "Ag", "AAEAAQ", "", "AQAAAAE", "AQAB="] {
        assert_eq!(rsa(RSA_N, e), Err(JwksError::Rsa), "{e}");
    }
}

#[test]
fn malformed_ec_keys_are_refused() {
    let short = to_base64url(&[1; 31]);
    let long = to_base64url(&[1; 33]);
    let off_curve = to_base64url(&[1; 32]);
    for bad in [short.as_str(), &long, &off_curve, "", "AA==", "not base64!"] {
        assert_eq!(changed("x", json!(bad)), Err(JwksError::Ec), "{bad}");
    }
    assert_eq!(changed("x", json!(1)), Err(JwksError::Form));
}

#[test]
fn a_set_that_publishes_a_private_key_is_refused() {
    for name in ["d", "p", "k"] {
        assert_eq!(
            changed(name, json!("AQ")),
            Err(JwksError::Private),
            "{name}"
        );
    }
}

#[test]
fn two_keys_with_one_id_and_a_member_named_twice_are_refused() {
    let (mut one, mut two) = (ec(), ec());
    one.insert("kid".to_owned(), json!("same"));
    two.insert("kid".to_owned(), json!("same"));
    let both = format!("{},{}", Value::Object(one), Value::Object(two));
    assert_eq!(set(&both), Err(JwksError::DuplicateId));
    assert_eq!(set(r#"{"kty":"EC","kty":"RSA"}"#), Err(JwksError::Form));
    assert_eq!(
        JwkSet::parse(br#"{"keys":[],"keys":[]}"#),
        Err(JwksError::Form)
    );
}

#[test]
fn entries_that_are_not_for_us_are_left_out() {
    for (name, value) in [
        ("use", json!("enc")),
        ("kty", json!("OKP")),
        ("kty", json!("new")),
        ("crv", json!("P-384")),
        ("alg", json!("ES384")),
        ("key_ops", json!(["encrypt"])),
    ] {
        assert_eq!(
            changed(name, value.clone()).unwrap().len(),
            0,
            "{name} {value}"
        );
    }
    let mut nameless = ec();
    nameless.remove("kid");
    assert!(
        set(&Value::Object(nameless).to_string())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_is_no_key_set_is_refused() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[null]}"#,
    ] {
        assert_eq!(JwkSet::parse(bad.as_bytes()), Err(JwksError::Form), "{bad}");
    }
    let many = vec![r#"{"kty":"x"}"#; MAX_KEYS + 1].join(",");
    assert_eq!(set(&many), Err(JwksError::TooMany(MAX_KEYS + 1)));
    assert!(matches!(
        JwkSet::parse(&vec![b' '; MAX_SET_BYTES + 1]),
        Err(JwksError::TooLong(_))
    ));
    assert_eq!(changed("kid", json!("")), Err(JwksError::Id));
    assert_eq!(changed("kid", json!("x".repeat(257))), Err(JwksError::Id));
}
