//! C21: without a workload certificate there is no connection, so no request is even read.

use std::sync::Arc;
use std::time::Duration;

use casemate_core::spiffe::SpiffeId;
use casemate_core::time::{Clock as _, SystemClock};
use casemate_identity::authority::Authority;
use casemate_identity::svid::{CertificateRequest, KeyPair, Svid, make_csr};
use casemate_identity::tls::{
    BundleSource, ClientAuth, Peers, SvidSource, client_config, server_config,
};
use rustls::{ClientConnection, ServerConnection};

use crate::lab::{Attempt, Reference, gate::id, judge};

#[test]
fn c21_a_client_without_a_certificate_is_turned_away_in_the_handshake() {
    let ours = handshake(Some(ClientAuth::Required(Peers::Members)));
    let without = handshake(Some(ClientAuth::Optional(Peers::Members)));
    // rustls, as most servers use it: no client certificate is asked for.
    let reference = Reference {
        what: "a usual TLS server",
        attempt: handshake(None),
    };
    judge("C21", &ours, &without, Some(reference));
}

/// A handshake of a client without a certificate with a server that asks for one so, or not at all.
fn handshake(asks: Option<ClientAuth>) -> Attempt {
    let now = SystemClock.now();
    let day = Duration::from_secs(86_400);
    let authority = Authority::new("example.internal".parse().unwrap(), day, now).unwrap();
    let gate: SpiffeId = id("/enclosure/chat/stage/infer");
    let key = KeyPair::generate().unwrap();
    let request = CertificateRequest::from_pem(&make_csr(&key).unwrap()).unwrap();
    let issued = authority.issue(&request, &gate, day, now).unwrap();
    let svids = SvidSource::empty();
    svids
        .replace(Svid::from_pem(&issued.chain_pem(), key).unwrap())
        .unwrap();
    let bundle = BundleSource::new(authority.bundle().unwrap());
    let clock = Arc::new(SystemClock);
    let http = [b"http/1.1".as_slice()];
    let server = match asks {
        Some(asks) => server_config(
            svids,
            Arc::clone(&bundle),
            asks,
            Arc::clone(&clock) as _,
            &http,
        )
        .unwrap(),
        None => {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut usual = rustls::ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(svids);
            usual.alpn_protocols = http.iter().map(|name| name.to_vec()).collect();
            usual
        }
    };
    let client = client_config(None, bundle, Peers::only(gate), clock, &http).unwrap();
    let name = casemate_identity::tls::unused_server_name();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        if let Err(error) = server.process_new_packets() {
            return Attempt::Stopped(error.to_string());
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!server.is_handshaking());
    Attempt::Worked
}
