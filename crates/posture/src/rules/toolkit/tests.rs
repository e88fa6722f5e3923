use super::*;
use crate::estate::Document;
use crate::scan::{Corpus, judge};
use crate::toolkit;

/// What `rule` finds in a toolkit configuration that is read together with a manifest: line and severity.
fn found(rule: &str, settings: &str, manifest: &str) -> Vec<(u32, Severity)> {
    let mut corpus = Corpus::default();
    let file = corpus.files.add("config.toml", settings);
    let root = toolkit::read(file, settings).unwrap();
    corpus.add_document(Document {
        kind: Kind::Toolkit,
        file,
        root,
    });
    corpus.add_yaml("manifest.yaml", manifest);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    judge(&estate)
        .findings
        .iter()
        .filter(|finding| finding.rule == rule && finding.place.file == file)
        .map(|finding| (finding.place.line, finding.severity))
        .collect()
}

const MOUNTS_ON: &str = "accept-nvidia-visible-devices-as-volume-mounts = true\n";
const NODE: &str =
    "apiVersion: v1\nkind: Node\nmetadata: {name: a, labels: {nvidia.com/gpu.clique: x.1}}\n";

#[test]
fn an_admission_policy_closes_the_way_by_mounts() {
    let policy = "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nmetadata: {name: a}\nspec:\n  rules:\n    - name: b\n      validate: {message: no /var/run/nvidia-container-devices}\n";
    assert_eq!(found("AI-081", MOUNTS_ON, policy), []);
    let other = policy.replace("nvidia-container-devices", "docker.sock");
    assert_eq!(found("AI-081", MOUNTS_ON, &other), [(1, Severity::Medium)]);
}

#[test]
fn channels_matter_more_where_nodes_share_a_fabric() {
    let settings = "[nvidia-container-cli]\n[features]\n";
    let alone = NODE.replace("nvidia.com/gpu.clique", "other");
    assert_eq!(found("AI-085", settings, &alone), [(2, Severity::Low)]);
    assert_eq!(found("AI-085", settings, NODE), [(2, Severity::Medium)]);
}

#[test]
fn a_default_stands_at_its_section_and_at_line_one_without_it() {
    assert_eq!(
        found("AI-085", "\n[nvidia-container-cli]\n", NODE),
        [(1, Severity::Medium)]
    );
    assert_eq!(
        found("AI-080", "# a\n\n[nvidia-container-cli]\n", NODE),
        [(1, Severity::High)]
    );
}

#[test]
fn the_best_settings_give_nothing() {
    let settings = "\
accept-nvidia-visible-devices-as-volume-mounts = false
accept-nvidia-visible-devices-envvar-when-unprivileged = false
disable-require = false
[nvidia-container-cli]
ldconfig = \"@/sbin/ldconfig\"
[nvidia-container-runtime]
mode = \"cdi\"
[features]
disable-cuda-compat-lib-hook = true
ignore-imex-channel-requests = true
";
    for rule in RULES {
        assert_eq!(found(rule.id, settings, NODE), [], "{}", rule.id);
    }
}
