use super::*;
use crate::fix::{comments, edit};

/// The text after changes that `make` derives from its first document; each is a finding of its own.
fn after(text: &str, make: &dyn Fn(&Node) -> Vec<Change>) -> (String, Vec<(usize, String)>) {
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", text);
    let root = corpus.documents[0].root.clone();
    let changes: Vec<Change> = make(&root);
    let findings: Vec<(usize, &[Change])> = changes
        .iter()
        .map(std::slice::from_ref)
        .enumerate()
        .collect();
    let plan = plan(&corpus, &findings);
    let edits: Vec<&Edit> = plan.edits.iter().collect();
    let edited = edit::apply(text, &edits).unwrap();
    assert!(
        comments::kept(text, &edited),
        "a comment was lost:\n{edited}"
    );
    let stream = crate::yaml::read(FileId::default(), &edited);
    assert!(stream.error.is_none(), "{:?}\n{edited}", stream.error);
    (edited, plan.refused)
}

fn edited(text: &str, make: &dyn Fn(&Node) -> Vec<Change>) -> String {
    let (text, refused) = after(text, make);
    assert_eq!(refused, []);
    text
}

fn set(node: &Node, path: &[&str], text: &str) -> Change {
    Change::set(node, path, text).unwrap()
}

fn container(root: &Node) -> &Node {
    &root.get("spec").unwrap().list("containers")[0]
}

const POD: &str = "\
kind: Pod
metadata: {name: a}
spec:
  # who it is
  containers:
  - name: server   # main
    image: x:1
    securityContext:
      privileged: true # for the GPU
    # ports:
    #   - 8000

  hostIPC: true   # shared memory
";

#[test]
fn a_scalar_is_replaced_and_its_comment_stays() {
    let text = edited(POD, &|root| {
        vec![set(
            container(root),
            &["securityContext", "privileged"],
            "false",
        )]
    });
    assert_eq!(
        text,
        POD.replace("privileged: true #", "privileged: false #")
    );
}

#[test]
fn several_findings_under_one_missing_parent_make_one_parent() {
    let text = "kind: Pod\nmetadata: {}\nspec:\n  containers:\n    - name: a\n      image: b\n    - name: c\n";
    let text = edited(text, &|root| {
        let one = container(root);
        vec![
            set(
                one,
                &["securityContext", "allowPrivilegeEscalation"],
                "false",
            ),
            set(one, &["securityContext", "capabilities", "drop"], "[ALL]"),
            set(one, &["securityContext", "readOnlyRootFilesystem"], "true"),
            set(
                root.get("spec").unwrap(),
                &["automountServiceAccountToken"],
                "false",
            ),
            set(root, &["metadata", "name"], "x"),
        ]
    });
    let expected = "kind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n    - name: a\n      image: b\n      securityContext:\n        \
        allowPrivilegeEscalation: false\n        capabilities:\n          drop: [ALL]\n        readOnlyRootFilesystem: true\n    \
        - name: c\n  automountServiceAccountToken: false\n";
    assert_eq!(text, expected);
}

#[test]
fn an_added_member_comes_behind_comments_that_belong_to_its_mapping() {
    let text = edited(POD, &|root| vec![set(container(root), &["tty"], "false")]);
    assert!(
        text.contains("    #   - 8000\n    tty: false\n\n  hostIPC"),
        "{text}"
    );
}

