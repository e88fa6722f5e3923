use proptest::prelude::*;

use super::matches;

/// The same question, answered the long way.
fn slowly(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|from| slowly(rest, &text[from..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(byte, text)| byte == first && slowly(rest, text)),
    }
}

#[test]
fn a_star_stands_for_any_run_and_nothing_else_does() {
    assert!(matches(
        "nvcr.io/nim/*",
        "nvcr.io/nim/meta/llama-3.1-8b-instruct"
    ));
    assert!(matches("*/vllm-openai", "vllm/vllm-openai"));
    assert!(!matches("*/vllm-openai", "vllm/vllm-openai-client"));
    assert!(matches("kserve/*server", "kserve/sklearnserver"));
    assert!(!matches("HF_?", "HF_X"));
    assert!(!matches("HF_*", "hf_token"));
}

proptest! {
    #[test]
    fn every_pattern_matches_what_it_should(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
        prop_assert_eq!(matches(&pattern, &text), slowly(pattern.as_bytes(), text.as_bytes()));
    }
}
