use super::*;

#[test]
fn a_reference_is_taken_apart() {
    let at = Place::default();
    let image = Image::parse("registry:5000/a/b:v1.2.3-cu@sha256:00", at);
    assert_eq!(image.repository, "registry:5000/a/b");
    assert_eq!(image.tag, Some("v1.2.3-cu"));
    assert_eq!(image.digest, Some("sha256:00"));
    assert_eq!(image.version(), [1, 2, 3]);
    let image = Image::parse("registry:5000/a", at);
    assert_eq!((image.repository, image.tag), ("registry:5000/a", None));
    assert_eq!(Image::parse("triton:26.03-py3", at).version(), [26, 3]);
    assert!(Image::parse("a:latest", at).version().is_empty());
}

#[test]
fn shell_words_are_split_as_a_shell_would() {
    let words = shell_words("vllm serve 'a b' --x=\"1 2\" \\\n --y z&&echo \"\"; true");
    assert_eq!(
        words,
        [
            "vllm", "serve", "a b", "--x=1 2", "--y", "z", "&&", "echo", "", ";", "true"
        ]
    );
}

#[test]
fn names_of_flags_are_the_same_with_dashes_and_underscores() {
    assert!(same_flag("--trust-remote-code", "--trust_remote_code"));
    assert!(!same_flag("--trust-remote-code", "--trust-remote-codes"));
    assert!(!same_flag("serve", "serve"));
}
