use proptest::prelude::*;

use super::*;

#[test]
fn plain_paths_are_canonical() {
    for path in [
        "/",
        "/health",
        "/v1/chat/completions",
        "/v1/models/Qwen2.5-7B",
        "/.well-known/x",
        "/a:predict",
        "/a@1/b~",
    ] {
        assert_eq!(CanonicalPath::parse(path).unwrap().as_str(), path);
    }
}

#[test]
fn every_disguise_is_refused_for_what_it_is() {
    let disguises = [
        ("", PathError::NotAPath),
        ("*", PathError::NotAPath),
        ("v1/chat", PathError::NotAPath),
        ("http://127.0.0.1/v1/chat", PathError::NotAPath),
        ("//v1/chat", PathError::EmptySegment),
        ("/v1//chat", PathError::EmptySegment),
        ("/v1/chat/", PathError::EmptySegment),
        ("/v1/./chat", PathError::DotSegment),
        ("/v1/../slots", PathError::DotSegment),
        ("/..", PathError::DotSegment),
        ("/v1/chat.", PathError::DotSegment),
        ("/v1/...", PathError::DotSegment),
        ("/v1/%2e%2e/slots", PathError::Encoded),
        ("/v1%2fchat", PathError::Encoded),
        ("/%76%31/chat", PathError::Encoded),
        ("/v1/chat;x=1", PathError::Character),
        ("/v1\\chat", PathError::Character),
        ("/v1/chat\0", PathError::Character),
        ("/v1/chat#x", PathError::Character),
        ("/v1/ch\u{e4}t", PathError::Character),
        ("/v1/chat ", PathError::Character),
        ("/v1/chat\t", PathError::Character),
        ("/v1/chat?x", PathError::Character),
    ];
    for (path, error) in disguises {
        assert_eq!(CanonicalPath::parse(path), Err(error), "{path:?}");
    }
    assert_eq!(
        CanonicalPath::parse(&format!("/{}", "a".repeat(MAX_PATH))),
        Err(PathError::TooLong)
    );
}

#[test]
fn another_case_is_told_from_another_path() {
    let path = CanonicalPath::parse("/V1/Chat").unwrap();
    assert!(path.is_disguise_of("/v1/chat"));
    assert!(!path.is_disguise_of("/v1/chats"));
    assert!(!path.is_disguise_of("/V1/Chat"));
}

#[test]
fn a_query_has_known_names_once_with_plain_values() {
    let allowed = ["model", "limit"];
    assert_eq!(check_query("limit=3&model=a.b-c_d~e", &allowed), Ok(()));
    assert_eq!(check_query("", &allowed), Err(QueryError::Unknown));
    assert_eq!(check_query("limit=3&", &allowed), Err(QueryError::Unknown));
    assert_eq!(check_query("Limit=3", &allowed), Err(QueryError::Unknown));
    assert_eq!(
        check_query("limit=3&limit=4", &allowed),
        Err(QueryError::Twice)
    );
    assert_eq!(check_query("limit", &allowed), Err(QueryError::Value));
    assert_eq!(check_query("limit=", &allowed), Err(QueryError::Value));
    assert_eq!(check_query("limit=%33", &allowed), Err(QueryError::Value));
    assert_eq!(check_query("limit=3=4", &allowed), Err(QueryError::Value));
    assert_eq!(
        check_query(&"limit=3&".repeat(99), &allowed),
        Err(QueryError::TooLong)
    );
    assert_eq!(
        check_query::<&str>("limit=3", &[]),
        Err(QueryError::Unknown)
    );
}

proptest! {
    #[test]
    fn a_canonical_path_is_the_path_that_a_resolver_keeps(path in "/[a-zA-Z0-9./%;\\\\_~-]{0,30}") {
        if CanonicalPath::parse(&path).is_ok() {
            let mut kept = Vec::new();
            for segment in path.split('/').skip(1) {
                match segment {
                    "." => {}
                    ".." => { kept.pop(); }
                    other => kept.push(other),
                }
            }
            prop_assert_eq!(format!("/{}", kept.join("/")), path.clone());
            prop_assert!(!path.contains("//") && !path.contains('%') && !path.contains(';'));
        }
    }
}
