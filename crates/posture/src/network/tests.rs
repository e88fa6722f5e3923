use super::*;
use crate::scan::Corpus;

const SERVING: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: llm, namespace: serving }
spec:
  selector: { matchLabels: { app: llm } }
  template:
    metadata:
      labels: { app: llm, version: "7" }
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.14.0
          args: [--model, /models/llm]
          env: [{ name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://collector.observe.svc:4317" }]
          ports: [{ containerPort: 8000, name: http }]
---
apiVersion: v1
kind: Service
metadata: { name: llm, namespace: serving, labels: { app: llm } }
spec:
  selector: { app: llm }
  ports: [{ port: 80, targetPort: http, name: http }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: chat, namespace: web }
spec:
  selector: { matchLabels: { app: chat } }
  template:
    metadata: { labels: { app: chat } }
    spec:
      containers:
        - name: chat
          image: registry.example.com/chat:1
          env:
            - { name: OPENAI_API_BASE, value: "http://llm.serving.svc.cluster.local/v1" }
            - { name: SEARCH, value: "https://search.example.com/api" }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: front, namespace: serving }
spec:
  rules:
    - http:
        paths:
          - path: /
            pathType: Prefix
            backend: { service: { name: llm, port: { name: http } } }
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: { name: llm, namespace: serving }
spec:
  selector: { matchLabels: { app: llm } }
  endpoints: [{ port: http }]
---
apiVersion: v1
kind: Service
metadata: { name: collector, namespace: observe }
spec: { selector: { app: collector }, ports: [{ port: 4317 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: collector, namespace: observe, labels: { app: collector } }
spec: { containers: [{ name: collector, image: "otel/collector:1", ports: [{ containerPort: 4317 }] }] }
"#;

fn with<T>(texts: &[&str], settings: &Settings, use_graph: impl FnOnce(&Graph<'_>) -> T) -> T {
    let mut corpus = Corpus::default();
    for (number, text) in texts.iter().enumerate() {
        corpus.add_yaml(&format!("{number}.yaml"), text);
    }
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    assert!(
        corpus.not_evaluable.is_empty(),
        "{:?}",
        corpus.not_evaluable
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    use_graph(&graph(&estate, settings))
}

fn lines(graph: &Graph<'_>) -> Vec<String> {
    graph
        .flows
        .iter()
        .map(|flow| {
            format!(
                "{} -> {} {} {} {}",
                graph.title(&flow.from),
                graph.title(&flow.to),
                port_text(flow),
                flow.purpose,
                flow.standing.as_str()
            )
        })
        .collect()
}

#[test]
fn flows_follow_services_ingresses_scrapes_and_addresses() {
    let found = with(&[SERVING], &Settings::default(), lines);
    let expected = [
        "ingress (ingress-nginx) -> Deployment/serving/llm 8000 inference open",
        "monitoring (monitoring) -> Deployment/serving/llm 8000 metrics open",
        "Deployment/serving/llm -> Pod/observe/collector 4317 service open",
        "Deployment/web/chat -> Deployment/serving/llm 8000 inference open",
        "Deployment/web/chat -> search.example.com 443 call open",
        "Deployment/web/chat -> name service 53/udp names open",
        "any pod -> Deployment/serving/llm any undeclared open",
        "Deployment/serving/llm -> anywhere any undeclared open",
    ];
    for line in expected {
        assert!(found.iter().any(|one| one == line), "{line}\n{found:#?}");
    }
}

#[test]
fn what_is_rendered_keeps_every_declared_flow_and_closes_every_other() {
    let settings = Settings::default();
    let policies = with(&[SERVING], &settings, |graph| {
        render(&walls(graph), Dialect::Kubernetes)
    });
    let after = with(&[SERVING, &policies], &settings, |graph| {
        graph
            .flows
            .iter()
            .map(|flow| (flow.purpose, flow.standing))
            .collect::<Vec<_>>()
    });
    assert!(after.len() > 6, "{after:?}");
    assert!(
        after
            .iter()
            .all(|(purpose, standing)| *purpose != Purpose::Undeclared
                && *standing == Standing::Allowed),
        "{after:?}\n{policies}"
    );
}

/// The reason for the test above: a policy with one opening less breaks a declared flow, and it is seen.
#[test]
fn an_opening_less_is_seen_as_a_denied_flow() {
    let settings = Settings::default();
    let policies = with(&[SERVING], &settings, |graph| {
        let mut walls = walls(graph);
        let llm = walls.iter_mut().find(|one| one.name == "llm").unwrap();
        llm.ingress.retain(
            |door| !matches!(&door.peer, Peer::Pods { namespace, .. } if namespace == "web"),
        );
        render(&walls, Dialect::Kubernetes)
    });
    let found = with(&[SERVING, &policies], &settings, lines);
    assert!(
        found.contains(
            &"Deployment/web/chat -> Deployment/serving/llm 8000 inference denied".to_owned()
        ),
        "{found:#?}"
    );
}

#[test]
fn a_named_caller_is_let_in_and_nobody_else() {
    let only_service = SERVING.split("---").take(2).collect::<Vec<_>>().join("---");
    let settings = Settings {
        callers: vec!["tools/app=agent".parse().unwrap()],
        ..Settings::default()
    };
    let text = with(&[&only_service], &settings, |graph| {
        render(&walls(graph), Dialect::Kubernetes)
    });
    assert!(text.contains("app: agent"), "{text}");
    let without = with(&[&only_service], &Settings::default(), |graph| {
        render(&walls(graph), Dialect::Kubernetes)
    });
    assert!(without.contains("no caller is declared"), "{without}");
    assert!("a/b".parse::<Caller>().is_err() && "a/b='x'".parse::<Caller>().is_err());
}

#[test]
fn the_three_dialects_are_stable() {
    for (name, dialect) in [
        ("kubernetes", Dialect::Kubernetes),
        ("cilium", Dialect::Cilium),
        ("calico", Dialect::Calico),
    ] {
        let text = with(&[SERVING], &Settings::default(), |graph| {
            render(&walls(graph), dialect)
        });
        let mut corpus = Corpus::default();
        corpus.add_yaml("policies.yaml", &text);
        assert!(
            corpus.errors.is_empty() && corpus.not_evaluable.is_empty(),
            "{text}"
        );
        insta::assert_snapshot!(format!("policies_{name}"), text);
    }
}

#[test]
fn hostile_names_stay_inside_comments_values_and_markup() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"x\\n---\\nkind: Evil\"\n  namespace: \"a\\\"b' || all()\"\n  labels: {\"k\\n\": \"v' || all() || k == '\"}\nspec:\n  containers:\n    - name: c\n      image: vllm/vllm-openai:1\n      env: [{name: U, value: \"https://<script>alert(1)</script>.example.com/\"}, {name: V, value: \"https://ok.example.com\"}]\n";
    with(&[text], &Settings::default(), |graph| {
        for dialect in [Dialect::Kubernetes, Dialect::Cilium, Dialect::Calico] {
            let rendered = render(&walls(graph), dialect);
            assert!(!rendered.contains("\nkind: Evil"), "{rendered}");
            let mut corpus = Corpus::default();
            corpus.add_yaml("policies.yaml", &rendered);
            assert!(corpus.errors.is_empty(), "{rendered}");
            if dialect == Dialect::Calico {
                let selectors = rendered.lines().filter(|line| line.contains("elector:"));
                assert!(selectors.clone().count() > 2);
                assert!(
                    selectors.clone().all(|line| !line.contains("||")),
                    "{rendered}"
                );
            }
        }
        assert!(!html(graph).contains("<script"));
    });
}

/// What becomes of the flow from the chat to the server under one policy in front of the server.
fn standing(spec: &str, more: &str) -> Standing {
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: serving}}\nspec: {spec}\n"
    );
    with(&[SERVING, &policy, more], &Settings::default(), |graph| {
        let flow = graph.flows.iter().find(|flow| {
            graph.title(&flow.from).contains("chat") && graph.title(&flow.to).contains("llm")
        });
        flow.unwrap().standing
    })
}

#[test]
fn policies_are_read_as_kubernetes_reads_them() {
    let from = |peer: &str| format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}");
    let ports =
        |port: &str| format!("{{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}");
    let labelled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, labels: {zone: a, kubernetes.io/metadata.name: x}}\n";
    for (spec, more, expected) in [
        (
            "{podSelector: {}, ingress: []}".to_owned(),
            "",
            Standing::Denied,
        ),
        (
            "{podSelector: {}, ingress: [{}]}".to_owned(),
            "",
            Standing::Allowed,
        ),
        (
            "{podSelector: {}, ingress: [{from: []}]}".to_owned(),
            "",
            Standing::Allowed,
        ),
        (
            "{podSelector: {matchLabels: {app: }}, ingress: []}".to_owned(),
            "",
            Standing::Open,
        ),
        (ports("http"), "", Standing::Allowed),
        (ports("metrics"), "", Standing::Denied),
        (ports("7000, endPort: 8000"), "", Standing::Allowed),
        (ports("7000, endPort: 7999"), "", Standing::Denied),
        (from("{podSelector: {}}"), "", Standing::Denied),
        (
            from("{podSelector: {}, namespaceSelector: }"),
            "",
            Standing::Denied,
        ),
        (from("{namespaceSelector: {}}"), "", Standing::Allowed),
        (
            from("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}}"),
            "",
            Standing::Allowed,
        ),
        (
            from("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}"),
            labelled,
            Standing::Denied,
        ),
        (
            from("{namespaceSelector: {matchLabels: {zone: a}}}"),
            "",
            Standing::Unknown,
        ),
        (
            from("{namespaceSelector: {matchLabels: {zone: a}}}"),
            labelled,
            Standing::Allowed,
        ),
        (
            from(
                "{namespaceSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}}",
            ),
            "",
            Standing::Unknown,
        ),
        (
            from(
                "{namespaceSelector: {matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}}",
            ),
            labelled,
            Standing::Denied,
        ),
        (from("{ipBlock: {cidr: 0.0.0.0/0}}"), "", Standing::Unknown),
        (
            from(
                "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]}}",
            ),
            "",
            Standing::Denied,
        ),
        (
            from("{ipBlock: {cidr: 203.0.113.0/24}}"),
            "",
            Standing::Denied,
        ),
    ] {
        assert_eq!(standing(&spec, more), expected, "{spec} {more}");
    }
}

#[test]
fn a_list_without_rules_and_without_types_closes_nothing() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: web}\nspec: {podSelector: {}, egress: []}\n";
    with(&[SERVING, policy], &Settings::default(), |graph| {
        let out = graph.flows.iter().any(|flow| {
            graph.title(&flow.from).contains("chat")
                && flow.to == Party::Anywhere
                && flow.purpose == Purpose::Undeclared
        });
        assert!(out);
    });
}

#[test]
fn no_policy_takes_the_place_of_another() {
    let pod = |kind: &str, name: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: serving, labels: {{app: {kind}}}}}\nspec: {{containers: [{{name: c, image: \"vllm/vllm-openai:v0.14.0\", env: [{{name: U, value: \"https://example.com\"}}]}}]}}\n"
        )
    };
    let texts = [
        pod("Pod", "default-deny"),
        pod("Pod", "llm"),
        pod("Pod", "LLM"),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for dialect in [Dialect::Kubernetes, Dialect::Cilium, Dialect::Calico] {
        let text = with(&texts, &Settings::default(), |graph| {
            render(&walls(graph), dialect)
        });
        let mut names: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("  name: "))
            .collect();
        assert_eq!(names.len(), 4, "{text}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4, "{text}");
    }
}
