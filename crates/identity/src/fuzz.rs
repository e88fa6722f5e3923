//! Bodies of the fuzz targets of this crate's parsers. Each says what must hold whatever comes in;
//! the same bodies run over mutated seeds as ordinary tests.

use casemate_core::spiffe::TrustDomain;
use casemate_core::ticket::{MAX_TOKEN_BYTES, TICKET_TYPE, TRANSACTION_TYPE};
use rustls_pki_types::CertificateDer;

use crate::bundle::TrustBundle;
use crate::encoding::{from_base64url, to_base64url};
use crate::jwks::JwkSet;
use crate::jws::{VerifyingKeys, verify_es256};
use crate::oidc::{Discovery, IssuerUrl, id_token};
use crate::strict_json;
use crate::svid::{CertificateRequest, Leaf};

/// A token that no key of ours signed never verifies, and base64url has one spelling.
pub fn fuzz_jws(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let none = VerifyingKeys::default();
    assert!(verify_es256(TICKET_TYPE, text, &none).is_err());
    assert!(verify_es256(TRANSACTION_TYPE, text, &none).is_err());
    if let Some(bytes) = from_base64url(text) {
        assert_eq!(to_base64url(&bytes), text);
    }
}

/// A key set that is read is bounded, has unique ids, and survives being written.
pub fn fuzz_jwk(data: &[u8]) {
    let Ok(set) = JwkSet::parse(data) else { return };
    assert!(set.len() <= crate::jwks::MAX_KEYS);
    let again = JwkSet::parse(set.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&set));
}

/// Reading what a token says about itself never panics, and never believes a long one.
pub fn fuzz_claims(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(hint) = id_token::hint(text) {
        assert!(text.len() <= 2 * MAX_TOKEN_BYTES);
        assert!(hint.key_id.is_none_or(|id| !id.is_empty()));
    }
    if let Ok(value) = strict_json::parse(data) {
        // Strict JSON is JSON, and means the same to everybody.
        let lax: Result<serde_json::Value, _> = serde_json::from_slice(data);
        assert_eq!(lax.ok(), Some(value));
    }
}

/// A discovery document that is read sends us to https, or from loopback to loopback.
pub fn fuzz_discovery(data: &[u8]) {
    for (issuer, plain) in [("https://a.example", false), ("http://127.0.0.1:1", true)] {
        let Ok(issuer) = IssuerUrl::parse(issuer) else {
            return;
        };
        let Ok(discovery) = Discovery::read(&issuer, data) else {
            continue;
        };
        let scheme = discovery.jwks_uri.scheme();
        assert!(scheme == "https" || plain && scheme == "http");
        assert!(discovery.jwks_uri.username().is_empty());
    }
}

/// A leaf that is read has a path; nothing that is read is a bundle as well as a leaf.
pub fn fuzz_x509(data: &[u8]) {
    if let Ok(leaf) = Leaf::from_der(data) {
        assert!(!leaf.id.path().is_empty());
        assert_eq!(leaf.thumbprint().len(), 43);
        let domain: TrustDomain = leaf.id.trust_domain().clone();
        let certificate = CertificateDer::from(data.to_vec());
        assert!(TrustBundle::new(domain, vec![certificate]).is_err());
    }
    if let Ok(request) = CertificateRequest::from_der(data) {
        assert_eq!(rcgen::PublicKeyData::der_bytes(&request).len(), 65);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::{SigningKey, sign_es256};
    use crate::svid::{KeyPair, make_csr};
    use crate::testing::{Dice, authority, svid};

    /// Runs `body` over the seeds and over mutations of them, the same ones every time.
    fn replay(seeds: &[Vec<u8>], body: fn(&[u8])) {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for seed in seeds {
            body(seed);
            for _ in 0..3000 {
                body(&dice.mutate(seed));
            }
        }
        for length in 0..64 {
            let noise: Vec<u8> = (0..length)
                .map(|_| u8::try_from(dice.roll(256)).unwrap())
                .collect();
            body(&noise);
        }
    }

    #[test]
    fn mutated_tokens_hold_what_the_fuzz_targets_assert() {
        let key = SigningKey::generate().unwrap();
        let claims = br#"{"iss":"https://a.example","exp":1,"aud":["x"],"groups":[]}"#;
        let token = sign_es256(&key, "JWT", claims).unwrap().into_bytes();
        let ticket = sign_es256(&key, TICKET_TYPE, claims).unwrap().into_bytes();
        replay(&[token, ticket, claims.to_vec()], |data| {
            fuzz_jws(data);
            fuzz_claims(data);
        });
    }

    #[test]
    fn mutated_key_sets_and_discovery_documents_hold_what_the_fuzz_targets_assert() {
        let key = SigningKey::generate().unwrap();
        let set = JwkSet::of_points([key.public_point()])
            .to_json()
            .into_bytes();
        let rsa = br#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"}]}"#.to_vec();
        let https = br#"{"issuer":"https://a.example","jwks_uri":"https://a.example/k"}"#.to_vec();
        let http = br#"{"issuer":"http://127.0.0.1:1","jwks_uri":"http://127.0.0.1:1/k"}"#.to_vec();
        replay(&[set, rsa, https, http], |data| {
            fuzz_jwk(data);
            fuzz_discovery(data);
        });
    }

    #[test]
    fn mutated_certificates_and_requests_hold_what_the_fuzz_targets_assert() {
        let authority = authority();
        let leaf = svid(&authority, "/workload").chain()[0].to_vec();
        let signer = pem::parse(authority.certificate_pem())
            .unwrap()
            .into_contents();
        let csr = make_csr(&KeyPair::generate().unwrap()).unwrap();
        replay(
            &[leaf, signer, pem::parse(csr).unwrap().into_contents()],
            fuzz_x509,
        );
    }
}
