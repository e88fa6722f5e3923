use casemate_core::secret::SecretKey;

use super::*;
use crate::testing::{HOUR, NOW, authority, domain, id, request, svid};

#[test]
fn an_authority_survives_its_pem_and_goes_on_issuing() {
    let first = authority();
    let key = first.private_key_pem();
    let again = Authority::from_pem(
        &first.certificate_pem(),
        std::str::from_utf8(key.expose()).unwrap(),
    )
    .unwrap();
    assert_eq!(again.trust_domain(), first.trust_domain());
    let issued = svid(&again, "/workload");
    let peer = crate::svid::verify_leaf(issued.chain(), &first.bundle().unwrap(), NOW).unwrap();
    assert_eq!(peer.id, id("/workload"));
}

#[test]
fn a_certificate_and_the_key_of_another_make_no_authority() {
    let key = authority().private_key_pem();
    let error = Authority::from_pem(
        &authority().certificate_pem(),
        std::str::from_utf8(key.expose()).unwrap(),
    );
    assert!(matches!(error, Err(AuthorityError::OtherKey)));
}

#[test]
fn a_leaf_makes_no_authority_and_no_bundle() {
    let leaf = svid(&authority(), "/workload");
    let key = leaf.key().to_pem();
    let error = Authority::from_pem(
        &leaf.chain_pem(),
        std::str::from_utf8(key.expose()).unwrap(),
    );
    assert!(matches!(error, Err(AuthorityError::Profile(_))));
    assert!(TrustBundle::from_pem(domain(), &leaf.chain_pem()).is_err());
    assert!(TrustBundle::from_pem(domain(), "").is_err());
    assert!(
        TrustBundle::from_pem(
            "other.internal".parse().unwrap(),
            &authority().certificate_pem()
        )
        .is_err()
    );
}

#[test]
fn it_does_not_issue_for_others_or_for_the_trust_domain_itself() {
    let authority = authority();
    let request = request(&KeyPair::generate().unwrap());
    for other in ["spiffe://other.internal/x", "spiffe://example.internal"] {
        let error = authority
            .issue(&request, &other.parse().unwrap(), HOUR, NOW)
            .unwrap_err();
        assert!(matches!(error, IssueError::NotOurs(_)));
    }
}

#[test]
fn it_never_issues_beyond_its_own_end_and_not_after_it() {
    let authority = Authority::new(domain(), HOUR, NOW).unwrap();
    let request = request(&KeyPair::generate().unwrap());
    let issued = authority
        .issue(&request, &id("/x"), HOUR * 48, NOW)
        .unwrap();
    assert_eq!(issued.not_after, authority.not_after());
    let expired = authority.issue(&request, &id("/x"), HOUR, NOW.plus(HOUR));
    assert!(matches!(expired, Err(IssueError::AuthorityExpired(_))));
    let early = authority.issue(&request, &id("/x"), HOUR, NOW.minus(HOUR));
    assert!(matches!(early, Err(IssueError::AuthorityExpired(_))));
    let nothing = authority.issue(&request, &id("/x"), Duration::from_millis(999), NOW);
    assert!(matches!(nothing, Err(IssueError::Lifetime(_))));
}

#[test]
fn two_certificates_for_one_key_differ_in_serial_number() {
    let authority = authority();
    let request = request(&KeyPair::generate().unwrap());
    let issue = || {
        authority
            .issue(&request, &id("/x"), HOUR, NOW)
            .unwrap()
            .thumbprint
    };
    assert_ne!(issue(), issue());
}

#[test]
fn a_sealed_key_opens_with_its_node_key_and_purpose_only() {
    let node = SecretKey::new([7; 32]);
    let sealed = seal_key(&node, "authority/example.internal", b"secret").unwrap();
    let open = |key: &SecretKey, purpose: &str, sealed: &[u8]| {
        unseal_key(key, purpose, sealed).map(|secret| secret.expose().to_vec())
    };
    assert_eq!(
        open(&node, "authority/example.internal", &sealed).unwrap(),
        b"secret"
    );
    assert_eq!(open(&node, "receipts", &sealed), Err(SealKeyError::Open));
    let other = SecretKey::new([8; 32]);
    assert_eq!(
        open(&other, "authority/example.internal", &sealed),
        Err(SealKeyError::Open)
    );
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(
            open(&node, "authority/example.internal", &changed).is_err(),
            "byte {at}"
        );
        assert!(
            open(&node, "authority/example.internal", &sealed[..at]).is_err(),
            "cut {at}"
        );
    }
    assert_ne!(
        sealed,
        seal_key(&node, "authority/example.internal", b"secret").unwrap()
    );
}
