use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType,
};

use super::*;
use crate::authority::Authority;
use crate::testing::{HOUR, NOW, authority, domain, encode, forged, id, names, request, svid, uri};

fn broken(change: impl FnOnce(&mut rcgen::CertificateParams)) -> ProfileError {
    Leaf::from_der(&forged(&authority(), change)).unwrap_err()
}

#[test]
fn an_issued_svid_satisfies_the_profile_and_its_chain_verifies() {
    let authority = authority();
    let svid = svid(&authority, "/enclosure/chat/stage/infer");
    let bundle = authority.bundle().unwrap();
    let peer = verify_leaf(svid.chain(), &bundle, NOW).unwrap();
    assert_eq!(peer.id, *svid.id());
    assert_eq!(peer.thumbprint, svid.thumbprint());
    assert_eq!(peer.not_before, UnixTime(NOW.0 - 10));
    assert_eq!(peer.not_after, NOW.plus(HOUR));
}

#[test]
fn a_leaf_has_exactly_one_uri_name() {
    let none = broken(|p| p.subject_alt_names = vec![SanType::DnsName("a.b".try_into().unwrap())]);
    assert_eq!(none, ProfileError::UriNames(0));
    for second in [
        "spiffe://example.internal/other",
        "https://example.internal/",
        "urn:x",
    ] {
        let two = broken(|p| p.subject_alt_names.push(uri(second)));
        assert_eq!(two, ProfileError::UriNames(2), "{second}");
    }
}

#[test]
fn a_second_uri_name_that_is_not_utf8_is_counted_and_not_dropped() {
    let two = broken(|p| {
        p.subject_alt_names.clear();
        let first: &[u8] = b"spiffe://example.internal/workload";
        p.custom_extensions = vec![names(
            true,
            &[(0x86, first), (0x86, b"spiffe://\xff\xfe/x")],
        )];
    });
    assert_eq!(two, ProfileError::UriNames(2));
    let alone = broken(|p| {
        p.subject_alt_names.clear();
        p.custom_extensions = vec![names(true, &[(0x86, b"spiffe://example.internal/\xff")])];
    });
    assert_eq!(alone, ProfileError::Form("URI name"));
}

#[test]
fn names_of_other_types_are_refused_and_dns_names_are_not() {
    for tag in [0x81, 0x82 | 0x20, 0xa0, 0xa4, 0x87, 0x88, 0x06] {
        let error = broken(|p| {
            p.subject_alt_names.clear();
            let good: &[u8] = b"spiffe://example.internal/workload";
            p.custom_extensions = vec![names(true, &[(0x86, good), (tag, b"1234")])];
        });
        assert_eq!(error, ProfileError::NameType(tag));
    }
    let with_dns = forged(&authority(), |p| {
        p.subject_alt_names
            .push(SanType::DnsName("infer.example".try_into().unwrap()));
    });
    assert!(Leaf::from_der(&with_dns).is_ok());
}

#[test]
fn names_must_be_critical_when_the_subject_is_empty() {
    let good: &[u8] = b"spiffe://example.internal/workload";
    let error = broken(|p| {
        p.subject_alt_names.clear();
        p.custom_extensions = vec![names(false, &[(0x86, good)])];
    });
    assert_eq!(error, ProfileError::NamesNotCritical);
    let named = forged(&authority(), |p| {
        p.subject_alt_names.clear();
        p.distinguished_name.push(DnType::CommonName, "x");
        p.custom_extensions = vec![names(false, &[(0x86, good)])];
    });
    assert!(Leaf::from_der(&named).is_ok());
}

