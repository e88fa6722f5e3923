//! Bodies of the fuzz targets for what a caller sends: paths, queries, bodies.

use crate::admission::{
    self, Call, Caller, Credential, Door, InboundFlow, Peer, Rates, Stage, Standing,
};
use crate::json;
use crate::profile::{self, Pointer};
use crate::route::{CanonicalPath, check_query};
use crate::ticket::{Limits, TicketClaims};
use crate::time::UnixTime;

/// Any bytes as a request target: what is canonical has one spelling, and that is what a profile sees.
///
/// # Panics
/// When that does not hold.
pub fn fuzz_route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (path, query) = text
        .split_once('?')
        .map_or((text, None), |(path, query)| (path, Some(query)));
    if let Ok(canonical) = CanonicalPath::parse(path) {
        assert_eq!(canonical.as_str(), path, "a path was repaired");
        assert!(path.starts_with('/') && path.is_ascii(), "not a plain path");
        assert!(!path.contains("//") && !path.contains('%') && !path.contains('\\'));
        assert!(
            path.split('/')
                .all(|segment| segment != "." && segment != "..")
        );
        assert!(
            path == "/" || !path.ends_with('/'),
            "two spellings of one path"
        );
    } else if let Some(profile) = profile::built_in("llama.cpp") {
        let refused = profile::RouteVerdict::UnknownPath;
        assert_eq!(
            profile.route("GET", path),
            refused,
            "a disguised path is known"
        );
    }
    if let Some(query) = query
        && check_query(query, &["a", "model"]).is_ok()
    {
        assert!(query.is_ascii() && !query.contains('%') && !query.contains('+'));
        assert_eq!(
            query.matches("model=").count().max(1),
            1,
            "a parameter twice"
        );
    }
}

/// Any bytes as a body: what the scan accepts, `serde_json` reads alike.
///
/// # Panics
/// When it does not.
pub fn fuzz_json(data: &[u8]) {
    let pointers: Vec<Pointer> = ["/model", "/max_tokens", "/p/max"]
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let wanted: Vec<&Pointer> = pointers.iter().collect();
    let Ok(document) = json::scan(data, &wanted, 1 << 16) else {
        return;
    };
    let read: Result<serde_json::Value, _> = serde_json::from_slice(data);
    let Ok(read) = read else {
        // Only numbers at the very edge of what a double holds may be judged differently.
        assert!(
            data.iter().any(|byte| matches!(byte, b'e' | b'E')),
            "serde_json refuses it"
        );
        return;
    };
    let model = read.get("model");
    assert_eq!(
        document.form(0).is_some(),
        model.is_some(),
        "a member is seen by one only"
    );
    if let Ok(Some(text)) = document.text(0) {
        assert_eq!(
            Some(text.as_ref()),
            model.and_then(serde_json::Value::as_str)
        );
    }
    let Some(bound) = pointers.get(2) else { return };
    if let Ok(bounded) = document.with_number(2, bound, 7) {
        let bounded: Result<serde_json::Value, _> = serde_json::from_slice(&bounded);
        let set = bounded
            .ok()
            .and_then(|body| body.pointer("/p/max").cloned());
        assert_eq!(
            set,
            Some(serde_json::Value::from(7)),
            "the bound is not where it is read"
        );
    }
}

/// Any bytes as the claims of a ticket and a body: whoever is let in is who the ticket says, here and now,
/// and no change of a claim that decides would have let them in too.
///
/// # Panics
/// When that does not hold.
pub fn fuzz_admission(data: &[u8]) {
    is_let_in(data);
}

