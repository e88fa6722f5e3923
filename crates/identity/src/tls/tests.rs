use std::io::{Read as _, Write as _};

use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::authority::Authority;
use crate::svid::{KeyPair, Svid};
use crate::testing::{HOUR, NOW, SetClock, authority, domain, forged, id, request, svid};

const SERVER: &str = "/enclosure/chat/stage/infer";
const CLIENT: &str = "/user/idp/alice";

struct Ends {
    authority: Authority,
    clock: Arc<SetClock>,
    bundle: Arc<BundleSource>,
    server: Arc<SvidSource>,
    client: Arc<SvidSource>,
}

fn ends() -> Ends {
    let authority = authority();
    let (server, client) = (SvidSource::empty(), SvidSource::empty());
    server.replace(svid(&authority, SERVER)).unwrap();
    client.replace(svid(&authority, CLIENT)).unwrap();
    Ends {
        bundle: BundleSource::new(authority.bundle().unwrap()),
        clock: SetClock::at(NOW),
        authority,
        server,
        client,
    }
}

impl Ends {
    fn server_settings(&self, clients: ClientAuth) -> ServerConfig {
        server_config(
            Arc::clone(&self.server),
            Arc::clone(&self.bundle),
            clients,
            self.clock.clone(),
            &[b"h2", b"http/1.1"],
        )
        .unwrap()
    }

    fn client_settings(&self, with_svid: bool, servers: Peers) -> ClientConfig {
        let svids = with_svid.then(|| Arc::clone(&self.client));
        client_config(
            svids,
            Arc::clone(&self.bundle),
            servers,
            self.clock.clone(),
            &[b"h2"],
        )
        .unwrap()
    }
}

fn connect(
    server: ServerConfig,
    client: ClientConfig,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let server = ServerConnection::new(Arc::new(server))?;
    let client = ClientConnection::new(Arc::new(client), unused_server_name())?;
    shake(server, client)
}

fn shake(
    mut server: ServerConnection,
    mut client: ClientConnection,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        feed(&wire, |part| server.read_tls(part).map(drop));
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        feed(&wire, |part| client.read_tls(part).map(drop));
        client.process_new_packets()?;
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    Ok((server, client))
}

fn feed(mut wire: &[u8], mut read: impl FnMut(&mut dyn std::io::Read) -> std::io::Result<()>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}

fn required() -> ClientAuth {
    ClientAuth::Required(Peers::Members)
}

