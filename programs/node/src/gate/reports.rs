//! What a gate reports, made ours: a gate may be in an attacker's hand, and what it writes is kept.
//!
//! Only the kinds that a gate has reason to report are taken. Time, place, severity and who decided are
//! the daemon's own knowledge; words are bounded, cleaned and few.

use casemate_core::event::{Event, Severity, kind};
use casemate_core::name::Name;
use casemate_core::time::UnixTime;

/// The event as the daemon keeps it, or nothing when no gate reports such a thing.
pub(super) fn taken(report: Event, now: UnixTime, enclosure: &Name, stage: &Name) -> Option<Event> {
    let (kind, severity) = KINDS
        .into_iter()
        .find(|(kind, _)| *kind == report.kind.as_ref())?;
    let mut event = Event::new(now, kind, severity).at(enclosure, Some(stage));
    if let Some(subject) = report.subject {
        event = event.about(cut(subject, MAX_BYTES));
    }
    if let Some(decision) = report.decision {
        let code = cut(decision.code, MAX_NAME_BYTES);
        event = event.decided(decision.outcome, &code, &format!("gate/{stage}"));
    }
    let named = |(name, _): &(String, String)| name.len() <= MAX_NAME_BYTES;
    for (name, value) in report.facts.into_iter().filter(named).take(MAX_FACTS) {
        event = event.fact(&name, cut(value, MAX_BYTES));
    }
    Some(event)
}

/// At most `bytes` of a text, whole characters only. One byte more says that there was more.
fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Everything that a gate reports, and how bad it is.
const KINDS: [(&str, Severity); 8] = [
    (kind::REQUEST_ADMITTED, Severity::Info),
    (kind::REQUEST_REFUSED, Severity::Warning),
    (kind::REQUEST_FINISHED, Severity::Info),
    (kind::REQUEST_CUT, Severity::Warning),
    (kind::CONNECTION_REFUSED, Severity::Warning),
    (kind::REVOKED, Severity::Info),
    (kind::SVID_ROTATED, Severity::Info),
    (kind::SVID_ROTATION_FAILED, Severity::Error),
];
/// Ours have at most seven.
const MAX_FACTS: usize = 12;
const MAX_NAME_BYTES: usize = 64;
/// As many characters as [`casemate_core::event::MAX_FACT_CHARACTERS`], when they are ASCII.
const MAX_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use casemate_core::event::Outcome;

    use super::*;

    fn take(report: Event) -> Option<Event> {
        let name = |text: &str| text.parse().unwrap();
        taken(report, UnixTime(100), &name("chat"), &name("infer"))
    }

    #[test]
    fn a_gate_cannot_write_what_only_the_daemon_sees() {
        for kind in [kind::PROBE_FINISHED, kind::KEY_RELEASED, "made.up"] {
            assert_eq!(take(Event::new(UnixTime(1), kind, Severity::Info)), None);
        }
    }

    #[test]
    fn a_gate_does_not_choose_time_place_severity_or_judge() {
        let elsewhere: Name = "other".parse().unwrap();
        let report = Event::new(UnixTime(1), kind::REQUEST_REFUSED, Severity::Info)
            .at(&elsewhere, Some(&elsewhere))
            .decided(Outcome::Refused, "no_ticket", "issuer");
        let event = take(report).unwrap();
        assert_eq!(event.time, UnixTime(100));
        assert_eq!(event.severity, Severity::Warning);
        assert_eq!(event.enclosure.unwrap().as_str(), "chat");
        assert_eq!(event.stage.unwrap().as_str(), "infer");
        let decision = event.decision.unwrap();
        assert_eq!(
            (decision.code.as_str(), decision.by.as_str()),
            ("no_ticket", "gate/infer")
        );
    }

    #[test]
    fn a_report_of_a_megabyte_is_kept_as_a_few_thousand_bytes_in_one_line() {
        let mut report = Event::new(UnixTime(1), kind::REQUEST_REFUSED, Severity::Warning);
        report.subject = Some("é\n".repeat(100_000));
        for number in 0..1000 {
            report
                .facts
                .insert(format!("fact-{number}"), "\u{202e}x\n".repeat(1000));
        }
        report.facts.insert("n".repeat(10_000), String::new());
        let event = take(report).unwrap();
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.len() < 16 * 1024, "{}", json.len());
        assert!(!json.contains("\\n") && !json.contains('\u{202e}'));
    }

    #[test]
    fn what_an_honest_gate_reports_stays_as_it_is() {
        let report = Event::new(UnixTime(100), kind::REQUEST_ADMITTED, Severity::Info)
            .at(&"chat".parse().unwrap(), Some(&"infer".parse().unwrap()))
            .about("spiffe://example.test/user/alice")
            .decided(Outcome::Allowed, "admitted", "gate/infer")
            .fact("route", "POST /v1/chat/completions")
            .fact("class", "chat");
        assert_eq!(take(report.clone()), Some(report));
    }
}
