use casemate_api::issuer::StagePolicy;
use casemate_core::enclosure::IdentityProvider;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn stage_id(enclosure: &str, stage: &str) -> SpiffeId {
    domain().stage(&name(enclosure), &name(stage))
}

fn domain() -> TrustDomain {
    "example.internal".parse().unwrap()
}

fn flow(from: Caller, routes: &[&str], models: &[&str], max_tokens: Option<u32>) -> InboundFlow {
    InboundFlow {
        from,
        routes: routes.iter().map(|route| name(route)).collect(),
        models: models.iter().map(|model| model.parse().unwrap()).collect(),
        limits: Limits {
            max_tokens,
            requests_per_minute: None,
        },
    }
}

fn group(text: &str) -> Caller {
    Caller::Group(text.to_owned())
}

fn chat() -> EnclosurePolicy {
    EnclosurePolicy {
        enclosure: name("chat"),
        identity_providers: vec![IdentityProvider {
            issuer: "https://idp.example".to_owned(),
            audience: "casemate".to_owned(),
            groups_claim: "groups".to_owned(),
        }],
        stages: vec![
            StagePolicy {
                stage: name("redact"),
                flows: vec![
                    flow(group("analysts"), &["chat"], &["small@1"], Some(256)),
                    flow(
                        group("admins"),
                        &["chat", "embed"],
                        &["large@1", "small@1"],
                        None,
                    ),
                ],
            },
            StagePolicy {
                stage: name("infer"),
                flows: vec![flow(
                    Caller::Stage(stage_id("chat", "redact")),
                    &["chat", "embed"],
                    &["small@1", "large@1"],
                    Some(512),
                )],
            },
        ],
    }
}

fn policy() -> Policy {
    Policy::new(domain()).with(chat()).unwrap()
}

fn person(groups: &[&str], routes: Option<&[&str]>, models: &[&str]) -> Result<Grant, Refusal> {
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let routes: Option<Vec<String>> =
        routes.map(|routes| routes.iter().map(ToString::to_string).collect());
    let models: Vec<String> = models.iter().map(ToString::to_string).collect();
    let wish = Wish {
        routes: routes.as_deref(),
        models: &models,
    };
    policy().grant_person(&stage_id("chat", "redact"), &groups, wish)
}

fn code(result: Result<Grant, Refusal>) -> &'static str {
    result.unwrap_err().code
}

#[test]
fn a_group_gets_what_its_flow_says() {
    let grant = person(&["other", "analysts"], None, &[]).unwrap();
    assert_eq!(grant.stage, name("redact"));
    assert_eq!(grant.routes, [name("chat")]);
    assert_eq!(grant.models, ["small@1".parse().unwrap()]);
    assert_eq!(grant.limits.max_tokens, Some(256));
}

#[test]
fn whoever_is_in_no_declared_group_gets_nothing() {
    for groups in [
        &[][..],
        &["other"],
        &["Analysts"],
        &["analysts "],
        &["redact"],
    ] {
        assert_eq!(code(person(groups, None, &[])), "no_flow");
    }
}

#[test]
fn a_person_is_not_a_stage_whatever_the_group_is_called() {
    let groups = vec![stage_id("chat", "redact").to_string()];
    let wish = Wish::default();
    let result = policy().grant_person(&stage_id("chat", "infer"), &groups, wish);
    assert_eq!(code(result), "no_flow");
}

#[test]
fn asking_for_less_gives_less_and_asking_for_more_gives_nothing() {
    let grant = person(&["admins"], Some(&["embed"]), &["large@1"]).unwrap();
    assert_eq!(
        (grant.routes, grant.models),
        (vec![name("embed")], vec!["large@1".parse().unwrap()])
    );
    assert_eq!(code(person(&["analysts"], Some(&["embed"]), &[])), "routes");
    assert_eq!(
        code(person(&["analysts"], Some(&["chat", "embed"]), &[])),
        "routes"
    );
    assert_eq!(code(person(&["analysts"], None, &["large@1"])), "models");
    assert_eq!(code(person(&["analysts"], None, &["small@2"])), "models");
    assert_eq!(code(person(&["analysts"], None, &["small"])), "models");
}

#[test]
fn a_grant_is_never_the_sum_of_two_flows() {
    let both = ["analysts", "admins"];
    // The first flow that allows it all counts, with its own limits.
    assert_eq!(
        person(&both, None, &[]).unwrap().limits.max_tokens,
        Some(256)
    );
    assert_eq!(
        person(&both, Some(&["embed"]), &[])
            .unwrap()
            .limits
            .max_tokens,
        None
    );
    let mut split = chat();
    split.stages[0].flows = vec![
        flow(group("one"), &["chat"], &["small@1"], None),
        flow(group("two"), &["embed"], &["large@1"], None),
    ];
    let policy = Policy::new(domain()).with(split).unwrap();
    let groups = vec!["one".to_owned(), "two".to_owned()];
    let (routes, models) = (vec!["chat".to_owned()], vec!["large@1".to_owned()]);
    let wish = Wish {
        routes: Some(&routes),
        models: &models,
    };
    let result = policy.grant_person(&stage_id("chat", "redact"), &groups, wish);
    assert_eq!(code(result), "models");
}

