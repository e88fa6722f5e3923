use super::*;

fn show(text: &str, line: usize, column: usize, length: usize) -> String {
    let span = Span {
        line,
        column,
        length,
    };
    Source::new("a.yaml", text)
        .diagnostic(span, "spec", "wrong", Some("right".to_owned()))
        .to_string()
}

#[test]
fn a_mistake_points_at_its_characters() {
    insta::assert_snapshot!(show("one\n  two: three\n", 2, 8, 5), @r"
    error: wrong
     --> a.yaml:2:8  (spec)
      |
    2 |   two: three
      |        ^^^^^
      = fix: right
    ");
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("{}HERE{}", "x".repeat(500), "y".repeat(500));
    let shown = show(&text, 1, 501, 4);
    let lines: Vec<&str> = shown.lines().collect();
    let at = lines[4].find('^').expect("carets");
    assert_eq!(
        lines[3].chars().skip(at).take(4).collect::<String>(),
        "HERE"
    );
    assert!(lines[3].chars().count() < 120, "{shown}");
}

#[test]
fn a_hostile_line_cannot_move_the_cursor() {
    let shown = show("a: \u{1b}[2J\u{202e}\tb", 1, 4, 1);
    assert!(
        shown
            .chars()
            .all(|c| c == '\n' || (!c.is_control() && !is_bidirectional(c)))
    );
}

#[test]
fn a_place_past_the_end_is_still_shown() {
    assert!(show("a", 9, 9, 9).contains("a.yaml:9:9"));
    assert!(show("", 1, 1, 1).contains('^'));
}

#[test]
fn the_nearest_word_is_near_enough_to_be_meant() {
    let known = ["stages", "flows", "models", "trustDomain"];
    assert_eq!(nearest("stagess", known), Some("stages"));
    assert_eq!(nearest("satges", known), Some("stages"));
    assert_eq!(nearest("Flows", known), Some("flows"));
    assert_eq!(nearest("trust-domain", known), Some("trustDomain"));
    assert_eq!(nearest("enclosure", known), None);
    assert_eq!(nearest("", known), None);
}