#[test]
fn mappings_in_braces_grow_inside_their_braces() {
    let text = "kind: Pod\nmetadata: {}\na: {b: 1}\nc: { d: 2 }\ne: {\n  f: 1, # why\n}\n";
    let text = edited(text, &|root| {
        vec![
            set(root, &["a", "x", "w"], "true"),
            set(root, &["c", "x"], "{p: 1}"),
            set(root, &["e", "x"], "[1]"),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\na: {x: {w: true}, b: 1}\nc: { x: {p: 1}, d: 2 }\ne: {\n  x: [1],\n  f: 1, # why\n}\n"
    );
}

#[test]
fn json_stays_json() {
    let text = "{\n  \"kind\": \"Pod\",\n  \"metadata\": {},\n  \"spec\": {\n    \"hostIPC\": true\n  }\n}";
    let text = edited(text, &|root| {
        vec![
            set(
                root,
                &["spec", "securityContext", "seccompProfile", "type"],
                "RuntimeDefault",
            ),
            set(root, &["spec", "hostIPC"], "false"),
            set(root, &["metadata", "name"], "'yes'"),
        ]
    });
    let value: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(
        value["spec"]["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(value["spec"]["hostIPC"], false);
    assert_eq!(value["metadata"]["name"], "yes");
}

#[test]
fn line_ends_and_a_missing_last_one_stay_as_they_are() {
    let text = "kind: Pod\r\nmetadata:\r\n  name: a\r\nspec:\r\n  x: 1";
    let text = edited(text, &|root| {
        vec![
            set(root, &["metadata", "labels", "a"], "b"),
            set(root, &["spec", "w"], "2"),
            set(root, &["z"], "3"),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\r\nmetadata:\r\n  name: a\r\n  labels:\r\n    a: b\r\nspec:\r\n  x: 1\r\n  w: 2\r\nz: 3"
    );
}

#[test]
fn an_aliased_value_is_edited_once_where_it_is_written() {
    let text = "kind: Pod\nmetadata: {}\none: &context\n  privileged: true\ntwo: *context\nthree: &s true\n";
    let text = edited(text, &|root| {
        vec![
            set(root, &["one", "privileged"], "false"),
            set(root, &["two", "privileged"], "false"),
            set(root, &["two", "runAsNonRoot"], "true"),
            set(root, &["three"], "false"),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\none: &context\n  privileged: false\n  runAsNonRoot: true\ntwo: *context\nthree: &s false\n"
    );
}

#[test]
fn a_text_that_others_are_aliases_of_is_left_and_an_alias_is_replaced() {
    let text = "kind: Pod\nmetadata: {}\none: &s true\ntwo: *s\nthree: *s\n";
    let (text, refused) = after(text, &|root| {
        vec![set(root, &["one"], "false"), set(root, &["two"], "false")]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\none: &s true\ntwo: false\nthree: *s\n"
    );
    assert!(refused[0].1.contains("aliases"), "{refused:?}");
}

#[test]
fn empty_values_are_opened_once() {
    let text = "kind: Pod\nmetadata: {}\nnothing:   # later\nbraces: {} # none\n";
    let text = edited(text, &|root| {
        vec![
            set(root, &["nothing", "a", "b"], "1"),
            set(root, &["nothing", "a", "c"], "2"),
            set(root, &["braces", "x"], "1"),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\nnothing: {a: {b: 1, c: 2}}   # later\nbraces: {x: 1} # none\n"
    );
}

#[test]
fn lists_grow_at_their_end_in_their_form() {
    let text = "kind: Pod\nmetadata: {}\na:\n- one\n- two\nb: [x, # first\n  y,\n]\nc: []\nd:\n    - k: v\n      l: w\n";
    let text = edited(text, &|root| {
        let append = |key: &str, text: &str| Change::append(root.get(key).unwrap(), text).unwrap();
        vec![
            append("a", "three"),
            append("b", "z"),
            append("c", "1"),
            append("d", "{k: 2, m: {o: 3}}"),
            append("a", "three"),
            set(root, &["e"], "5"),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\na:\n- one\n- two\n- three\nb: [x, # first\n  y, z\n]\nc: [1]\nd:\n    - k: v\n      l: w\n    - k: 2\n      m:\n        o: 3\ne: 5\n"
    );
}

#[test]
fn what_is_removed_leaves_its_comments_and_nothing_empty() {
    let text = edited(POD, &|root| {
        let context = container(root).get("securityContext").unwrap();
        vec![
            Change::remove(context.entry("privileged").unwrap()),
            Change::remove(root.get("spec").unwrap().entry("hostIPC").unwrap()),
        ]
    });
    assert!(
        !text.contains("securityContext") && !text.contains("hostIPC"),
        "{text}"
    );
    assert!(
        text.contains("    # for the GPU\n") && text.contains("  # shared memory\n"),
        "{text}"
    );
}

#[test]
fn members_go_with_their_dash_or_comma() {
    let text = "kind: Pod\nmetadata: {}\na:\n  - name: x # n\n    y: 1\n    z: 2\n  - only: 1\nb: [1, 2, 3]\nc: {d: 1, e: 2}\nf:\n  - p\n  - q # last\n";
    let text = edited(text, &|root| {
        let first = &root.list("a")[0];
        vec![
            Change::remove(first.entry("name").unwrap()),
            Change::remove_item(&root.list("a")[1]),
            Change::remove_item(&root.list("b")[1]),
            Change::remove_item(&root.list("b")[2]),
            Change::remove(root.get("c").unwrap().entry("d").unwrap()),
            Change::remove_item(&root.list("f")[0]),
            Change::remove_item(&root.list("f")[1]),
        ]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\na:\n  - # n\n    y: 1\n    z: 2\nb: [1]\nc: {e: 2}\n# last\n"
    );
}

#[test]
fn a_block_is_replaced_by_one_line_and_keeps_its_comments() {
    let text = "kind: Pod\nmetadata: {}\ncapabilities:\n  add: # why\n    - SYS_ADMIN # one\n    # - TWO\n    - ALL # last\n  drop: []\n";
    let text = edited(text, &|root| {
        vec![set(root, &["capabilities", "add"], "[]")]
    });
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\ncapabilities:\n  add: [] # why\n    # one\n    # - TWO\n    # last\n  drop: []\n"
    );
}

#[test]
fn of_changes_that_collide_the_first_wins_and_the_other_is_told() {
    let (text, refused) = after(POD, &|root| {
        let context = container(root).entry("securityContext").unwrap();
        vec![
            set(container(root), &["securityContext", "privileged"], "false"),
            set(container(root), &["securityContext", "privileged"], "null"),
            Change::remove(context),
            set(container(root), &["tty"], "true"),
            set(container(root), &["tty"], "false"),
        ]
    });
    assert!(
        text.contains("privileged: false # for the GPU") && text.contains("tty: true"),
        "{text}"
    );
    let numbers: Vec<usize> = refused.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 4]);
}

#[test]
fn a_mapping_of_merged_members_grows_behind_its_own() {
    let text = "kind: Pod\nmetadata: {}\nbase: &base {x: 1}\nuse:\n  <<: *base\n\nlast: 1\n";
    let text = edited(text, &|root| vec![set(root, &["use", "w"], "2")]);
    assert_eq!(
        text,
        "kind: Pod\nmetadata: {}\nbase: &base {x: 1}\nuse:\n  <<: *base\n  w: 2\n\nlast: 1\n"
    );
}
