//! Hostile input costs bounded time and memory, is refused with words that help, and takes nothing else along.
//!
//! Every folder here holds one good manifest beside what is hostile: it must be judged all the same.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use casemate_posture::estate::Estate;
use casemate_posture::input;
use casemate_posture::scan::{Corpus, judge};

const GOOD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: good}\nspec:\n  containers:\n    - {name: c, image: i, securityContext: {privileged: true}}\n";

/// Scans a folder with a good manifest beside what `fill` puts there; the good one must be found in it.
fn scan(fill: impl FnOnce(&Path)) -> Corpus {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("zz-good.yaml"), GOOD).unwrap();
    fill(folder.path());
    let started = Instant::now();
    let mut corpus = Corpus::default();
    input::add(&mut corpus, folder.path());
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let judgement = judge(&estate);
    let found = judgement
        .findings
        .iter()
        .any(|finding| finding.rule == "AI-092" && finding.resource.contains("good"));
    assert!(
        found,
        "the good manifest was not judged: {:?}",
        corpus.errors
    );
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
    corpus
}

/// The one error that there must be.
fn only_error(corpus: &Corpus) -> &str {
    assert_eq!(corpus.errors.len(), 1, "{:?}", corpus.errors);
    &corpus.errors[0].message
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![before; 10].join(", ")
        ));
    }
    let corpus = scan(|at| fs::write(at.join("bomb.yaml"), &text).unwrap());
    assert!(only_error(&corpus).contains("aliases"));
    assert_ne!(corpus.errors[0].place.line, 0);
}

#[test]
fn a_bomb_of_merges_is_refused() {
    let mut text = "a0: &a0 {k: v}\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        text.push_str(&format!("a{level}: &a{level} {{<<: [*a{before}, *a{before}], k{level}: {{<<: *a{before}, x: *a{before}}}}}\n"));
    }
    let corpus = scan(|at| fs::write(at.join("bomb.yaml"), &text).unwrap());
    assert!(
        only_error(&corpus).contains("aliases"),
        "{:?}",
        corpus.errors
    );
}

#[test]
fn an_anchor_that_holds_itself_is_refused() {
    let corpus =
        scan(|at| fs::write(at.join("loop.yaml"), "kind: &a\n  spec: {next: *a}\n").unwrap());
    assert!(only_error(&corpus).contains("hold itself"));
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        "[".repeat(200_000),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(100_000),
    ] {
        let corpus = scan(|at| fs::write(at.join("deep.yaml"), &text).unwrap());
        only_error(&corpus);
    }
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_unread() {
    let started = Instant::now();
    let corpus = scan(|at| {
        let file = File::create(at.join("large.yaml")).unwrap();
        file.set_len(100 * 1024 * 1024).unwrap();
    });
    assert!(
        only_error(&corpus).contains("104857600 bytes"),
        "{:?}",
        corpus.errors
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn one_line_of_many_megabytes_takes_no_longer_than_many_lines() {
    let item =
        "{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"é\"}},";
    let text = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}{{}}]}}",
        item.repeat(30_000)
    );
    let corpus = scan(|at| fs::write(at.join("line.json"), &text).unwrap());
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let corpus =
        scan(|at| fs::write(at.join("bytes.yaml"), b"kind: Pod\nname: \xff\xfe\n").unwrap());
    assert!(only_error(&corpus).contains("UTF-8"));
}

#[test]
fn loops_of_links_end() {
    let corpus = scan(|at| {
        symlink(at, at.join("again")).unwrap();
        fs::create_dir(at.join("in")).unwrap();
        symlink("..", at.join("in/up")).unwrap();
        symlink("self.yaml", at.join("self.yaml")).unwrap();
        symlink("/", at.join("out")).unwrap();
        symlink("/etc/passwd", at.join("passwd.yaml")).unwrap();
    });
    assert!(only_error(&corpus).contains("loop"), "{:?}", corpus.errors);
    assert_eq!(corpus.documents.len(), 1);
    let said = corpus
        .not_evaluable
        .iter()
        .filter(|one| one.message.contains("leads out"));
    assert_eq!(said.count(), 2, "{:?}", corpus.not_evaluable);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let corpus = scan(|at| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            CString::new(at.join("pipe.yaml").as_os_str().as_bytes())
                .unwrap()
                .as_c_str(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    });
    assert!(
        only_error(&corpus).contains("neither"),
        "{:?}",
        corpus.errors
    );
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let mut corpus = Corpus::default();
    input::add(&mut corpus, Path::new("/nowhere/at/all.yaml"));
    assert!(
        only_error(&corpus).contains("No such file"),
        "{:?}",
        corpus.errors
    );
}