#[test]
fn both_ends_prove_who_they_are_with_the_hybrid_key_exchange() {
    let ends = ends();
    let (server, client) = connect(
        ends.server_settings(required()),
        ends.client_settings(true, Peers::only(id(SERVER))),
    )
    .unwrap();
    let seen = authenticated_peer(&server).unwrap();
    assert_eq!(seen.id, id(CLIENT));
    assert_eq!(seen.thumbprint, ends.client.current().unwrap().thumbprint());
    assert_eq!(authenticated_peer(&client).unwrap().id, id(SERVER));
    for group in [
        server.negotiated_key_exchange_group(),
        client.negotiated_key_exchange_group(),
    ] {
        assert_eq!(group.unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
    }
    assert_eq!(
        server.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn the_default_accepts_nobody() {
    let ends = ends();
    let server = ends.server_settings(ClientAuth::default());
    let client = ends.client_settings(true, Peers::only(id(SERVER)));
    assert!(connect(server, client).is_err());
    let server = ends.server_settings(required());
    let client = ends.client_settings(true, Peers::default());
    assert!(connect(server, client).is_err());
}

#[test]
fn a_client_without_a_certificate_is_told_that_one_is_required() {
    let ends = ends();
    let result = connect(
        ends.server_settings(required()),
        ends.client_settings(false, Peers::only(id(SERVER))),
    );
    assert_eq!(
        result.err().unwrap(),
        rustls::Error::NoCertificatesPresented
    );
    let optional = ends.server_settings(ClientAuth::Optional(Peers::Members));
    let client = ends.client_settings(false, Peers::only(id(SERVER)));
    let (server, _) = connect(optional, client).unwrap();
    assert!(authenticated_peer(&server).is_none());
}

#[test]
fn an_optional_certificate_must_still_be_a_right_one() {
    let ends = ends();
    let other = Authority::new(domain(), HOUR, NOW).unwrap();
    let stranger = SvidSource::empty();
    stranger.replace(svid(&other, CLIENT)).unwrap();
    let client = client_config(
        Some(stranger),
        Arc::clone(&ends.bundle),
        Peers::only(id(SERVER)),
        ends.clock.clone(),
        &[b"h2"],
    )
    .unwrap();
    let optional = ends.server_settings(ClientAuth::Optional(Peers::Members));
    assert!(connect(optional, client).is_err());
}

#[test]
fn only_the_expected_server_is_accepted() {
    let ends = ends();
    for expected in [
        Peers::only(id("/enclosure/chat/stage/redact")),
        Peers::only(id("/enclosure/chat/stage/infer/x")),
        Peers::Any(Vec::new()),
        Peers::Nobody,
    ] {
        let client = ends.client_settings(true, expected.clone());
        let result = connect(ends.server_settings(required()), client);
        let refused = rustls::Error::InvalidCertificate(
            rustls::CertificateError::ApplicationVerificationFailure,
        );
        assert_eq!(result.err().unwrap(), refused, "{expected:?}");
    }
}

#[test]
fn an_expired_certificate_is_refused_by_our_clock() {
    let ends = ends();
    ends.clock.set(NOW.plus(HOUR));
    let result = connect(
        ends.server_settings(required()),
        ends.client_settings(true, Peers::only(id(SERVER))),
    );
    let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    assert_eq!(result.err().unwrap(), expired);
}

#[test]
fn every_handshake_is_a_full_one_and_sends_no_ticket() {
    let ends = ends();
    let server = Arc::new(ends.server_settings(required()));
    let client = Arc::new(ends.client_settings(true, Peers::only(id(SERVER))));
    for _ in 0..3 {
        let (server, client) = shake(
            ServerConnection::new(Arc::clone(&server)).unwrap(),
            ClientConnection::new(Arc::clone(&client), unused_server_name()).unwrap(),
        )
        .unwrap();
        assert_eq!(server.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}

#[test]
fn rotation_keeps_running_connections_and_serves_new_ones_the_new_certificate() {
    let ends = ends();
    let server = Arc::new(ends.server_settings(required()));
    let client = Arc::new(ends.client_settings(true, Peers::only(id(SERVER))));
    let open = || {
        shake(
            ServerConnection::new(Arc::clone(&server)).unwrap(),
            ClientConnection::new(Arc::clone(&client), unused_server_name()).unwrap(),
        )
        .unwrap()
    };
    let (mut before, mut reader) = open();
    let old = authenticated_peer(&reader).unwrap().thumbprint;
    for _ in 0..1000 {
        let next = svid(&ends.authority, SERVER);
        let expected = next.thumbprint().to_owned();
        assert_eq!(ends.server.replace(next).unwrap(), Replaced::Rotated);
        // The old connection still carries bytes.
        before.writer().write_all(b"token ").unwrap();
        let mut wire = Vec::new();
        before.write_tls(&mut wire).unwrap();
        feed(&wire, |part| reader.read_tls(part).map(drop));
        reader.process_new_packets().unwrap();
        let mut got = [0; 6];
        reader.reader().read_exact(&mut got).unwrap();
        assert_eq!(&got, b"token ");
        assert_eq!(ends.server.current().unwrap().thumbprint(), expected);
    }
    assert_eq!(authenticated_peer(&reader).unwrap().thumbprint, old);
    let (_, new) = open();
    let shown = authenticated_peer(&new).unwrap().thumbprint;
    assert_eq!(shown, ends.server.current().unwrap().thumbprint());
    assert_ne!(shown, old);
}

#[test]
fn a_source_never_changes_who_it_is_and_the_same_again_is_no_rotation() {
    let ends = ends();
    let other = svid(&ends.authority, "/enclosure/chat/stage/redact");
    let error = ends.server.replace(other).unwrap_err();
    assert!(matches!(error, ReplaceSvidError::OtherIdentity { .. }));
    let key = KeyPair::generate().unwrap();
    let issued = ends
        .authority
        .issue(&request(&key), &id(SERVER), HOUR, NOW)
        .unwrap();
    let again = || Svid::new(issued.chain.clone(), key.duplicate().unwrap()).unwrap();
    assert_eq!(ends.server.replace(again()).unwrap(), Replaced::Rotated);
    assert_eq!(ends.server.replace(again()).unwrap(), Replaced::Unchanged);
}

#[test]
fn a_withdrawn_identity_is_not_shown_any_more() {
    let ends = ends();
    ends.server.withdraw();
    let server = ends.server_settings(required());
    let client = ends.client_settings(true, Peers::only(id(SERVER)));
    assert!(connect(server, client).is_err());
}

#[test]
fn a_replaced_bundle_judges_the_next_handshake() {
    let ends = ends();
    let server = ends.server_settings(required());
    ends.bundle.replace(authority().bundle().unwrap());
    let client = ends.client_settings(true, Peers::only(id(SERVER)));
    assert!(connect(server, client).is_err());
}

#[test]
fn the_handshake_refuses_a_leaf_that_breaks_the_profile() {
    let ends = ends();
    // Signed by the right authority, with a second URI name.
    let leaf = forged(&ends.authority, |p| {
        p.subject_alt_names
            .push(crate::testing::uri("spiffe://example.internal/other"));
    });
    let chain = [leaf];
    let refused = verify::refusal_for_test(&ends.bundle, &chain, NOW);
    assert!(refused.is_err());
}

/// A web server called `localhost` that speaks these versions, and the root that vouches for it.
fn web_server(versions: &[&'static rustls::SupportedProtocolVersion]) -> (ServerConfig, String) {
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate().unwrap();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let private = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private.into())
        .unwrap();
    (config, root_pem)
}

fn ask_web(server: ServerConfig, client: ClientConfig) -> Option<rustls::ProtocolVersion> {
    let name = ServerName::try_from("localhost").unwrap();
    let server = ServerConnection::new(Arc::new(server)).unwrap();
    let client = ClientConnection::new(Arc::new(client), name).unwrap();
    shake(server, client).ok()?.0.protocol_version()
}

#[test]
fn an_identity_provider_without_tls_1_3_is_called_with_1_2_and_others_with_1_3() {
    let clock = SetClock::at(NOW);
    for (versions, agreed) in [
        (&[&TLS12][..], rustls::ProtocolVersion::TLSv1_2),
        (&[&TLS12, &TLS13][..], rustls::ProtocolVersion::TLSv1_3),
    ] {
        let (server, root_pem) = web_server(versions);
        let client = web_client_config(&root_pem, clock.clone(), &[]).unwrap();
        assert_eq!(ask_web(server, client), Some(agreed));
        // Another root vouches for nothing, whatever the version.
        let (_, other) = web_server(versions);
        let (server, _) = web_server(versions);
        let client = web_client_config(&other, clock.clone(), &[]).unwrap();
        assert_eq!(ask_web(server, client), None);
    }
}

#[test]
fn nobody_inside_the_trust_domain_speaks_tls_1_2() {
    let ends = ends();
    let usual = || Arc::new(provider::default_provider());
    // A client that has everything right but the version.
    let expected = Peers::only(id(SERVER));
    let verifier = Arc::new(ServerVerifier::new(Arc::clone(&ends.bundle), expected));
    let with = |version| {
        let time = time_of(ends.clock.clone());
        let mut client = ClientConfig::builder_with_details(usual(), time)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&ends.client) as _);
        client.enable_sni = false;
        client
    };
    for clients in [required(), ClientAuth::Optional(Peers::Members)] {
        let server = || ends.server_settings(clients.clone());
        assert!(connect(server(), with(&TLS13)).is_ok());
        assert!(matches!(
            connect(server(), with(&TLS12)).err().unwrap(),
            rustls::Error::PeerIncompatible(_)
        ));
    }
    // And a server that has.
    let with = |version| {
        ServerConfig::builder_with_provider(usual())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&ends.server) as _)
    };
    let client = || ends.client_settings(true, Peers::only(id(SERVER)));
    assert!(connect(with(&TLS13), client()).is_ok());
    assert!(connect(with(&TLS12), client()).is_err());
    for suite in spiffe_provider().cipher_suites {
        assert!(suite.tls13().is_some(), "{suite:?}");
    }
}
