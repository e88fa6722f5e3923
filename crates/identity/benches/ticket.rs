//! What a ticket costs: verifying cold and warm against the raw signature, signing, and certificates.
//!
//! One core, wall time, best of several rounds that alternate between the contestants, so that a
//! busy machine disturbs them alike. `--json` prints one array of rows for `cargo xtask bench`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is a program for people: it prints, and a panic ends it"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::ticket::{Confirmation, GRANT_TYPE, Grant, Limits, TicketClaims};
use casemate_core::time::UnixTime;
use casemate_identity::authority::Authority;
use casemate_identity::jws::{SigningKey, VerifyingKeys};
use casemate_identity::svid::{CertificateRequest, KeyPair, make_csr};
use casemate_identity::ticket::{TicketSigner, TicketVerifier, VerifierSettings};

const NOW: UnixTime = UnixTime(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let domain: TrustDomain = "example.internal".parse().unwrap();
    let pair = KeyPair::generate().unwrap();
    let raw_pair = pair.duplicate().unwrap();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_point()).unwrap();
    let key = SigningKey::new(pair);
    let keys = key.verifying_keys();
    let signer = TicketSigner::new(key);
    let tokens: Vec<String> = (0..256)
        .map(|number| signer.sign_ticket(&claims(&domain, number)).unwrap())
        .collect();
    let signed: Vec<(&str, Vec<u8>)> = tokens
        .iter()
        .map(|token| {
            let (message, _) = token.rsplit_once('.').unwrap();
            (message, raw_pair.sign_fixed(message.as_bytes()).unwrap())
        })
        .collect();
    let cold = verifier(&domain, keys.clone(), 1024);
    let warm = verifier(&domain, keys.clone(), 1024);
    for token in &tokens {
        warm.verify_ticket(token, NOW).unwrap();
    }
    let authority = Authority::new(domain.clone(), HOUR, NOW).unwrap();
    let csr = make_csr(&KeyPair::generate().unwrap()).unwrap();
    let id: SpiffeId = "spiffe://example.internal/user/idp/alice".parse().unwrap();

    let mut rates = [0.0_f64; 6];
    for _ in 0..5 {
        let round = [
            rate(256, |at| {
                let (message, signature) = &signed[at];
                public
                    .verify_sig(black_box(message.as_bytes()), signature)
                    .unwrap();
            }),
            {
                // Nothing is remembered from the round before.
                cold.replace_keys(keys.clone());
                rate(256, |at| {
                    drop(black_box(cold.verify_ticket(&tokens[at], NOW).unwrap()))
                })
            },
            rate(200_000, |at| {
                drop(black_box(
                    warm.verify_ticket(&tokens[at % 256], NOW).unwrap(),
                ));
            }),
            rate(256, |at| {
                black_box(raw_pair.sign_fixed(signed[at].0.as_bytes()).unwrap());
            }),
            rate(256, |at| {
                black_box(signer.sign_ticket(&claims(&domain, at)).unwrap());
            }),
            rate(256, |_| {
                let request = CertificateRequest::from_pem(&csr).unwrap();
                black_box(authority.issue(&request, &id, HOUR, NOW).unwrap());
            }),
        ];
        for (best, now) in rates.iter_mut().zip(round) {
            *best = best.max(now);
        }
    }
    let [raw, cold, warm, raw_sign, sign, issue] = rates;
    let rows = [
        ("ticket verify, cold", cold, raw, "raw ES256 verify", 0.9),
        ("ticket verify, warm", warm, 1_000_000.0, "bar", 1.0),
        ("ticket sign", sign, raw_sign, "raw ES256 sign", 0.9),
        (
            "certificate issue (proof of possession checked)",
            issue,
            5000.0,
            "bar",
            1.0,
        ),
    ];
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(row, ours, peer, peer_name, bar)| {
                serde_json::json!({ "row": row, "ours": ours, "peer": peer,
                    "peer_name": peer_name, "ratio": ours / peer, "bar": bar, "unit": "1/s" })
            })
            .collect();
        println!("{}", serde_json::Value::Array(rows));
        return;
    }
    for (row, ours, peer, peer_name, bar) in rows {
        let ratio = ours / peer;
        println!("{row:<48} {ours:>12.0}/s   {peer_name} {peer:>12.0}/s   {ratio:.2} (bar {bar})");
    }
}

/// How often `act` runs in a second.
fn rate(times: usize, mut act: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    for at in 0..times {
        act(at);
    }
    let times = u32::try_from(times).unwrap();
    f64::from(times) / started.elapsed().as_secs_f64()
}

fn verifier(domain: &TrustDomain, keys: VerifyingKeys, cache_entries: usize) -> TicketVerifier {
    let settings = VerifierSettings {
        issuer: domain.issuer(),
        trust_domain: domain.clone(),
        audience: Some(domain.stage(&"chat".parse().unwrap(), &"infer".parse().unwrap())),
        max_ticket_lifetime: HOUR,
        max_transaction_lifetime: HOUR,
        cache_entries,
    };
    TicketVerifier::new(settings, keys)
}

fn claims(domain: &TrustDomain, number: usize) -> TicketClaims {
    let subject: SpiffeId = "spiffe://example.internal/user/idp/alice".parse().unwrap();
    TicketClaims {
        iss: domain.issuer(),
        sub: subject.clone(),
        aud: domain.stage(&"chat".parse().unwrap(), &"infer".parse().unwrap()),
        client_id: subject,
        iat: NOW,
        exp: NOW.plus(HOUR),
        jti: format!("ticket-{number}"),
        cnf: Confirmation {
            thumbprint: "x".repeat(43),
        },
        groups: vec!["analysts".to_owned()],
        authorization_details: vec![Grant {
            kind: GRANT_TYPE.to_owned(),
            stage: "infer".parse().unwrap(),
            routes: vec!["chat".parse().unwrap()],
            models: vec!["smollm2-135m-instruct@1".parse().unwrap()],
            limits: Limits {
                max_tokens: Some(256),
                requests_per_minute: Some(60),
            },
        }],
    }
}
