use crate::place::Files;
use crate::yaml;

fn read(text: &str) -> super::Node {
    let mut files = Files::default();
    let file = files.add("test.yaml", text);
    yaml::read(file, text).documents.remove(0)
}

#[test]
fn booleans_are_those_of_yaml_1_1_and_only_without_quotes() {
    let node = read("{a: yes, b: Off, c: 'true', d: \"no\", e: maybe, f: TRUE}");
    let said: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|key| node.boolean_at(key))
        .to_vec();
    assert_eq!(
        said,
        [Some(true), Some(false), None, None, None, Some(true)]
    );
}

#[test]
fn a_member_that_says_nothing_is_absent() {
    let node = read("a:\nb: null\nc: ~\nd: \"\"\n");
    assert!(node.get("a").is_none() && node.get("b").is_none() && node.get("c").is_none());
    assert_eq!(node.text_at("d"), Some(""));
}

#[test]
fn a_value_that_somebody_fills_in_is_unresolved() {
    let texts = [
        ("{{ .Values.image }}", true),
        ("nim:${TAG}", true),
        ("<your-key>", true),
        ("$(NAMESPACE)", false),
        ("a < b > c", false),
        ("<a href=x/>", false),
        ("plain", false),
    ];
    for (text, unresolved) in texts {
        assert_eq!(super::is_unresolved(text), unresolved, "{text}");
    }
}
