//! Bodies of fuzz targets: every text here comes from a place that may be hostile.

use casemate_core::finding::{ProbeMessage, ProbeOrder};

use crate::evidence;
use crate::scene;
use crate::trial;

/// An order: what parses survives its own text and never shares the launcher's namespaces.
pub fn fuzz_order(data: &[u8]) {
    if let Ok(order) = ProbeOrder::parse(data) {
        assert_ne!(order.expected.net, order.host.net);
        let text = serde_json::to_vec(&order).unwrap_or_default();
        assert!(ProbeOrder::parse(&text).is_ok_and(|again| again == order));
    }
}

/// A line from a prober, and the records of one check.
pub fn fuzz_message(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<ProbeMessage>(data) {
        let text = serde_json::to_vec(&message).unwrap_or_default();
        assert!(serde_json::from_slice::<ProbeMessage>(&text).is_ok_and(|again| again == message));
    }
    drop(trial::decode(data));
    drop(scene::parse_mounts(&String::from_utf8_lossy(data)));
}

/// An evidence envelope: with no key, nothing is ever accepted.
pub fn fuzz_evidence(data: &[u8]) {
    assert!(evidence::verify(data, None, |_, _| false).is_err());
    if let Ok(statement) = evidence::verify(data, None, |_, _| true) {
        assert!(statement.check().is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: &[&str] = &[
        "",
        "{}",
        r#"{"finding":{"check":"EG-01"}}"#,
        r#"{"done":{"nonce":"","checks":1,"millis":2,"sent":0}}"#,
        r#"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"AA=="}]}"#,
        "22 1 0:5 / / rw,relatime shared:1 - overlay overlay ro",
        "{\"trying\":\"x\"}\n{\"step\":{\"tried\":\"x\",\"verdict\":\"open\"}}\n\"end\"",
    ];

    #[test]
    fn seeds_and_their_mutations_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for seed in SEEDS {
            for _ in 0..300 {
                let mut data = seed.as_bytes().to_vec();
                for _ in 0..random() % 4 {
                    let at = usize::try_from(random()).unwrap_or(0) % (data.len() + 1);
                    let byte = random().to_le_bytes()[0];
                    match random() % 3 {
                        0 => data.insert(at, byte),
                        1 if at < data.len() => data[at] = byte,
                        _ => data.truncate(at),
                    }
                }
                fuzz_order(&data);
                fuzz_message(&data);
                fuzz_evidence(&data);
            }
        }
    }
}
