use super::*;

fn corpus(text: &str) -> Corpus {
    let mut corpus = Corpus::default();
    corpus.add_yaml("deploy.yaml", text);
    corpus
}

const PRIVILEGED: &str = "\
kind: Pod
apiVersion: v1
metadata: {name: llm}
spec:
  containers:
    - name: server # ours
      image: vllm/vllm-openai:v0.14.0
      securityContext:
        privileged: true # GPU
";

#[test]
fn a_finding_is_gone_after_its_fix_and_nothing_else_moved() {
    let fixed = fix(&corpus(PRIVILEGED), &|finding| finding.rule == "AI-092");
    assert_eq!(fixed.left, []);
    assert_eq!(fixed.applied.len(), 1);
    assert_eq!(fixed.files.len(), 1);
    assert_eq!(
        fixed.files[0].after,
        PRIVILEGED.replace("true # GPU", "false # GPU")
    );
}

#[test]
fn nothing_is_touched_that_was_not_asked_for() {
    let fixed = fix(&corpus(PRIVILEGED), &|_| false);
    assert!(fixed.files.is_empty() && fixed.applied.is_empty() && fixed.left.is_empty());
}

#[test]
fn an_aliased_context_is_put_right_once_for_all_who_use_it() {
    let text = "kind: Pod\napiVersion: v1\nmetadata: {name: llm}\nspec:\n  containers:\n    - name: a\n      image: x:1\n      securityContext: &c {privileged: true}\n    - name: b\n      image: x:1\n      securityContext: *c\n";
    let fixed = fix(&corpus(text), &|finding| finding.rule == "AI-092");
    assert_eq!(fixed.left, []);
    assert_eq!(
        fixed.files[0].after,
        text.replace("privileged: true", "privileged: false")
    );
}
