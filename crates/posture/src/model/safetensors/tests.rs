use std::io::Cursor;

use super::*;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

fn faults_of(header: &str, data: usize) -> String {
    let bytes = file(header, data);
    let length = bytes.len() as u64;
    faults(&mut Cursor::new(bytes), length).join("; ")
}

#[test]
fn a_sound_header_has_no_fault() {
    let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}  "#;
    assert_eq!(faults_of(header, 20), "");
    assert_eq!(faults_of("{}", 0), "");
    assert_eq!(
        faults_of(
            r#"{"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}}"#,
            0
        ),
        ""
    );
}

#[test]
fn every_lie_of_a_header_is_told() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for (header, data, said) in [
        (
            one("F32", "[2,2]", "[0,8]"),
            8,
            "needs 16 bytes by its shape, and has 8",
        ),
        (
            one("F32", "[2]", "[0,8]"),
            16,
            "8 bytes behind the last tensor",
        ),
        (
            one("F32", "[2]", "[0,8]"),
            4,
            "tensors end at 8, and the file has 4",
        ),
        (one("F32", "[2]", "[4,12]"), 12, "4 bytes before `w`"),
        (one("F32", "[2]", "[8,0]"), 8, "before it starts"),
        (one("Q9", "[2]", "[0,8]"), 8, "unknown type"),
        (
            one("F32", "[4294967296,4294967296,4]", "[0,8]"),
            8,
            "larger than a number",
        ),
        (one("F32", "[-1]", "[0,8]"), 8, "not as it must be"),
        (one("F32", "[2.0]", "[0,8]"), 8, "not as it must be"),
        (
            r#"{"__metadata__":{"a":1}}"#.to_owned(),
            0,
            "not as it must be",
        ),
        (
            r#"{"__metadata__":{"init":"__import__('os')"}}"#.to_owned(),
            0,
            "holds code",
        ),
        ("[1]".to_owned(), 0, "does not start with"),
    ] {
        let found = faults_of(&header, data);
        assert!(found.contains(said), "{header}: {found}");
    }
    let twice = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let found = faults_of(twice, 1);
    assert!(
        found.contains("there twice") && found.contains("overlaps"),
        "{found}"
    );
}

#[test]
fn a_header_that_is_not_there_is_not_read() {
    let huge = u64::MAX.to_le_bytes().to_vec();
    assert!(
        faults(&mut Cursor::new(huge), 8)
            .join("")
            .contains("loaders take at most")
    );
    let long = 5000_u64.to_le_bytes().to_vec();
    assert!(
        faults(&mut Cursor::new(long), 8)
            .join("")
            .contains("the file has 8")
    );
    assert!(
        faults(&mut Cursor::new(vec![1, 2]), 2)
            .join("")
            .contains("hold no header")
    );
}