#[test]
fn a_script_that_fills_itself_in_stays_small() {
    let mut text = "A=0123456789\n".to_owned();
    for _ in 0..200 {
        text.push_str("A=$A$A$A$A\n");
    }
    text.push_str("docker run $A\n");
    text.push_str(&"$(".repeat(20_000));
    let corpus = scan(|at| fs::write(at.join("run.sh"), &text).unwrap());
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
}

/// A tar archive with names as they are given.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Scans an archive by its name, beside a good manifest.
fn scan_archive(bytes: &[u8]) -> Corpus {
    let folder = tempfile::tempdir().unwrap();
    let (image, good) = (
        folder.path().join("image.tar"),
        folder.path().join("good.yaml"),
    );
    fs::write(&image, bytes).unwrap();
    fs::write(&good, GOOD).unwrap();
    let started = Instant::now();
    let mut corpus = Corpus::default();
    input::add_all(&mut corpus, &[image, good]);
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "something was unpacked"
    );
    assert!(
        corpus
            .documents
            .iter()
            .any(|one| one.root.text_at("kind") == Some("Pod"))
    );
    corpus
}

#[test]
fn an_archive_that_leads_out_writes_nothing_and_is_said() {
    let layer = archive(&[("../../../tmp/evil.pem", b"x"), ("/etc/evil.pem", b"x")]);
    let corpus = scan_archive(&archive(&[
        ("manifest.json", br#"[{"Config": "c.json", "Layers": ["../l.tar", "l.tar"]}, {"Config": "c.json", "Layers": ["l.tar"]}]"#),
        ("c.json", br#"{"config": {}, "rootfs": {}}"#),
        ("l.tar", &layer),
    ]));
    assert!(
        only_error(&corpus).contains("leads out of the archive"),
        "{:?}",
        corpus.errors
    );
    let image = corpus
        .documents
        .iter()
        .find(|one| one.root.get("rootfs").is_some())
        .unwrap();
    let said = image.root.list("x-layers-unread");
    assert!(
        said.iter()
            .any(|one| one.text().unwrap().contains("leads out of the image"))
    );
}

#[test]
fn digests_are_no_paths() {
    let corpus = scan_archive(&archive(&[(
        "index.json",
        br#"{"manifests": [{"digest": "sha256:../../../../etc/passwd"}, {"digest": "x"}, {}]}"#,
    )]));
    assert_eq!(corpus.errors.len(), 3, "{:?}", corpus.errors);
    assert!(corpus.errors[0].message.contains("no digest"));
}

#[test]
fn a_layer_that_unpacks_to_far_more_than_it_is_is_not_read_on() {
    let zeros = vec![0_u8; 96 * 1024 * 1024];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&archive(&[("large", &zeros)])).unwrap();
    let packed = packed.finish().unwrap();
    let corpus = scan_archive(&archive(&[
        (
            "manifest.json",
            br#"[{"Config": "c.json", "Layers": ["l.tar"]}]"#,
        ),
        ("c.json", br#"{"config": {}, "rootfs": {}}"#),
        ("l.tar", &packed),
    ]));
    let image = corpus
        .documents
        .iter()
        .find(|one| one.root.get("rootfs").is_some())
        .unwrap();
    let said = image.root.list("x-layers-unread");
    assert!(said[0].text().unwrap().contains("times"), "{said:?}");
}

#[test]
fn a_broken_archive_is_refused() {
    for bytes in [
        &b"\x1f\x8b\x08\x00garbage that is no stream"[..],
        &archive(&[("x", b"y")])[..700],
    ] {
        let corpus = scan_archive(bytes);
        only_error(&corpus);
    }
}

#[test]
fn a_thousand_manifests_take_little_time() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1_000 {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d{number}}}\nspec:\n  selector: {{matchLabels: {{app: d{number}}}}}\n  \
             template:\n    metadata: {{labels: {{app: d{number}}}}}\n    spec:\n      containers:\n        - name: server\n          \
             image: vllm/vllm-openai:v0.14.0\n          args: [--model, /models/a, --port, \"8000\"]\n          \
             env: [{{name: VLLM_NO_USAGE_STATS, value: \"1\"}}]\n          ports: [{{containerPort: 8000, name: http}}]\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: d{number}}}\nspec: {{selector: {{app: d{number}}}, ports: [{{port: 80, targetPort: http}}]}}\n"
        );
        fs::write(folder.path().join(format!("{number}.yaml")), text).unwrap();
    }
    let started = Instant::now();
    let mut corpus = Corpus::default();
    input::add(&mut corpus, folder.path());
    let read = started.elapsed();
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let known = started.elapsed();
    let judgement = judge(&estate);
    let judged = started.elapsed();
    assert_eq!(estate.workloads.len(), 1_000);
    assert!(!judgement.findings.is_empty());
    println!(
        "read {read:?}, understood {:?}, judged {:?}",
        known - read,
        judged - known
    );
    // Without optimisation and beside other tests; the bench measures it properly.
    assert!(judged < Duration::from_secs(30), "{judged:?}");
}

