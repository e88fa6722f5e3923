use std::fs;

use super::*;

const FILE: &str = r#"apiVersion: casemate.dev/v1alpha1
kind: Enclosure
metadata: { name: chat }
spec:
  trustDomain: example.internal
  identityProviders:
    - { issuer: "https://idp.example.internal", audience: casemate }
  models:
    - { name: small, version: "1", sealed: ./small.sealed, signers: [./signing.pub], key: "file:./identity.age" }
  stages:
    - name: redact
      profile: http
      run: { image: ./redact.oci }
      serves: 8080
    - name: infer
      profile: vllm
      run: { host: [/usr], command: [/usr/bin/no-such-server] }
      models: [small@1]
      serves: 8000
  flows:
    - { from: { group: analysts }, to: redact, routes: [chat] }
    - { from: { stage: redact }, to: infer, routes: [chat], models: [small@1] }
  exposes:
    - { stage: redact, listen: "127.0.0.1:8443" }
"#;

fn missing(directory: &Path) -> Vec<String> {
    let file = directory.join("chat.yaml").display().to_string();
    match enclosure::parse_and_look(&file, FILE, &|mentioned| files::trouble_at(mentioned)) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .list()
            .iter()
            .map(|one| format!("{}: {}", one.field, one.message))
            .collect(),
    }
}

#[test]
fn every_file_that_is_not_there_is_a_mistake_at_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let found = missing(directory.path());
    let fields: Vec<&str> = found
        .iter()
        .filter_map(|one| one.split(':').next())
        .collect();
    assert_eq!(
        fields,
        [
            "spec.models[0].sealed",
            "spec.models[0].signers[0]",
            "spec.models[0].key",
            "spec.stages[0].run.image",
            "spec.stages[1].run.command[0]",
        ],
        "{found:#?}"
    );
    for name in ["signing.pub", "identity.age", "redact.oci", "small.sealed"] {
        fs::write(directory.path().join(name), "x").expect("is written");
    }
    let found = missing(directory.path());
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].ends_with("small.sealed` is not a directory"),
        "{found:#?}"
    );
}

#[test]
fn a_class_that_nobody_has_verified_is_said_to_be_closed() {
    let enclosure = enclosure::parse("chat.yaml", FILE).unwrap_or_else(|found| panic!("{found}"));
    let closed = closed_classes(&enclosure);
    assert_eq!(closed.len(), 1, "{closed:#?}");
    assert!(
        closed[0].starts_with(
            "`chat` of stage `infer` is declared, closed until verified on your server"
        ),
        "{closed:#?}"
    );
}
