use super::*;

fn refused(text: &str) -> String {
    read("a.yaml", text).expect_err("is refused").list()[0]
        .message
        .clone()
}

#[test]
fn scalars_stay_text() {
    let node = read("a.yaml", "version: 1.10\nno: NO\n").expect("reads");
    let Value::Mapping(entries) = node.value else {
        panic!("a mapping")
    };
    let texts: Vec<&str> = entries
        .iter()
        .map(|entry| match &entry.value.value {
            Value::Scalar { text, .. } => text.as_str(),
            _ => panic!("a scalar"),
        })
        .collect();
    assert_eq!(texts, ["1.10", "NO"]);
    assert_eq!(
        entries[1].value.span,
        Span {
            line: 2,
            column: 5,
            length: 2
        }
    );
}

#[test]
fn what_can_grow_or_hide_is_refused() {
    assert!(refused("a: &x 1\nb: *x\n").contains("anchors"));
    assert!(refused("a: !!python/object 1\n").contains("tags"));
    assert!(refused("a: 1\na: 2\n").contains("given twice; first on line 1"));
    assert!(refused("a: 1\n---\nb: 2\n").contains("second document"));
    assert!(refused("? [a]\n: b\n").contains("cannot be a key"));
    assert!(refused("").contains("empty"));
    assert!(refused("a: \u{0}b").contains("control character"));
    assert!(refused("\u{feff}a: b").contains("control character"));
    assert!(refused("a: b # \rc: d\n").contains("control character"));
    assert!(refused("a: b\r").contains("control character"));
    assert!(read("a.yaml", "a: b\r\nc: d\r\n").is_ok());
}

#[test]
fn size_depth_and_number_are_bounded() {
    assert!(refused(&"a".repeat(MAX_BYTES + 1)).contains("at most"));
    let deep = refused(&"[".repeat(10_000));
    assert!(
        deep.contains("levels deep") || deep.contains("recursion limit"),
        "{deep}"
    );
    assert!(refused(&"- ".repeat(10_000)).contains("levels deep"));
    let deep = refused(&"{a: ".repeat(10_000));
    assert!(
        deep.contains("levels deep") || deep.contains("recursion limit"),
        "{deep}"
    );
    assert!(refused(&format!("[{}]", "1,".repeat(60_000))).contains("more than 50000 values"));
    let keys: String = (0..2000).map(|index| format!("k{index}: 1\n")).collect();
    assert!(refused(&keys).contains("keys in one mapping"));
}

#[test]
fn a_syntax_error_has_its_place() {
    let found = read("a.yaml", "a: [1, 2\nb: 3\n").expect_err("is refused");
    assert!(
        found.list()[0].message.starts_with("this is not YAML"),
        "{found}"
    );
    assert!(found.list()[0].span.line >= 1);
}
