use super::*;

/// A small generator, so that a failure is the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("fits") % below.max(1)
    }
}

/// Feeds seeds, every kind of broken seed and mixtures of them.
fn replay(seeds: &[&str], rounds: usize, body: fn(&[u8])) {
    let tokens = [
        "{", "}", "[", "]", ": ", "- ", "\n", "  ", "&a ", "*a", "!!x ", "\"", "'", "|\n", "?",
        "#", "@", "9", "\0", "\u{202e}", "\r",
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for seed in seeds {
        body(seed.as_bytes());
        for _ in 0..rounds {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..=random.next(4) {
                let at = random.next(bytes.len());
                match random.next(5) {
                    0 => bytes.truncate(at),
                    1 => {
                        let end = (at + random.next(40)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                    2 => {
                        let token = tokens[random.next(tokens.len())];
                        bytes.splice(at..at, token.bytes());
                    }
                    3 => {
                        let end = (at + random.next(60)).min(bytes.len());
                        let part = bytes[at..end].to_vec();
                        let to = random.next(bytes.len());
                        bytes.splice(to..to, part);
                    }
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte ^= 1 << random.next(7);
                        }
                    }
                }
            }
            body(&bytes);
        }
    }
}

#[test]
fn broken_enclosures_are_refused_with_a_place() {
    let seeds = [
        "",
        "a: b # \r\r\rc: d\n",
        "spec: {stages: [{run: {host: [/, /usr]}}]}",
        CHAT,
    ];
    replay(&seeds, 400, fuzz_enclosure);
}

#[test]
fn broken_profiles_are_refused_with_a_place() {
    let seeds = [
        include_str!("../../profiles/http.yaml"),
        include_str!("../../profiles/llama.cpp.yaml"),
    ];
    replay(&seeds, 200, fuzz_profile);
}

const CHAT: &str = r#"{apiVersion: casemate.dev/v1alpha1, kind: Enclosure, metadata: {name: chat}, spec: {trustDomain: e.i,
identityProviders: [{issuer: https://i, audience: c}], models: [{name: m, version: "1", sealed: s, signers: [p], key: "file:k"}],
stages: [{name: a, profile: http, run: {image: i}, serves: 8080}, {name: b, profile: llama.cpp, run: {host: [/usr], command: [/usr/s]}, models: [m@1], serves: 8000}],
flows: [{from: {group: g}, to: a, routes: [chat]}, {from: {stage: a}, to: b, routes: [chat], models: [m@1]}], exposes: [{stage: a, listen: "127.0.0.1:1"}]}}"#;
