//! Every form of the report says what was found, keeps to its format, and shows hostile names harmlessly.

use std::collections::BTreeSet;

use casemate_core::time::UnixTime;
use casemate_posture::estate::Estate;
use casemate_posture::report::{Look, Options, Report, html, json, junit, sarif, table};
use casemate_posture::scan::{Corpus, judge};
use casemate_posture::suppress::Suppressions;
use serde_json::Value;

const HOSTILE: &str = "a\u{1b}[2J\u{202e}]]><script>alert(1)</script>\"'&\u{0}\u{feff}";

// 2026-11-22.
const NOW: UnixTime = UnixTime(1_795_305_600);

fn corpus() -> Corpus {
    let mut corpus = Corpus::default();
    let name = serde_json::to_string(HOSTILE).unwrap();
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: prod}}\nspec:\n  containers:\n    - name: {name}\n      image: vllm/vllm-openai:v0.14.0\n      securityContext:\n        privileged: true # GPU\n"
    );
    corpus.add_yaml(&format!("deploy/{HOSTILE}.yaml"), &pod);
    corpus.add_yaml(
        "deploy/known.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: known\n  annotations:\n    scan.casemate.dev/suppress: \"AI-092 until 2027-01-31: its own node; AI-001 until 2020-01-01: old\"\nspec:\n  containers:\n    - name: a\n      image: b:1\n      securityContext: {privileged: true}\n",
    );
    corpus.add_yaml("broken.yaml", "a: [\n");
    corpus.add_yaml("strange.yaml", "hello: there\n");
    corpus
}

fn report(corpus: &Corpus) -> Report {
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let options = Options {
        annotations: true,
        edits: true,
        suppressions: Suppressions::default(),
        ..Options::default()
    };
    Report::of(corpus, &estate, &judge(&estate), &options, NOW)
}

