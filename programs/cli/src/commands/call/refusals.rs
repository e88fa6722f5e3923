//! What to do about a refusal: the words of docs/guide/refusals.md, with what the ticket says.

use crate::commands::ticket;

/// What a person can do about the refusal `code`, holding `ticket`.
pub(super) fn way_out(code: &str, ticket: &str) -> Option<String> {
    let fix = REFUSALS
        .iter()
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, fix)| *fix)?;
    let held = ticket::claims(ticket).map(|claims| claims.authorization_details);
    let held = held.unwrap_or_default();
    let list = |words: Vec<String>| match words.as_slice() {
        [] => "none".to_owned(),
        words => words.join(", "),
    };
    Some(match code {
        "model_missing" | "model_not_granted" => {
            let models = held.iter().flat_map(|grant| &grant.models);
            let models = list(models.map(ToString::to_string).collect());
            format!("{fix}; your ticket holds: {models}")
        }
        "route_denied" | "method_denied" => {
            let routes = held.iter().flat_map(|grant| &grant.routes);
            let routes = list(routes.map(ToString::to_string).collect());
            format!("{fix}; your ticket holds the classes: {routes}")
        }
        "tokens_over_limit" => {
            let most = held.iter().filter_map(|grant| grant.limits.max_tokens);
            most.max()
                .map_or_else(|| fix.to_owned(), |most| format!("{fix}: {most}"))
        }
        _ => fix.to_owned(),
    })
}

/// Codes and what to do. A test compares them with the guide.
const REFUSALS: &[(&[&str], &str)] = &[
    (
        &["no_ticket", "ticket_malformed"],
        "casemate ticket exchange --stage STAGE",
    ),
    (
        &["ticket_expired"],
        "exchange again: casemate ticket exchange --stage STAGE",
    ),
    (
        &["certificate_expired"],
        "log in again: casemate login --token-file FILE",
    ),
    (
        &["ticket_signature"],
        "the ticket is from another trust domain or was altered: exchange a new one",
    ),
    (
        &["ticket_wrong_audience"],
        "the ticket is for another stage: casemate ticket exchange --stage STAGE",
    ),
    (
        &["not_holder"],
        "the ticket was issued to another login than yours: exchange one of your own",
    ),
    (
        &["ticket_revoked"],
        "ask whoever revoked it; log in and exchange again if you may",
    ),
    (
        &["no_flow"],
        "no flow in the enclosure leads from your groups to this stage: compare them with the file",
    ),
    (
        &["route_denied", "method_denied"],
        "call a path of a class that the flow grants; administrative routes are never granted",
    ),
    (
        &["path_not_canonical", "query_not_allowed"],
        "send the path as the profile writes it: no `//`, `.`, percent-escapes or other case; no query",
    ),
    (
        &["model_missing", "model_not_granted"],
        "name one of your models as `model` in the body",
    ),
    (&["parameter_forbidden"], "take that member out of the body"),
    (
        &["tokens_over_limit"],
        "ask for at most the granted number of tokens",
    ),
    (
        &["body_malformed", "body_too_large"],
        "send one JSON value, no name twice, at most 64 deep, within the size",
    ),
    (
        &["rate_limited"],
        "wait a minute; the bound is in the ticket",
    ),
    (
        &["not_admitting", "draining", "busy", "audit_full"],
        "see what the stage does: casemate status",
    ),
    (
        &["upstream_unavailable", "upstream_timeout", "upstream_error"],
        "the model's server failed: casemate logs STAGE",
    ),
];

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn every_code_stands_in_the_guide() {
        let guide = include_str!("../../../../../docs/guide/refusals.md");
        for (codes, _) in REFUSALS {
            for code in *codes {
                assert!(guide.contains(&format!("`{code}`")), "{code}");
            }
        }
    }

    #[test]
    fn a_wrong_model_is_answered_with_those_of_the_ticket() {
        let claims = serde_json::json!({
            "iss": "spiffe://example.internal/issuer",
            "client_id": "spiffe://example.internal/user/idp/ada", "sub": "spiffe://example.internal/user/idp/ada",
            "aud": "spiffe://example.internal/enclosure/chat/stage/infer",
            "iat": 1, "exp": 2, "jti": "x", "cnf": { "x5t#S256": "t" }, "groups": [],
            "authorization_details": [{
                "type": "casemate_call", "stage": "infer", "routes": ["chat"], "models": ["small@1"],
                "limits": { "max_tokens": 16 },
            }],
        });
        let token = format!(
            "head.{}.signature",
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        assert!(
            ticket::claims(&token).is_some(),
            "a ticket that can be read"
        );
        let said = way_out("model_not_granted", &token).expect("a way out");
        assert!(said.ends_with("your ticket holds: small@1"), "{said}");
        let said = way_out("tokens_over_limit", &token).expect("a way out");
        assert!(said.ends_with(": 16"), "{said}");
        assert_eq!(way_out("a_code_of_later", &token), None);
    }
}
