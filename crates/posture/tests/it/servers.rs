//! What rules about servers say beyond found and not found: how bad, how to mend, and what cannot be told.

use casemate_posture::estate::Estate;
use casemate_posture::rule::{Change, Finding, NotEvaluable, Severity};
use casemate_posture::scan::{Corpus, judge};

/// What `rule` finds in a text, and what it cannot tell.
fn by(rule: &str, text: &str) -> (Vec<Finding>, Vec<NotEvaluable>) {
    let mut corpus = Corpus::default();
    corpus.add_yaml("manifest.yaml", text);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let judgement = judge(&estate);
    let findings = judgement
        .findings
        .into_iter()
        .filter(|one| one.rule == rule);
    let unknown = judgement
        .not_evaluable
        .into_iter()
        .filter(|one| one.rule == Some(rule));
    (findings.collect(), unknown.collect())
}

fn vllm(image: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: llm, labels: {{ app: llm }} }}\nspec:\n  containers:\n    \
         - name: server\n      image: {image}\n      args: [\"--model\", \"/models/llama\"]\n{rest}"
    )
}

const BALANCER: &str = "---\napiVersion: v1\nkind: Service\nmetadata: { name: llm }\nspec:\n  type: LoadBalancer\n  \
                        selector: { app: llm }\n  ports: [{ port: 8000 }]\n";

fn policy(from: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{ name: llm }}\nspec:\n  \
         podSelector: {{ matchLabels: {{ app: llm }} }}\n  policyTypes: [Ingress]\n  ingress: [{{ from: [{from}] }}]\n"
    )
}

#[test]
fn a_digest_or_a_moving_tag_does_not_say_a_version() {
    let digest = "0123456789abcdef".repeat(4);
    for image in [
        format!("vllm/vllm-openai@sha256:{digest}"),
        "vllm/vllm-openai:latest".to_owned(),
        "vllm/vllm-openai".to_owned(),
        "\"vllm/vllm-openai:{{ .Values.tag }}\"".to_owned(),
    ] {
        let (found, unknown) = by("AI-005", &vllm(&image, ""));
        assert!(found.is_empty(), "{image}: {found:?}");
        assert_eq!(unknown.len(), 1, "{image}");
    }
}

#[test]
fn a_version_is_judged_by_numbers_and_not_by_letters() {
    for (tag, old) in [
        ("v0.9.2", true),
        ("v0.10.1.1", true),
        ("v0.14.1", false),
        ("v0.20.0", false),
        ("v1.0.0", false),
    ] {
        let (found, _) = by("AI-005", &vllm(&format!("vllm/vllm-openai:{tag}"), ""));
        assert_eq!(!found.is_empty(), old, "{tag}");
    }
}

#[test]
fn a_key_that_a_bundle_may_hold_is_neither_there_nor_missing() {
    let bundle = "      envFrom: [{ secretRef: { name: settings } }]\n";
    let text = vllm("vllm/vllm-openai:v0.16.0", bundle) + BALANCER;
    let (found, unknown) = by("AI-002", &text);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(unknown.len(), 1);
}

#[test]
fn a_policy_that_lets_in_pods_only_closes_a_load_balancer() {
    let open = vllm("vllm/vllm-openai:v0.16.0", "") + BALANCER;
    assert_eq!(by("AI-002", &open).0.len(), 1);
    let pods = open.clone() + &policy("{ podSelector: { matchLabels: { app: gateway } } }");
    assert!(by("AI-002", &pods).0.is_empty());
    let anybody = open + &policy("{ ipBlock: { cidr: 0.0.0.0/0 } }");
    assert_eq!(by("AI-002", &anybody).0.len(), 1);
}