/// The rules that find something in a text, and how much could not be read or told.
fn found(text: &str) -> (Vec<&'static str>, usize, usize) {
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", text);
    let judgement = judge(&Estate::of(&corpus.files, &corpus.documents));
    let rules = judgement.findings.iter().map(|finding| finding.rule);
    (
        rules.collect(),
        corpus.errors.len(),
        corpus.not_evaluable.len(),
    )
}

#[test]
fn what_kubernetes_reads_as_privileged_is_not_hidden_by_the_way_it_is_written() {
    let pod = |context: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n    - name: b\n      image: c:1\n      securityContext: {context}\n"
        )
    };
    for (text, errors, untold) in [
        (pod("{privileged: false, privileged: true}"), 0, 1),
        (pod("{privileged: !!bool \"true\"}"), 0, 0),
        (pod("{!!str privileged: true}"), 0, 0),
        (pod("{privileged: true}").replace("v1\nkind: Pod", "v1\nkind: !!binary UG9k"), 0, 0),
        (
            "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n  spec: {containers: [{name: b, image: c, securityContext: {privileged: true}}]}\n"
                .to_owned(),
            0,
            0,
        ),
    ] {
        let (rules, read, told) = found(&text);
        assert!(rules.contains(&"AI-092"), "{text}: {rules:?}");
        assert_eq!((read, told), (errors, untold), "{text}");
    }
    // Where two readings are possible, the scan is not whole.
    let (_, errors, _) = found(&pod(
        "\n        privileged: false\n        <<: {privileged: true}",
    ));
    assert_eq!(errors, 1);
}

#[test]
fn more_findings_than_anybody_reads_end_the_judging_and_it_is_told() {
    let containers = vec!["*a"; 30_000].join(", ");
    let mut corpus = Corpus::default();
    corpus.add_yaml(
        "a.yaml",
        &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nx: &a {{name: b, image: c}}\nspec: {{containers: [{containers}]}}\n"),
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let judgement = judge(&estate);
    assert!(judgement.findings.len() < 200_000);
    assert!(judgement.stopped.is_some());
    let report = casemate_posture::report::Report::of(
        &corpus,
        &estate,
        &judgement,
        &casemate_posture::report::Options::default(),
        casemate_core::time::UnixTime(1_795_305_600),
    );
    assert!(!report.is_whole());
}
