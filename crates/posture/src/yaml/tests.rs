use super::*;
use crate::place::Files;

fn stream(text: &str) -> (Files, Stream) {
    let mut files = Files::default();
    let file = files.add("test.yaml", text);
    let stream = read(file, text);
    (files, stream)
}

#[test]
fn every_value_knows_its_bytes() {
    let text = "# c\na:\n  - name: \"x y\" # why\n    list: [1, two]\n    ü: ñandú  \n  - {k: v}\nb: |\n  text\nlast: 1\n";
    let (files, stream) = stream(text);
    assert!(stream.error.is_none());
    let root = &stream.documents[0];
    let first = &root.list("a")[0];
    let shown = |node: &Node| files.text(node.place).to_owned();
    assert_eq!(shown(first.get("name").unwrap()), "\"x y\"");
    assert_eq!(shown(first.get("list").unwrap()), "[1, two]");
    assert_eq!(shown(&first.list("list")[1]), "two");
    assert_eq!(shown(first.get("ü").unwrap()), "ñandú");
    assert_eq!(shown(&root.list("a")[1]), "{k: v}");
    assert_eq!(shown(root.get("last").unwrap()), "1");
    assert_eq!(first.get("name").unwrap().place.line, 3);
    assert_eq!(first.get("name").unwrap().place.column, 11);
}

#[test]
fn documents_aliases_and_merge_keys_are_read() {
    let (_, stream) = stream(
        "base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nscalar: &s hello\nagain: *s\n---\n---\nkind: Second\n",
    );
    assert!(stream.error.is_none(), "{:?}", stream.error);
    assert_eq!(stream.documents.len(), 2);
    let used = stream.documents[0].get("use").unwrap();
    assert_eq!(
        (used.text_at("a"), used.text_at("b")),
        (Some("1"), Some("3"))
    );
    assert_eq!(stream.documents[0].text_at("again"), Some("hello"));
    assert_eq!(stream.documents[1].text_at("kind"), Some("Second"));
}

#[test]
fn a_bomb_of_aliases_is_refused_quickly() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        text.push_str(&format!(
            "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n"
        ));
    }
    let started = std::time::Instant::now();
    let (_, stream) = stream(&text);
    assert!(stream.error.unwrap().message.contains("aliases"));
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn an_alias_that_holds_itself_is_refused() {
    let (_, stream) = stream("a: &a\n  b: *a\n");
    assert!(stream.error.unwrap().message.contains("hold itself"));
}

#[test]
fn depth_is_bounded() {
    let (_, stream) = stream(&"[".repeat(10_000));
    let message = stream.error.unwrap().message;
    assert!(
        message.contains("deep") || message.contains("not YAML"),
        "{message}"
    );
    let (_, stream) = self::stream(&"- ".repeat(10_000));
    assert!(stream.error.is_some());
}

#[test]
fn a_mistake_keeps_the_documents_before_it() {
    let (_, stream) = stream("kind: A\n---\nkind: B\n---\na: [\n");
    assert_eq!(stream.documents.len(), 2);
    let error = stream.error.unwrap();
    assert!(error.message.contains("not YAML"), "{}", error.message);
}

#[test]
fn json_is_read() {
    let (_, stream) = stream("{\"kind\": \"Pod\", \"spec\": {\"hostIPC\": true}}");
    assert_eq!(
        stream.documents[0]
            .at(&["spec", "hostIPC"])
            .and_then(Node::boolean),
        Some(true)
    );
}

#[test]
fn a_block_ends_with_its_last_word() {
    let text = "a: &a {x: 1} # c\nonly:\n  <<: *a\nnext:\n  - k: v\n    n:\n# c\nlast: 1\n";
    let (files, stream) = stream(text);
    let root = &stream.documents[0];
    let shown = |key: &str| files.text(root.get(key).unwrap().place).to_owned();
    assert_eq!(shown("a"), "&a {x: 1}");
    assert_eq!(shown("only"), "<<: *a");
    assert!(
        shown("next").ends_with("k: v\n    n"),
        "{:?}",
        shown("next")
    );
}

#[test]
fn json_is_read_as_other_programs_write_it() {
    let text = "{\n\t\"kind\": \"Pod\",\n\t\"a\": [\n\t\t\"x\\/y\",\n\t\t\"\\ud83d\\ude00\"\n\t],\r\n\t\"b\":1,\"c\":\"d\",\"e\":{}}\n";
    let (files, stream) = stream(text);
    assert!(stream.error.is_none(), "{:?}", stream.error);
    let root = &stream.documents[0];
    assert_eq!(root.list("a")[0].text(), Some("x/y"));
    assert_eq!(root.list("a")[1].text(), Some("\u{fffd}\u{fffd}"));
    assert_eq!(files.text(root.get("c").unwrap().place), "\"d\"");
    assert_eq!(root.text_at("c"), Some("d"));
}