#[test]
fn a_mesh_that_names_callers_is_authentication_and_one_that_allows_all_is_none() {
    let mesh = |rules: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{ name: llm }}\nspec:\n  \
             selector: {{ matchLabels: {{ app: llm }} }}\n  rules: {rules}\n"
        )
    };
    let open = vllm("vllm/vllm-openai:v0.16.0", "") + BALANCER;
    let named = open.clone()
        + &mesh("[{ from: [{ source: { principals: [cluster.local/ns/web/sa/web] } }] }]");
    assert!(by("AI-002", &named).0.is_empty());
    let everybody = open + &mesh("[{}]");
    assert_eq!(by("AI-002", &everybody).0.len(), 1);
}

#[test]
fn code_of_a_pinned_commit_is_less_than_code_of_today() {
    let server = |revision: &str| {
        let given =
            format!("      command: [vllm, serve, example/model, --trust-remote-code{revision}]\n");
        vllm("vllm/vllm-openai:v0.16.0", "")
            .replace("      args: [\"--model\", \"/models/llama\"]\n", &given)
    };
    let severity = |revision: &str| {
        by("AI-004", &server(revision))
            .0
            .first()
            .map(|finding| finding.severity)
    };
    assert_eq!(severity(""), Some(Severity::High));
    assert_eq!(severity(", --revision, main"), Some(Severity::High));
    assert_eq!(
        severity(", --revision, 9c925d64d72725edaf899c6cb9c377fd0709d9c5"),
        Some(Severity::Low)
    );
}

#[test]
fn switches_are_mended_where_they_stand() {
    let text = vllm(
        "vllm/vllm-openai:v0.16.0",
        "      env: [{ name: VLLM_SERVER_DEV_MODE, value: \"1\" }]\n",
    );
    let (found, _) = by("AI-001", &text);
    let place = found.first().map(|finding| finding.place).unwrap();
    let changed = Change::Replace {
        place,
        text: "\"0\"".to_owned(),
    };
    assert_eq!(found.first().unwrap().changes, [changed]);
}

#[test]
fn a_loading_api_that_nothing_leads_to_is_less_than_one_that_is_published() {
    let triton = "apiVersion: v1\nkind: Pod\nmetadata: { name: llm, labels: { app: llm } }\nspec:\n  containers:\n    \
                  - name: triton\n      image: nvcr.io/nvidia/tritonserver:26.05-py3\n      \
                  command: [tritonserver, --model-repository=/models, --model-control-mode=explicit]\n";
    let severity = |text: &str| by("AI-019", text).0.first().map(|finding| finding.severity);
    assert_eq!(severity(triton), Some(Severity::High));
    assert_eq!(
        severity(&(triton.to_owned() + BALANCER)),
        Some(Severity::Critical)
    );
}

#[test]
fn what_installs_packages_when_it_starts_keeps_its_capabilities_until_a_person_takes_them() {
    let pod = |script: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: a }}\nspec:\n  containers:\n    - name: server\n      \
             image: ubuntu:22.04\n      command: [bash, -c]\n      args: [\"{script}\"]\n"
        )
    };
    let (findings, _) = by(
        "AI-097",
        &pod("apt-get update && apt-get install -y git; vllm serve m"),
    );
    assert_eq!(findings.len(), 1);
    assert!(findings[0].changes.is_empty(), "{:?}", findings[0].changes);
    let (findings, _) = by("AI-097", &pod("exec vllm serve m"));
    assert!(!findings[0].changes.is_empty());
}

#[test]
fn a_role_that_nobody_is_bound_to_is_worth_less() {
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: { name: caches-admin }\n\
                rules: [{ apiGroups: [serving.example], resources: [caches], verbs: [\"*\"] }]\n";
    let binding = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: { name: a }\n\
                   roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: caches-admin }\n\
                   subjects: [{ kind: Group, name: developers }]\n";
    let severity = |text: &str| by("AI-116", text).0[0].severity;
    assert_eq!(severity(role), Severity::Low);
    assert_eq!(severity(&format!("{role}{binding}")), Severity::Medium);
}
