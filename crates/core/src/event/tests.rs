use super::*;

#[test]
fn a_fact_from_a_peer_stays_one_line_and_bounded() {
    let hostile = format!("a\nb\u{1b}[2J\u{202e}{}", "x".repeat(2000));
    let event =
        Event::new(UnixTime(1), kind::REQUEST_REFUSED, Severity::Warning).fact("path", hostile);
    let value = event.facts.get("path").expect("kept");
    assert!(
        value.starts_with("a\u{fffd}b\u{fffd}[2J\u{fffd}x"),
        "{value}"
    );
    assert_eq!(value.chars().count(), MAX_FACT_CHARACTERS + 1);
}

#[test]
fn an_event_takes_no_more_than_its_facts() {
    let event = (0..100).fold(
        Event::new(UnixTime(1), kind::NODE_STARTED, Severity::Info),
        |event, index| event.fact(&format!("fact-{index}"), "x"),
    );
    assert_eq!(event.facts.len(), MAX_FACTS);
}

#[test]
fn an_event_is_written_flat_and_reads_back() {
    let enclosure: Name = "chat".parse().expect("a name");
    let stage: Name = "infer".parse().expect("a name");
    let event = Event::new(UnixTime(100), kind::REQUEST_REFUSED, Severity::Warning)
        .at(&enclosure, Some(&stage))
        .about("spiffe://example.internal/user/idp/ada")
        .decided(Outcome::Refused, "no_flow", "gate/infer")
        .fact("route", "POST /v1/chat/completions");
    let text = serde_json::to_string(&event).expect("writes");
    assert_eq!(
        text,
        r#"{"time":100,"kind":"request.refused","severity":"warning","enclosure":"chat","stage":"infer","subject":"spiffe://example.internal/user/idp/ada","decision":{"outcome":"refused","code":"no_flow","by":"gate/infer"},"facts":{"route":"POST /v1/chat/completions"}}"#
    );
    assert_eq!(serde_json::from_str::<Event>(&text).expect("reads"), event);
}