#[test]
fn unknown_stages_enclosures_and_trust_domains_are_no_targets() {
    let groups = vec!["analysts".to_owned()];
    let foreign: TrustDomain = "other.internal".parse().unwrap();
    for id in [
        stage_id("chat", "other"),
        stage_id("other", "redact"),
        foreign.stage(&name("chat"), &name("redact")),
        domain().issuer(),
        domain().id(),
    ] {
        let result = policy().grant_person(&id, &groups, Wish::default());
        assert_eq!(code(result), "unknown_stage", "{id}");
    }
}

fn chain(held: &Grant, next: &str, routes: Option<&[&str]>) -> Result<Grant, Refusal> {
    let routes: Option<Vec<String>> =
        routes.map(|routes| routes.iter().map(ToString::to_string).collect());
    let wish = Wish {
        routes: routes.as_deref(),
        models: &[],
    };
    policy().grant_chain(&stage_id("chat", "redact"), &name(next), held, wish)
}

#[test]
fn along_the_chain_a_grant_only_becomes_narrower() {
    let held = person(&["analysts"], None, &[]).unwrap();
    let next = chain(&held, "infer", None).unwrap();
    assert_eq!(next.stage, name("infer"));
    assert_eq!(next.routes, [name("chat")]);
    assert_eq!(next.models, ["small@1".parse().unwrap()]);
    assert_eq!(next.limits.max_tokens, Some(256));
    assert_eq!(
        code(chain(&held, "infer", Some(&["embed"]))),
        "beyond_subject"
    );
    assert_eq!(
        code(chain(&held, "infer", Some(&["chat", "embed"]))),
        "beyond_subject"
    );
    let wide = person(&["admins"], None, &[]).unwrap();
    assert_eq!(
        chain(&wide, "infer", None).unwrap().limits.max_tokens,
        Some(512)
    );
}

#[test]
fn a_chain_goes_only_where_a_flow_goes() {
    let held = person(&["analysts"], None, &[]).unwrap();
    assert_eq!(code(chain(&held, "redact", None)), "no_flow");
    assert_eq!(code(chain(&held, "elsewhere", None)), "unknown_stage");
    let mut other = held.clone();
    other.stage = name("infer");
    assert_eq!(
        code(chain(&other, "infer", None)),
        "subject_token_of_another_stage"
    );
    let mut nothing = held.clone();
    nothing.routes = vec![name("embed")];
    assert_eq!(
        chain(&nothing, "infer", None).unwrap().routes,
        [name("embed")]
    );
    nothing.routes = vec![name("other")];
    assert_eq!(code(chain(&nothing, "infer", None)), "beyond_subject");
    let mut model = held;
    model.models = vec!["other@1".parse().unwrap()];
    assert_eq!(code(chain(&model, "infer", None)), "beyond_subject");
}

#[test]
fn a_policy_with_a_flow_from_elsewhere_is_not_taken() {
    for id in [stage_id("other", "redact"), domain().issuer()] {
        let mut bad = chat();
        bad.stages[1].flows[0].from = Caller::Stage(id);
        let taken = Policy::new(domain()).with(bad);
        assert!(matches!(taken, Err(TakePolicyError::Foreign(_))));
    }
    let mut bad = chat();
    bad.identity_providers[0].issuer = "http://idp.example".to_owned();
    let taken = Policy::new(domain()).with(bad);
    assert!(matches!(taken, Err(TakePolicyError::Provider { .. })));
    let mut bad = chat();
    bad.stages[1].stage = name("redact");
    bad.stages[1].flows.clear();
    assert!(matches!(
        Policy::new(domain()).with(bad),
        Err(TakePolicyError::Twice(_))
    ));
}

#[test]
fn a_removed_enclosure_grants_nothing_and_its_providers_are_gone() {
    let policy = policy().without(&name("chat"));
    assert!(policy.issuers().is_empty());
    assert!(policy.providers_of("https://idp.example").is_empty());
    assert!(!policy.has_stage(&stage_id("chat", "redact")));
}

#[test]
fn a_login_at_one_enclosures_provider_does_not_count_at_another_enclosure() {
    let mut second = chat();
    second.enclosure = name("second");
    second.identity_providers[0].issuer = "https://idp.second.example".to_owned();
    second.stages.truncate(1);
    let policy = policy().with(second).unwrap();
    let stage = stage_id("second", "redact");
    assert!(
        policy
            .providers_for(&stage, "https://idp.example")
            .is_empty()
    );
    assert_eq!(
        policy
            .providers_for(&stage, "https://idp.second.example")
            .len(),
        1
    );
}
