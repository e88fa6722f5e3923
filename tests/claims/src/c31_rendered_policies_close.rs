//! C31: the policies that `casemate render network-policy` writes let through what the manifests declare, and
//! nothing else.

use casemate_posture::estate::Estate;
use casemate_posture::network::{
    Dialect, Flow, Graph, Purpose, Settings, Standing, graph, render, walls,
};
use casemate_posture::scan::Corpus;

use crate::lab::{Attempt, judge};

/// A server that one application calls by name. Nothing says that anybody else may.
const MANIFESTS: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: llm, namespace: serving }
spec:
  selector: { matchLabels: { app: llm } }
  template:
    metadata: { labels: { app: llm } }
    spec:
      containers:
        - { name: server, image: 'vllm/vllm-openai:v0.14.1', args: [--model, /models/llm], ports: [{ containerPort: 8000 }] }
---
apiVersion: v1
kind: Service
metadata: { name: llm, namespace: serving }
spec: { selector: { app: llm }, ports: [{ port: 8000 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: chat, namespace: web, labels: { app: chat } }
spec:
  containers:
    - { name: chat, image: 'chat:1', env: [{ name: LLM, value: 'http://llm.serving:8000/v1' }] }
";

fn with<T>(texts: &[&str], look: impl FnOnce(&Graph<'_>) -> T) -> T {
    let mut corpus = Corpus::default();
    for text in texts {
        corpus.add_yaml("manifests.yaml", text);
    }
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    look(&graph(&estate, &Settings::default()))
}

/// Whether somebody whom nothing declares gets through.
fn through(graph: &Graph<'_>) -> Attempt {
    let undeclared = |flow: &&Flow| flow.purpose == Purpose::Undeclared;
    match graph.flows.iter().find(undeclared) {
        Some(_) => Attempt::Worked,
        None => Attempt::Stopped("the rendered policies".to_owned()),
    }
}

#[test]
fn c31_what_is_rendered_lets_through_what_is_declared_and_nothing_else() {
    let policies = with(&[MANIFESTS], |graph| {
        render(&walls(graph), Dialect::Kubernetes)
    });
    let ours = with(&[MANIFESTS, &policies], through);
    let declared: Vec<Standing> = with(&[MANIFESTS, &policies], |graph| {
        graph.flows.iter().map(|flow| flow.standing).collect()
    });
    assert!(!declared.is_empty() && declared.iter().all(|one| *one == Standing::Allowed));
    // The same policies without the one that denies by default: whoever has no policy of its own is open.
    let others: Vec<&str> = policies
        .split("---\n")
        .filter(|document| !document.contains("name: llm\n") && !document.contains("default-deny"))
        .collect();
    let without = with(&[MANIFESTS, &others.join("---\n")], through);
    judge("C31", &ours, &without, None);
}
