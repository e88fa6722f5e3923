use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;
use crate::estate::{Estate, Kind};
use crate::node::Node;

fn corpus_of(path: &Path) -> Corpus {
    let mut corpus = Corpus::default();
    add(&mut corpus, path);
    corpus
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}]}\n";

#[test]
fn a_folder_is_read_in_order_and_what_is_not_meant_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "b.yaml", POD);
    write(at, "a/compose.yml", "services: {s: {image: x}}\n");
    write(at, "run.sh", "#!/bin/sh\ndocker run -d img:1\n");
    write(at, "other.sh", "echo hello\n");
    write(at, "package.json", "{\"name\": \"x\"}");
    write(at, "Cargo.toml", "[package]\n");
    write(at, ".git/x.yaml", "a: [");
    write(at, "node_modules/x.yaml", "a: [");
    write(at, "notes.txt", "a: [");
    write(
        at,
        "nvidia-container-runtime/config.toml",
        "[nvidia-container-cli]\nno-cgroups = false\n",
    );
    let corpus = corpus_of(at);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    assert!(
        corpus.not_evaluable.is_empty(),
        "{:?}",
        corpus.not_evaluable
    );
    let kinds: Vec<_> = corpus
        .documents
        .iter()
        .map(|document| document.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            Kind::Compose,
            Kind::Kubernetes,
            Kind::Toolkit,
            Kind::DockerRun
        ]
    );
    for document in &corpus.documents {
        assert_eq!(document.root.place.file, document.file);
        assert!(!corpus.files.text(document.root.place).is_empty());
    }
}

#[test]
fn a_chart_is_said_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "chart/Chart.yaml", "name: x\n");
    write(
        folder.path(),
        "chart/templates/pod.yaml",
        "kind: {{ .Values.kind }}\n",
    );
    let corpus = corpus_of(folder.path());
    assert!(corpus.errors.is_empty() && corpus.documents.is_empty());
    assert!(corpus.not_evaluable[0].message.contains("helm template"));
}

#[test]
fn variables_of_files_beside_a_document_are_read_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "secret.env", "OUTSIDE=1\n");
    let at = folder.path().join("in");
    write(
        &at,
        "compose.yaml",
        "services:\n  s:\n    image: x\n    env_file: [a.env, ../secret.env, link.env, gone.env]\n    environment: {B: own}\n  t: {image: y, extends: {file: base.yml, service: b}}\n",
    );
    write(
        &at,
        "a.env",
        "# c\nHF_TOKEN=\"hf_1\"\nexport B=file\nCALLER\n",
    );
    write(
        &at,
        "base.yml",
        "services: {b: {image: z, privileged: true}}\n",
    );
    symlink("../secret.env", at.join("link.env")).unwrap();
    let corpus = corpus_of(&at.join("compose.yaml"));
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let one = &estate.workloads[0].containers[0];
    let (token, place) = one.literal("HF_TOKEN").unwrap();
    assert_eq!(
        (token, place.line, corpus.files.text(place)),
        ("hf_1", 2, "\"hf_1\"")
    );
    assert!(corpus.files.name(place.file).ends_with("a.env"));
    assert_eq!(one.literal("B").unwrap().0, "own");
    assert!(one.variable("OUTSIDE").is_none());
    assert_eq!(corpus.not_evaluable.len(), 3, "{:?}", corpus.not_evaluable);
    let two = &estate.workloads[1].containers[0];
    assert_eq!(
        (two.node.boolean_at("privileged"), two.node.text_at("image")),
        (Some(true), Some("y"))
    );
}

#[test]
fn standard_input_may_be_manifests_or_a_command_line() {
    let mut corpus = Corpus::default();
    read_standard_input(&mut corpus, &mut POD.as_bytes());
    read_standard_input(
        &mut corpus,
        &mut &b"\n# run it\ndocker run --privileged img\n"[..],
    );
    let kinds: Vec<_> = corpus
        .documents
        .iter()
        .map(|document| document.kind)
        .collect();
    assert_eq!(kinds, [Kind::Kubernetes, Kind::DockerRun]);
    read_standard_input(&mut corpus, &mut &b"\xff\xfe"[..]);
    assert!(corpus.errors[0].message.contains("UTF-8"));
}

#[test]
fn a_kustomization_that_names_something_remote_is_not_rendered() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "kustomization.yaml", "resources: [base]\n");
    write(
        folder.path(),
        "base/kustomization.yaml",
        "resources: [\"github.com/x/y//z?ref=main\"]\n",
    );
    write(
        folder.path(),
        "patch.yaml",
        "kind: Deployment\napiVersion: apps/v1\n",
    );
    let corpus = corpus_of(folder.path());
    assert!(
        corpus.documents.is_empty(),
        "the parts of a kustomization say nothing alone"
    );
    assert_eq!(corpus.not_evaluable.len(), 1, "{:?}", corpus.not_evaluable);
    assert!(corpus.not_evaluable[0].message.contains("github.com"));
}

#[test]
fn a_kustomization_is_rendered_where_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "base/kustomization.yaml",
        "resources: [pod.yaml]\n",
    );
    write(folder.path(), "base/pod.yaml", POD);
    write(
        folder.path(),
        "over/kustomization.yaml",
        "resources: [../base]\nnamePrefix: x-\n",
    );
    let corpus = corpus_of(folder.path());
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    let rendered = corpus.documents.iter().any(|document| {
        document.root.at(&["metadata", "name"]).and_then(Node::text) == Some("x-a")
    });
    let said = corpus
        .not_evaluable
        .iter()
        .any(|one| one.message.contains("kubectl"));
    assert!(
        rendered != said,
        "rendered, or said that nothing renders it"
    );
    assert!(
        corpus.documents.len() <= 1,
        "the base is a part of what builds on it"
    );
}

