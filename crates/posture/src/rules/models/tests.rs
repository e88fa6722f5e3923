use super::*;

#[test]
fn hub_names_are_told_from_paths() {
    for name in ["Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B-Instruct"] {
        assert!(is_hub_name(name), "{name}");
    }
    for other in [
        "/models/llama",
        "./a/b",
        "llama",
        "a/b/c",
        "s3://a/b",
        "a/",
        "../b/c",
    ] {
        assert!(!is_hub_name(other), "{other}");
    }
}

#[test]
fn only_a_whole_commit_names_content() {
    let commit = "b968826d9c46dd6066d109eabc6255188de91218";
    assert!(is_commit(commit));
    assert!(ends_in_commit(&format!("Qwen/Qwen3-8B@{commit}")));
    assert!(ends_in_commit(&format!("Qwen/Qwen3-8B:{commit}")));
    assert!(!ends_in_commit("Qwen/Qwen3-8B@main"));
    assert!(!ends_in_commit("Qwen/Qwen3-8B@b968826"));
    assert!(!is_commit("main"));
}