#[test]
fn a_leaf_must_have_a_path_and_be_a_legal_spiffe_id() {
    let root = broken(|p| p.subject_alt_names = vec![uri("spiffe://example.internal")]);
    assert_eq!(root, ProfileError::Path(domain().id()));
    for bad in [
        "spiffe://example.internal/",
        "spiffe://example.internal//x",
        "spiffe://example.internal/../x",
        "spiffe://example.internal/%61",
        "SPIFFE://example.internal/x",
        "spiffe://Example.internal/x",
        "spiffe://user@example.internal/x",
        "spiffe://example.internal:80/x",
        "spiffe://example.internal/x?y",
        "spiffe://example.internal/x#y",
        "https://example.internal/x",
    ] {
        let error = broken(|p| p.subject_alt_names = vec![uri(bad)]);
        assert!(matches!(error, ProfileError::Id(_)), "{bad}: {error:?}");
    }
}

#[test]
fn a_leaf_is_no_authority_and_cannot_sign_certificates() {
    let error = broken(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(error, ProfileError::Authority);
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let error = broken(|p| p.key_usages.push(usage));
        assert_eq!(error, ProfileError::KeyUsage);
    }
    let without = broken(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(without, ProfileError::KeyUsage);
}

#[test]
fn key_usage_must_be_present_and_critical() {
    let absent = broken(|p| p.key_usages.clear());
    assert_eq!(absent, ProfileError::KeyUsageMissing);
    let lax = broken(|p| {
        p.key_usages.clear();
        let bits = encode(0x03, &[7, 0x80]);
        p.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 15], bits)];
    });
    assert_eq!(lax, ProfileError::KeyUsageMissing);
}

#[test]
fn extended_key_usage_names_both_roles_or_is_absent() {
    for one in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ] {
        let error = broken(|p| p.extended_key_usages = vec![one]);
        assert_eq!(error, ProfileError::ExtendedKeyUsage);
    }
    let absent = forged(&authority(), |p| p.extended_key_usages.clear());
    assert!(Leaf::from_der(&absent).is_ok());
}