#[test]
fn the_json_has_what_is_promised_and_nothing_else() {
    let value: Value = serde_json::from_str(&json(&report(&corpus())).unwrap()).unwrap();
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    assert_eq!(
        keys(&value),
        set(&["findings", "not_evaluable", "errors", "summary"])
    );
    let promised = set(&[
        "rule",
        "severity",
        "file",
        "line",
        "column",
        "resource",
        "message",
        "fix",
        "mappings",
        "fingerprint",
    ]);
    for finding in value["findings"].as_array().unwrap() {
        let mut own = keys(finding);
        own.remove("suppressed");
        assert_eq!(own, promised);
    }
    let privileged = |file: &str| {
        let findings = value["findings"].as_array().unwrap();
        let of_file = |finding: &&Value| {
            finding["rule"] == "AI-092" && finding["file"].as_str().unwrap().contains(file)
        };
        findings.iter().find(of_file).unwrap().clone()
    };
    assert_eq!(privileged("script")["line"], 9);
    assert_eq!(privileged("script")["column"], 21);
    assert_eq!(privileged("known")["suppressed"]["by"], "annotation");
    assert_eq!(privileged("known")["suppressed"]["expires"], "2027-01-31");
    let kinds: Vec<&str> = value["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["read", "expired-suppression"]);
    assert_eq!(value["summary"]["workloads"], 2);
    assert_eq!(value["summary"]["files"], 4);
    assert!(
        value["not_evaluable"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["file"] == "strange.yaml")
    );
}

#[test]
fn the_sarif_is_valid_by_the_official_schema() {
    let schema: Value =
        serde_json::from_str(include_str!("../data/sarif-schema-2.1.0.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut empty = Corpus::default();
    empty.add_yaml("a.yaml", "");
    for corpus in [corpus(), empty] {
        let log: Value = serde_json::from_str(&sarif(&report(&corpus)).unwrap()).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&log)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
    // The schema must be one that can say no.
    assert!(!validator.is_valid(&serde_json::json!({"version": "2.1.0", "runs": [{}]})));
}

#[test]
fn the_sarif_names_rules_places_fixes_and_suppressions() {
    let log: Value = serde_json::from_str(&sarif(&report(&corpus())).unwrap()).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(
            run["tool"]["driver"]["rules"][index]["id"],
            result["ruleId"]
        );
        assert_eq!(
            result["partialFingerprints"]["casemateFinding/v1"]
                .as_str()
                .unwrap()
                .len(),
            32
        );
    }
    let of = |file: &str| {
        let uri = |result: &Value| {
            let place = &result["locations"][0]["physicalLocation"]["artifactLocation"];
            place["uri"].as_str().unwrap().to_owned()
        };
        results
            .iter()
            .find(|result| result["ruleId"] == "AI-092" && uri(result).contains(file))
            .unwrap()
    };
    let hostile = of("script");
    let region = &hostile["locations"][0]["physicalLocation"]["region"];
    assert_eq!(
        region,
        &serde_json::json!({"startLine": 9, "startColumn": 21, "endLine": 9, "endColumn": 25})
    );
    let replacement = &hostile["fixes"][0]["artifactChanges"][0]["replacements"][0];
    assert_eq!(replacement["insertedContent"]["text"], "false");
    assert_eq!(&replacement["deletedRegion"], region);
    assert_eq!(of("known")["suppressions"][0]["kind"], "inSource");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
}

/// Whether every tag is closed in its turn and no text stands outside; attributes and texts are only looked over.
fn is_well_formed(text: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(length) = rest[start..].find('>') else {
            return false;
        };
        let tag = &rest[start + 1..start + length];
        rest = &rest[start + length + 1..];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap_or("");
        if tag.starts_with(['?', '!']) || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else {
            open.push(name);
        }
    }
    open.is_empty()
}

#[test]
fn the_junit_is_well_formed_and_counts_right() {
    let xml = junit(&report(&corpus()));
    assert!(is_well_formed(&xml), "{xml}");
    assert_eq!(xml.matches("<testsuite ").count(), 4);
    let attribute = |name: &str| -> usize {
        let (_, rest) = xml.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    assert_eq!(attribute("tests"), xml.matches("<testcase ").count());
    assert_eq!(attribute("failures"), xml.matches("<failure ").count());
    assert_eq!(attribute("skipped"), xml.matches("<skipped ").count());
    assert_eq!(attribute("errors"), xml.matches("<error ").count());
    assert!(attribute("failures") > 0 && attribute("skipped") > 0 && attribute("errors") > 0);
}

#[test]
fn hostile_names_are_harmless_in_every_form_for_people() {
    let report = report(&corpus());
    let page = html(&report);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(page.contains("default-src 'none'"));
    let plain = Look {
        width: 100,
        colour: false,
    };
    for text in [table(&report, plain), page, junit(&report)] {
        for hidden in ['\u{1b}', '\u{202e}', '\u{0}', '\u{feff}'] {
            assert!(!text.contains(hidden), "{hidden:?} in {text}");
        }
    }
}

#[test]
fn the_page_is_well_formed() {
    let page = html(&report(&corpus()));
    let body = page.split_once("</head>").unwrap().1;
    let without_voids = body
        .replace("<br>", "")
        .replace(" checked> ", " checked/> ")
        .replace("</html>", "");
    assert!(is_well_formed(&without_voids), "{without_voids}");
}

#[test]
fn the_table_says_the_worst_first_and_keeps_to_its_width() {
    let mut corpus = Corpus::default();
    let pod = |name: &str, privileged: bool| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n    - name: a\n      image: b:1\n      securityContext: {{privileged: {privileged}}}\n"
        )
    };
    corpus.add_yaml("a.yaml", &pod("good", false));
    corpus.add_yaml("b.yaml", &pod("bad", true));
    let report = report(&corpus);
    let text = table(
        &report,
        Look {
            width: 72,
            colour: false,
        },
    );
    let at = |words: &str| {
        text.find(words)
            .unwrap_or_else(|| panic!("no {words} in\n{text}"))
    };
    assert!(
        at("Pod/bad  b.yaml\n  do not run this as it is: ") < at("Pod/good  a.yaml"),
        "{text}"
    );
    for line in text.lines().filter(|line| line.starts_with("            ")) {
        assert!(line.chars().count() <= 72, "{line}");
    }
    assert!(!text.contains('\u{1b}'));
    assert!(
        table(
            &report,
            Look {
                width: 72,
                colour: true
            }
        )
        .contains("\u{1b}[1;31mcritical")
    );
}

#[test]
fn a_baseline_and_a_skipped_rule_do_not_count() {
    let corpus = corpus();
    let before = report(&corpus);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let judgement = judge(&estate);
    let known = Options {
        baseline: Some(before.baseline()),
        ..Options::default()
    };
    let after = Report::of(&corpus, &estate, &judgement, &known, NOW);
    assert_eq!((after.counting().count(), after.worst()), (0, None));
    assert_eq!(after.summary.suppressed, after.findings.len());
    let skipped = Options {
        skip: BTreeSet::from(["AI-092".to_owned()]),
        ..Options::default()
    };
    let after = Report::of(&corpus, &estate, &judgement, &skipped, NOW);
    assert!(
        after
            .findings
            .iter()
            .all(|finding| finding.rule != "AI-092")
    );
    assert_eq!(after.summary.rules + 1, before.summary.rules);
}