#[test]
fn a_byte_order_mark_and_foreign_line_ends_move_nothing() {
    let text = "\u{feff}kind: A\r\nname: b # c\r\n---\r\nkind: C\r\n";
    let (files, stream) = stream(text);
    assert!(stream.error.is_none(), "{:?}", stream.error);
    assert_eq!(stream.documents.len(), 2);
    let first = &stream.documents[0];
    assert_eq!(files.text(first.get("kind").unwrap().place), "A");
    assert_eq!(files.text(first.get("name").unwrap().place), "b");
    assert_eq!(
        files.text(stream.documents[1].get("kind").unwrap().place),
        "C"
    );
}

#[test]
fn the_last_of_equal_keys_counts_and_it_is_told() {
    let (_, stream) = stream("a: {b: false, c: 1, b: true}\na2: {b: true, b: }\n");
    assert!(stream.error.is_none() && stream.doubts.is_empty());
    assert_eq!(
        stream.documents[0].at(&["a", "b"]).unwrap().boolean(),
        Some(true)
    );
    assert!(stream.documents[0].at(&["a2", "b"]).is_none());
    let lines: Vec<u32> = stream.doubled.iter().map(|one| one.place.line).collect();
    assert_eq!(lines, [1, 2]);
}

#[test]
fn tags_say_what_a_scalar_is() {
    let (_, stream) = stream(
        "a: !!bool \"true\"\nb: !!str true\nc: !!binary UG9k\nd: !!null \"\"\ne: !<tag:yaml.org,2002:bool> 'yes'\n",
    );
    assert!(stream.error.is_none(), "{:?}", stream.error);
    let root = &stream.documents[0];
    assert_eq!(root.boolean_at("a"), Some(true));
    assert_eq!(root.boolean_at("b"), None);
    assert_eq!(root.text_at("c"), Some("Pod"));
    assert!(root.get("d").is_none());
    assert_eq!(root.boolean_at("e"), Some(true));
    let (_, stream) = self::stream("a: !!binary \"/w==\"\n");
    assert!(stream.error.unwrap().message.contains("!!binary"));
}

#[test]
fn a_merge_that_other_readers_take_differently_is_told() {
    let told = |text: &str| stream(text).1.doubts.len();
    assert_eq!(told("x: &x {p: true}\ny: {p: false, <<: *x}\n"), 1);
    assert_eq!(told("x: &x {p: true}\ny: {<<: *x, p: false}\n"), 0);
    assert_eq!(told("x: &x {p: true}\ny: {p: true, <<: *x}\n"), 0);
    let (_, stream) = stream("x: &x {p: true}\ny: {\"<<\": *x}\n");
    assert!(stream.documents[0].at(&["y", "p"]).is_none());
}

#[test]
fn a_line_end_of_yaml_1_1_alone_is_told() {
    for end in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let (_, stream) = stream(&format!("a: 1\nb: 2 # c{end}d: 3\n"));
        assert_eq!(stream.doubts.len(), 1);
        assert_eq!(stream.doubts[0].place.line, 2);
        let (_, stream) = self::stream(&format!("{{\"a\": \"b{end}c\"}}\n"));
        assert!(stream.doubts.is_empty());
    }
}

#[test]
fn the_latest_value_of_an_anchor_counts() {
    let (_, stream) = stream("a: &x false\nb: *x\nc: &x true\nd: *x\n");
    assert_eq!(stream.documents[0].boolean_at("b"), Some(false));
    assert_eq!(stream.documents[0].boolean_at("d"), Some(true));
}

#[test]
fn a_long_text_behind_many_aliases_is_refused_before_it_is_copied() {
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1_000_000),
        vec!["*a"; 1_000].join(", ")
    );
    let (_, stream) = stream(&text);
    assert!(stream.error.unwrap().message.contains("bytes of text"));
}

#[test]
fn files_share_one_budget_and_give_back_what_they_leave() {
    let budget = Budget(AtomicUsize::new(AHEAD + 10));
    for _ in 0..3 {
        let small = read_within(FileId(0), "a: 1\n", &budget);
        assert!(small.error.is_none());
    }
    let large = read_within(FileId(0), &"- a\n".repeat(AHEAD + 10), &budget);
    assert!(large.error.unwrap().message.contains("together"));
}