/// As [`fuzz_admission`], and says whether a permit was given.
fn is_let_in(data: &[u8]) -> bool {
    let cut = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let (claims, body) = data.split_at(cut);
    let Ok(ticket) = serde_json::from_slice::<TicketClaims>(claims) else {
        return false;
    };
    let Some(stage) = stage_of(&ticket) else {
        return false;
    };
    let mut standing = Standing {
        door: Door::Open,
        ..Standing::default()
    };
    for grant in &ticket.authorization_details {
        standing
            .flows
            .extend(ticket.groups.iter().map(|group| InboundFlow {
                from: Caller::Group(group.clone()),
                routes: grant.routes.clone(),
                models: grant.models.clone(),
                limits: Limits {
                    max_tokens: Some(256),
                    requests_per_minute: None,
                },
            }));
    }
    let now = ticket.iat;
    let decide = |standing: &Standing, thumbprint: &str, now| {
        let peer = Peer {
            id: &ticket.sub,
            thumbprint,
            expires: UnixTime(u64::MAX),
        };
        let call = Call {
            method: "POST",
            path: "/v1/chat/completions",
            query: None,
        };
        let credential = Credential::Ticket(&ticket);
        let rates = &mut Rates::default();
        let entitled = admission::entitle(&stage, standing, rates, peer, credential, call, now)?;
        entitled
            .admit(body.get(1..).unwrap_or_default(), 1 << 16)
            .map(|admitted| (admitted.permit, admitted.body.into_owned()))
    };
    let Ok((permit, body)) = decide(&standing, &ticket.cnf.thumbprint, now) else {
        return false;
    };
    assert!(ticket.aud == stage.id && ticket.sub == ticket.client_id && now < ticket.exp);
    assert_eq!(permit.subject(), &ticket.sub, "a permit for somebody else");
    assert!(
        json::scan(&body, &[], usize::MAX).is_ok(),
        "a body that was made worse"
    );
    assert!(
        permit.still_valid(&standing, ticket.exp).is_err(),
        "a permit outlives its ticket"
    );
    assert!(
        permit.still_valid(&Standing::default(), now).is_err(),
        "a closed door lets go on"
    );
    assert!(
        decide(&standing, "another", now).is_err(),
        "another holder is let in"
    );
    assert!(
        decide(&standing, &ticket.cnf.thumbprint, ticket.exp).is_err(),
        "an expired ticket"
    );
    assert!(
        decide(&Standing::default(), &ticket.cnf.thumbprint, now).is_err(),
        "a closed door"
    );
    true
}

/// The stage that the ticket is for, with the profile of llama.cpp.
fn stage_of(ticket: &TicketClaims) -> Option<Stage> {
    let (_, name) = ticket.aud.as_stage()?;
    Some(Stage {
        id: ticket.aud.clone(),
        name,
        profile: profile::built_in("llama.cpp")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random mutations of a few seeds, from a generator without state of its own.
    fn replay(target: fn(&[u8]), seeds: &[&[u8]]) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let alphabet = b"{}[]\",:\\/%.;?=&eE+-0n1ta\x00\xff_modelpax ";
        for seed in seeds {
            target(seed);
            for _ in 0..4000 {
                let mut bytes = seed.to_vec();
                for _ in 0..=next() % 4 {
                    let at = usize::try_from(next()).unwrap() % (bytes.len() + 1);
                    let byte = alphabet[usize::try_from(next()).unwrap() % alphabet.len()];
                    match next() % 3 {
                        0 => bytes.insert(at, byte),
                        1 if at < bytes.len() => bytes[at] = byte,
                        _ if at < bytes.len() => drop(bytes.remove(at)),
                        _ => {}
                    }
                }
                target(&bytes);
            }
        }
    }

    #[test]
    fn seeds_and_mutations_of_targets_hold() {
        replay(
            fuzz_route,
            &[
                b"/v1/chat/completions?model=a&a=b",
                b"/a/%2e%2e/b;c",
                b"//x\\y",
                b"/",
            ],
        );
    }

    #[test]
    fn seeds_and_mutations_of_tickets_hold() {
        let ticket = br#"{"iss":"spiffe://e.i/issuer","sub":"spiffe://e.i/user/idp/anna","aud":"spiffe://e.i/enclosure/chat/stage/infer","client_id":"spiffe://e.i/user/idp/anna","iat":100,"exp":400,"jti":"j","cnf":{"x5t#S256":"t"},"groups":["g"],"authorization_details":[{"type":"casemate_call","stage":"infer","routes":["chat"],"models":["smol@1"]}]}
{"model":"smol","max_tokens":null,"n":1}"#;
        replay(fuzz_admission, &[ticket]);
        assert!(is_let_in(ticket), "the seed is one that is let in");
    }

    #[test]
    fn seeds_and_mutations_of_bodies_hold() {
        replay(fuzz_json, &[
            br#"{"model":"smol@1","max_tokens":12,"p":{"max":null},"x":[1e3,-0.5,"\ud83d\ude00"]}"#,
            br#"{"p":{},"mod\u0065l":"x","a":{"a":[[[]]]}}"#,
            b"{}",
        ]);
    }
}
