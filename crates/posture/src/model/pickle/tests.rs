use super::*;

fn reasons(bytes: &[u8]) -> String {
    match judge(bytes) {
        Verdict::Unsafe { reasons, .. } => reasons.join("; "),
        other => panic!("{other:?}"),
    }
}

fn not_analysable(bytes: &[u8]) -> bool {
    matches!(judge(bytes), Verdict::NotAnalysable(_))
}

#[test]
fn data_is_safe() {
    // {'a': [1, 2.5], 'b': (True, None)}
    assert_eq!(judge(b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01G@\x04\x00\x00\x00\x00\x00\x00e\x8c\x01b\x94\x88N\x86\x94u."), Verdict::Safe);
    assert_eq!(
        judge(b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01."),
        Verdict::Safe
    );
    assert_eq!(
        judge(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00(K\x04t(K\x01t\x89ccollections\nOrderedDict\n)RtR."),
        Verdict::Safe
    );
}

#[test]
fn long_texts_and_numbers_of_the_oldest_protocol_are_data() {
    let long = "x".repeat(100_000);
    assert_eq!(
        judge(format!("(lp0\nV{long}\np1\naL{}L\na.", "7".repeat(9000)).as_bytes()),
        Verdict::Safe
    );
    assert_eq!(judge(b"V\xe9\n."), Verdict::Safe);
}

#[test]
fn code_is_found_in_every_form_of_import_and_call() {
    for bytes in [
        b"cos\nsystem\n(S'id'\ntR.".as_slice(),
        b"(S'id'\nios\nsystem\n.",
        b"(cos\nsystem\nS'id'\no.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        // By way of the memo.
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940\x8c\x00h\x000h\x00h\x01\x93\x8c\x02id\x85R.",
        // The result is thrown away.
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R0N.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cpkgutil\nresolve_name\nX\x09\x00\x00\x00os:system\x85R.",
        b"\x80\x02c__builtin__\ngetattr\n.",
    ] {
        assert!(
            matches!(judge(bytes), Verdict::Unsafe { attack: true, .. }),
            "{:?}",
            judge(bytes)
        );
    }
    assert!(reasons(b"cos\nsystem\n(S'id'\ntR.").contains("`os.system`"));
}

#[test]
fn an_unknown_name_is_not_safe_and_no_attack_either() {
    let verdict = judge(b"\x80\x02csklearn.svm\nSVC\n)\x81.");
    assert!(
        matches!(verdict, Verdict::Unsafe { attack: false, .. }),
        "{verdict:?}"
    );
}

#[test]
fn what_ran_before_a_break_still_counts() {
    assert!(reasons(b"cos\nsystem\n(S'id'\ntR\xff\xff").contains("os.system"));
    assert!(reasons(b"cos\nsystem\n(S'id'\ntR").contains("os.system"));
}

#[test]
fn what_cannot_be_followed_is_not_safe() {
    // No end; no value; a registry; a name that is made at run time; a memo key never put; a frame too long.
    for bytes in [
        b"\x80\x04N".as_slice(),
        b".",
        b"",
        b"\x82\x01.",
        b"\x80\x04N\x8c\x06system\x93.",
        b"h\x05.",
        b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.",
        b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00\x8c\x05abcde.",
        b"\x80\x09N.",
        b"S'\\x6f\\x73'\nS'system'\n\x93.",
        // Bytes that are no pickle follow one.
        b"N.hello",
    ] {
        assert!(not_analysable(bytes), "{:?}", judge(bytes));
    }
}

#[test]
fn a_second_pickle_behind_the_first_is_walked_through_too() {
    assert!(
        reasons(b"\x80\x02N.\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.").contains("os.system")
    );
}

#[test]
fn changing_a_class_is_an_attack() {
    assert!(
        reasons(b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.")
            .contains("changes a class")
    );
}

#[test]
fn the_old_form_of_torch_may_be_followed_by_raw_bytes() {
    let mut bytes = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
    for _ in 0..4 {
        bytes.extend(b"\x80\x02}.");
    }
    bytes.extend([1, 2, 3, 4, 5]);
    assert_eq!(judge(&bytes), Verdict::Safe);
}
