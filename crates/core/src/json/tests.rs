use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn pointer(text: &str) -> Pointer {
    text.parse().unwrap()
}

fn scan_for<'b>(body: &'b str, pointers: &[&str]) -> Result<Document<'b>, ScanError> {
    let pointers: Vec<Pointer> = pointers.iter().map(|text| pointer(text)).collect();
    scan(
        body.as_bytes(),
        &pointers.iter().collect::<Vec<_>>(),
        1 << 20,
    )
}

#[test]
fn deciding_members_are_found_at_their_place_only() {
    let body = r#"{"messages":[{"model":"decoy"}],"model":"smol@1","deep":{"model":"other"},"stream":true,"max_tokens":12}"#;
    let document = scan_for(
        body,
        &["/model", "/stream", "/max_tokens", "/deep/model", "/absent"],
    )
    .unwrap();
    assert_eq!(document.text(0).unwrap().unwrap(), "smol@1");
    assert_eq!(document.truth(1).unwrap(), Some(true));
    assert_eq!(document.count(2).unwrap(), Count::Of(12));
    assert_eq!(document.text(3).unwrap().unwrap(), "other");
    assert_eq!(document.form(4), None);
}

#[test]
fn a_name_written_with_escapes_is_the_name_it_stands_for() {
    let document = scan_for(r#"{"mod\u0065l":"smol\u00401"}"#, &["/model"]).unwrap();
    assert_eq!(document.text(0).unwrap().unwrap(), "smol@1");
}

#[test]
fn a_member_named_twice_is_refused_wherever_it_is() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"x":{"a":1,"b":2,"a":3}}"#,
        r#"{"x":[{"a":1,"a":1}]}"#,
    ] {
        assert!(
            matches!(scan_for(body, &["/model"]), Err(ScanError::Duplicate(_))),
            "{body}"
        );
    }
    assert!(scan_for(r#"{"a":{"b":1},"b":{"a":1,"b":1}}"#, &[]).is_ok());
}

#[test]
fn a_deciding_member_in_another_case_is_refused() {
    for body in [
        r#"{"Model":"a"}"#,
        r#"{"MODEL":"a"}"#,
        "{\"max_to\u{212a}ens\":1}",
        "{\"max_token\u{17f}\":1}",
    ] {
        let scanned = scan_for(body, &["/model", "/max_tokens"]);
        assert!(matches!(scanned, Err(ScanError::CaseVariant(1))), "{body}");
    }
    assert!(
        scan_for(
            r#"{"messages":[{"Model":"a"}],"properties":{"ID":1,"id":2}}"#,
            &["/model"]
        )
        .is_ok()
    );
}

#[test]
fn ten_thousand_levels_are_refused_at_the_sixty_fifth() {
    let body = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(scan_for(&body, &[]), Err(ScanError::Depth(at)) if at < 100));
    let held = format!("{{\"a\":{}1{}}}", "[".repeat(63), "]".repeat(63));
    assert!(scan_for(&held, &[]).is_ok());
    assert!(matches!(
        scan_for(&"[".repeat(10_000), &[]),
        Err(ScanError::Depth(_))
    ));
}