/// A tar archive of files, those with `->` being links.
pub(crate) fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = ::tar::Header::new_ustar();
        // The builder refuses names that lead out; an attacker does not.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(u64::try_from(content.len()).unwrap());
        header.set_mode(*mode);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
const D: &str = "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
const E: &str = "sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

/// The parts of a layout with one image of two layers and one attestation.
fn parts() -> Vec<(String, Vec<u8>)> {
    let blob = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    let lower = archive(&[
        ("root/.env", 0o644, b"HF_TOKEN=hf_1\n"),
        ("usr/bin/gcc", 0o755, b"\x7fELF"),
        ("usr/bin/su", 0o4755, b"\x7fELF"),
        ("etc/ssl/certs/ca.pem", 0o644, b"x"),
        ("srv/page.html", 0o644, b"x"),
    ]);
    let upper = archive(&[
        ("root/.wh..env", 0o644, b""),
        ("../../etc/passwd", 0o644, b"x"),
    ]);
    let index = format!(
        r#"{{"schemaVersion": 2, "manifests": [{{"digest": "{A}", "annotations": {{"org.opencontainers.image.ref.name": "llm:1"}}}},
        {{"digest": "{E}", "annotations": {{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "{A}"}}}}]}}"#
    );
    let manifest = format!(
        r#"{{"config": {{"digest": "{B}"}}, "annotations": {{"k": "v"}}, "layers": [{{"digest": "{C}"}}, {{"digest": "{D}"}}]}}"#
    );
    vec![
        ("oci-layout".to_owned(), b"{\"imageLayoutVersion\": \"1.0.0\"}".to_vec()),
        ("index.json".to_owned(), index.into_bytes()),
        (blob(A), manifest.into_bytes()),
        (blob(B), br#"{"config": {"User": "root", "Env": ["A=b"]}, "rootfs": {"diff_ids": []}}"#.to_vec()),
        (blob(C), gzip(&lower)),
        (blob(D), upper),
        (blob(E), br#"{"config": {}, "layers": [{"annotations": {"in-toto.io/predicate-type": "https://spdx.dev/Document"}}]}"#.to_vec()),
    ]
}

fn check_image(corpus: &Corpus) {
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    assert_eq!(corpus.documents.len(), 1);
    let root = &corpus.documents[0].root;
    assert_eq!(corpus.documents[0].kind, Kind::ImageConfiguration);
    let user = root.at(&["config", "User"]).unwrap();
    assert_eq!(corpus.files.text(user.place), "\"root\"");
    assert_eq!(
        (root.text_at("x-reference"), root.text_at("x-digest")),
        (Some("llm:1"), Some(A))
    );
    let files: Vec<_> = root
        .list("x-files")
        .iter()
        .map(|file| {
            (
                file.text_at("path").unwrap(),
                file.text_at("mode").unwrap(),
                file.boolean_at("removed"),
            )
        })
        .collect();
    assert_eq!(
        files,
        [
            ("root/.env", "644", Some(true)),
            ("usr/bin/gcc", "755", None),
            ("usr/bin/su", "4755", None)
        ]
    );
    let first = &root.list("x-files")[0];
    assert_eq!(first.text_at("head"), Some("HF_TOKEN=hf_1\n"));
    assert_eq!(
        corpus.files.text(root.list("x-files")[1].place),
        "usr/bin/gcc"
    );
    assert_eq!(root.list("x-attached").len(), 1);
    let unread: Vec<_> = root
        .list("x-layers-unread")
        .iter()
        .filter_map(Node::text)
        .collect();
    assert_eq!(unread.len(), 1);
    assert!(unread[0].contains("leads out"), "{unread:?}");
}

#[test]
fn an_image_is_read_from_a_folder_and_from_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in parts() {
        let path = folder.path().join("layout").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    check_image(&corpus_of(&folder.path().join("layout")));
    let parts = parts();
    let files: Vec<_> = parts
        .iter()
        .map(|(name, bytes)| (name.as_str(), 0o644, bytes.as_slice()))
        .collect();
    let whole = archive(&files);
    let path = folder.path().join("image.tar");
    fs::write(&path, &whole).unwrap();
    check_image(&corpus_of(&path));
    fs::write(&path, gzip(&whole)).unwrap();
    check_image(&corpus_of(&path));
}

#[test]
fn the_older_form_of_an_archive_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let layer = archive(&[("app/.env", 0o644, b"A=b\n")]);
    let path = folder.path().join("saved.tar");
    let files: [(&str, u32, &[u8]); 3] = [
        (
            "manifest.json",
            0o644,
            br#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l/layer.tar"]}]"#,
        ),
        ("c.json", 0o644, br#"{"config": {}, "rootfs": {}}"#),
        ("l/layer.tar", 0o644, &layer),
    ];
    fs::write(&path, archive(&files)).unwrap();
    let corpus = corpus_of(&path);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    let root = &corpus.documents[0].root;
    assert_eq!(root.list("x-files")[0].text_at("path"), Some("app/.env"));
    assert_eq!(root.text_at("x-reference"), Some("a:1"));
}