#[test]
fn duplicate_and_unknown_critical_extensions_and_name_constraints_are_refused() {
    let twice = broken(|p| {
        p.custom_extensions = vec![names(true, &[(0x86, b"spiffe://example.internal/other")])];
    });
    assert_eq!(twice, ProfileError::DuplicateExtension);
    let unknown = broken(|p| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], encode(0x04, b"x"));
        extension.set_criticality(true);
        p.custom_extensions = vec![extension];
    });
    assert_eq!(unknown, ProfileError::UnknownCritical);
    let constrained = broken(|p| {
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        p.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    assert_eq!(constrained, ProfileError::NameConstraints);
}

#[test]
fn a_certificate_with_bytes_behind_it_is_refused() {
    let mut certificate = forged(&authority(), |_| {}).to_vec();
    assert!(Leaf::from_der(&certificate).is_ok());
    certificate.push(0);
    assert!(Leaf::from_der(&certificate).is_err());
}

#[test]
fn only_the_bundle_of_the_leafs_own_trust_domain_may_vouch() {
    let ours = authority();
    let theirs = Authority::new("other.internal".parse().unwrap(), HOUR, NOW).unwrap();
    let svid = svid(&ours, "/workload");
    let error = verify_leaf(svid.chain(), &theirs.bundle().unwrap(), NOW).unwrap_err();
    assert!(matches!(error, VerifySvidError::ForeignDomain { .. }));
    // An authority that signs for a trust domain that is not its own.
    let usurped = forged(&theirs, |_| {});
    let error = verify_leaf(&[usurped], &ours.bundle().unwrap(), NOW).unwrap_err();
    assert!(matches!(
        error,
        VerifySvidError::Path(webpki::Error::UnknownIssuer)
    ));
}

#[test]
fn a_self_signed_leaf_is_not_believed() {
    let key = KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.subject_alt_names = vec![uri("spiffe://example.internal/workload")];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    assert!(verify_leaf(&[certificate], &authority().bundle().unwrap(), NOW).is_err());
}

#[test]
fn an_svid_is_refused_from_the_second_it_expires_and_before_it_begins() {
    let authority = authority();
    let svid = svid(&authority, "/workload");
    let bundle = authority.bundle().unwrap();
    let at = |now| verify_leaf(svid.chain(), &bundle, now);
    assert!(at(UnixTime(NOW.0 - 10)).is_ok());
    assert!(matches!(
        at(UnixTime(NOW.0 - 11)),
        Err(VerifySvidError::Time(_))
    ));
    assert!(at(UnixTime(NOW.0 + 3599)).is_ok());
    assert!(matches!(
        at(UnixTime(NOW.0 + 3600)),
        Err(VerifySvidError::Time(_))
    ));
}

#[test]
fn an_expired_authority_vouches_for_nobody() {
    let authority = Authority::new(domain(), HOUR, NOW).unwrap();
    let long = forged(&authority, |p| {
        p.not_after = time::OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
    });
    let bundle = authority.bundle().unwrap();
    assert!(verify_leaf(std::slice::from_ref(&long), &bundle, NOW).is_ok());
    assert!(verify_leaf(&[long], &bundle, NOW.plus(HOUR)).is_err());
}

#[test]
fn an_empty_or_overlong_chain_is_refused() {
    let bundle = authority().bundle().unwrap();
    assert!(matches!(
        verify_leaf(&[], &bundle, NOW),
        Err(VerifySvidError::ChainLength(0))
    ));
    let leaf = forged(&authority(), |_| {});
    let long = vec![leaf; 5];
    assert!(matches!(
        verify_leaf(&long, &bundle, NOW),
        Err(VerifySvidError::ChainLength(5))
    ));
}

#[test]
fn a_certificate_for_another_key_makes_no_svid() {
    let authority = authority();
    let svid = svid(&authority, "/workload");
    let error = Svid::new(svid.chain().to_vec(), KeyPair::generate().unwrap()).unwrap_err();
    assert!(matches!(error, AssembleSvidError::OtherKey(_)));
}

#[test]
fn rotation_is_due_at_half_life_and_when_the_clock_went_back() {
    let svid = svid(&authority(), "/workload");
    assert_eq!(svid.rotate_at(), NOW.plus(HOUR / 2));
    assert!(!svid.rotation_due(NOW));
    assert!(!svid.rotation_due(UnixTime(NOW.0 + 1799)));
    assert!(svid.rotation_due(UnixTime(NOW.0 + 1800)));
    assert!(svid.rotation_due(UnixTime(NOW.0 - 11)));
}

#[test]
fn a_request_proves_possession_and_names_nobody() {
    let key = KeyPair::generate().unwrap();
    let csr = make_csr(&key).unwrap();
    let der = pem::parse(&csr).unwrap().into_contents();
    assert!(CertificateRequest::from_der(&der).is_ok());
    // Every changed byte either breaks the form, the algorithm or the signature.
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1;
        assert!(CertificateRequest::from_der(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_request_with_a_key_of_another_kind_is_refused() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let csr = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let error = CertificateRequest::from_der(csr.der()).unwrap_err();
        assert_eq!(error, ReadRequestError::Algorithm);
    }
}

#[test]
fn names_asked_for_in_a_request_are_not_given() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.subject_alt_names = vec![uri("spiffe://example.internal/admin")];
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let csr = parameters.serialize_request(&key).unwrap();
    let csr = CertificateRequest::from_der(csr.der()).unwrap();
    let issued = authority.issue(&csr, &id("/workload"), HOUR, NOW).unwrap();
    assert_eq!(
        Leaf::from_der(&issued.chain[0]).unwrap().id,
        id("/workload")
    );
    assert_eq!(csr, request(&key));
}

proptest! {
    #[test]
    fn no_changed_certificate_verifies(at in 0_usize..2000, bit in 0_u8..8) {
        thread_local! {
            static MADE: (TrustBundle, Vec<u8>) = {
                let authority = authority();
                (authority.bundle().unwrap(), svid(&authority, "/workload").chain()[0].to_vec())
            };
        }
        MADE.with(|(bundle, certificate)| {
            let mut changed = certificate.clone();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            let changed = CertificateDer::from(changed);
            prop_assert!(verify_leaf(&[changed], bundle, NOW).is_err(), "byte {at}");
            Ok(())
        })?;
    }
}