#[test]
fn what_is_not_one_json_object_is_refused() {
    let wrong = [
        ("", ScanError::Syntax(0)),
        ("[]", ScanError::NotAnObject),
        ("\"x\"", ScanError::NotAnObject),
        ("{} {}", ScanError::Syntax(3)),
        ("{}x", ScanError::Syntax(2)),
        ("\u{feff}{}", ScanError::Syntax(0)),
        (r#"{"a":1,}"#, ScanError::Syntax(7)),
        (r#"{"a":01}"#, ScanError::Syntax(6)),
        (r#"{"a":NaN}"#, ScanError::Syntax(5)),
        (r#"{"a":+1}"#, ScanError::Syntax(5)),
        (r#"{"a":1.}"#, ScanError::Syntax(7)),
        (r#"{"a":1e999}"#, ScanError::Number(5)),
        (r#"{'a':1}"#, ScanError::Syntax(1)),
        ("{\"a\":\"\n\"}", ScanError::Syntax(6)),
        (r#"{"a":"\ud800"}"#, ScanError::Surrogate(6)),
        (r#"{"a":"\udc00"}"#, ScanError::Surrogate(6)),
        (r#"{"a":"\x41"}"#, ScanError::Syntax(6)),
        ("{\"a\":1}\0", ScanError::Syntax(7)),
    ];
    for (body, error) in wrong {
        assert_eq!(scan_for(body, &[]).unwrap_err(), error, "{body:?}");
    }
    assert!(matches!(
        scan(b"{\"a\":\"\xff\"}", &[], 99),
        Err(ScanError::Encoding(6))
    ));
    assert!(matches!(scan(b"{}", &[], 1), Err(ScanError::TooLong(1))));
}

#[test]
fn a_count_is_whole_digits_or_it_is_refused() {
    let count = |value: &str| {
        scan_for(&format!("{{\"n\":{value}}}"), &["/n"])
            .unwrap()
            .count(0)
    };
    assert_eq!(count("256"), Ok(Count::Of(256)));
    assert_eq!(count("null"), Ok(Count::Absent));
    assert_eq!(count("-1"), Ok(Count::Unbounded));
    assert_eq!(count("99999999999999999999999"), Ok(Count::Unbounded));
    for wrong in ["256.0", "1e3", "\"256\"", "true", "[1]"] {
        assert_eq!(count(wrong), Err(WrongForm), "{wrong}");
    }
}

#[test]
fn a_missing_bound_is_written_where_the_server_reads_it() {
    let set = |body: &str, at: &str| {
        let pointer = pointer(at);
        let document = scan(body.as_bytes(), &[&pointer], 1 << 20).unwrap();
        document
            .with_number(0, &pointer, 7)
            .map(|body| String::from_utf8(body).unwrap())
    };
    assert_eq!(set(r#" { "a":1}"#, "/max").unwrap(), r#" {"max":7, "a":1}"#);
    assert_eq!(set("{}", "/max").unwrap(), r#"{"max":7}"#);
    assert_eq!(set(r#"{"max":null}"#, "/max").unwrap(), r#"{"max":7}"#);
    assert_eq!(set("{}", "/p/max").unwrap(), r#"{"p":{"max":7}}"#);
    assert_eq!(set(r#"{"p":{}}"#, "/p/max").unwrap(), r#"{"p":{"max":7}}"#);
    assert_eq!(
        set(r#"{"p":{"x":1}}"#, "/p/max").unwrap(),
        r#"{"p":{"max":7,"x":1}}"#
    );
    assert_eq!(set(r#"{"p":null}"#, "/p/max"), Err(WrongForm));
    assert_eq!(set(r#"{"max":3}"#, "/max"), Err(WrongForm));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\é]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_serde_json_writes_is_read_alike(value in any_json(), model in any::<String>(), pretty in any::<bool>()) {
        let mut whole = serde_json::Map::new();
        whole.insert("value".to_owned(), value);
        whole.insert("model".to_owned(), Value::from(model.clone()));
        let text = if pretty { serde_json::to_string_pretty(&whole) } else { serde_json::to_string(&whole) }.unwrap();
        let document = scan_for(&text, &["/model", "/max"]).unwrap();
        prop_assert_eq!(document.text(0).unwrap().unwrap(), model);
        let bounded = document.with_number(1, &pointer("/max"), 5).unwrap();
        let mut read: serde_json::Map<String, Value> = serde_json::from_slice(&bounded).unwrap();
        prop_assert_eq!(read.remove("max"), Some(Value::from(5)));
        prop_assert_eq!(read, whole);
    }

    #[test]
    fn whatever_is_accepted_serde_json_accepts(text in "[\\{\\}\\[\\]\",:0-9a-z\\\\ue+.\\- ]{0,40}") {
        let text = format!("{{{text}");
        if scan_for(&text, &["/model"]).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
