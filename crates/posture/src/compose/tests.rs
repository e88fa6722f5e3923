use crate::estate::Estate;
use crate::scan::Corpus;
use crate::workload::{Given, Published, Source};

fn corpus(text: &str) -> Corpus {
    let mut corpus = Corpus::default();
    corpus.add_yaml("compose.yaml", text);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    corpus
}

const ONE: &str = r#"
x-common: &common
  restart: always
  environment:
    NGC_API_KEY: ${NGC_API_KEY}
    NIM_LOG: ${LEVEL:-info}
    HOME_DIR:
services:
  llm:
    <<: *common
    image: nvcr.io/nim/meta/llama:${TAG:-1.8}
    command: "serve --port 8000"
    ports:
      - "8000:8000"
      - "127.0.0.1:9000-9001:9000-9001/tcp"
      - "[::1]:7000:70"
      - 8080
      - target: 8001
        published: "18001"
        host_ip: 10.0.0.1
    expose: ["8002"]
    volumes:
      - ./models:/models:ro
      - cache:/cache
      - bound:/bound
      - /scratch
      - type: bind
        source: ${HF_HOME:-/srv/hf}
        target: /hf
    tmpfs: /tmp
    secrets: [ngc]
volumes:
  cache:
  bound: {driver_opts: {type: none, o: bind, device: /data}}
secrets:
  ngc: {file: ./ngc}
"#;

#[test]
fn a_service_is_a_workload_with_everything_in_one_form() {
    let corpus = corpus(ONE);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let container = &estate.workloads[0].containers[0];
    let image = container.image.as_ref().unwrap();
    assert_eq!(image.reference, "nvcr.io/nim/meta/llama:1.8");
    let words: Vec<_> = container
        .words
        .iter()
        .map(|word| word.text.as_ref())
        .collect();
    assert_eq!(words, ["serve", "--port", "8000"]);
    let ports: Vec<_> = container
        .ports
        .iter()
        .map(|port| {
            (
                port.number,
                port.published
                    .as_ref()
                    .map(|one| (one.address.as_str(), one.port)),
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            (8000, Some(("", Some(8000)))),
            (9000, Some(("127.0.0.1", Some(9000)))),
            (9001, Some(("127.0.0.1", Some(9001)))),
            (70, Some(("[::1]", Some(7000)))),
            (8080, Some(("", None))),
            (8001, Some(("10.0.0.1", Some(18001)))),
            (8002, None),
        ]
    );
    let mounts: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| (mount.path.as_ref(), mount.read_only, mount.source.clone()))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/models", true, Source::Host("./models".into())),
            ("/cache", false, Source::Named("cache".into())),
            ("/bound", false, Source::Host("/data".into())),
            ("/scratch", false, Source::Scratch),
            ("/hf", false, Source::Host("/srv/hf".into())),
            ("/tmp", false, Source::Memory),
            ("/run/secrets/ngc", true, Source::Secret("ngc")),
        ]
    );
    assert_eq!(container.literal("NIM_LOG").unwrap().0, "info");
    assert!(container.literal("NGC_API_KEY").is_none());
    let home = container.variable("HOME_DIR").unwrap();
    assert!(matches!(home.value, Given::Elsewhere));
}

#[test]
fn a_listed_variable_has_the_place_of_its_value() {
    let corpus = corpus(
        "services:\n  a:\n    image: x\n    environment:\n      - HF_TOKEN=hf_abc\n      - \"B=c d\"\n      - CALLER\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let container = &estate.workloads[0].containers[0];
    let (text, place) = container.literal("HF_TOKEN").unwrap();
    assert_eq!((text, corpus.files.text(place)), ("hf_abc", "hf_abc"));
    assert_eq!((place.line, place.column), (5, 18));
    let (_, place) = container.literal("B").unwrap();
    assert_eq!((corpus.files.text(place), place.column), ("c d", 12));
    assert!(matches!(
        container.variable("CALLER").unwrap().value,
        Given::Elsewhere
    ));
}

#[test]
fn a_service_has_what_it_extends() {
    let corpus = corpus(
        "services:\n  base:\n    image: x\n    privileged: true\n    ports: ['1:1']\n    environment: {A: 1, B: 2}\n  \
         middle:\n    extends: {service: base}\n    command: a\n  top:\n    extends: middle\n    ports: ['2:2']\n    environment: [B=3]\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let top = &estate.workloads[2].containers[0];
    assert_eq!(top.node.boolean_at("privileged"), Some(true));
    assert_eq!(
        top.ports.iter().map(|port| port.number).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(top.literal("A").unwrap().0, "1");
    assert_eq!(top.literal("B").unwrap().0, "3");
    assert_eq!(top.words[0].text, "a");
}

#[test]
fn services_that_extend_each_other_end() {
    let corpus = corpus(
        "services:\n  a: {image: x, extends: b}\n  b: {image: y, extends: {service: a}}\n  c: {image: z, extends: {service: a, file: other.yaml}}\n",
    );
    assert!(!corpus.not_evaluable.is_empty());
    let messages: Vec<_> = corpus
        .not_evaluable
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    assert!(
        messages
            .iter()
            .any(|message| message.contains("other.yaml")),
        "{messages:?}"
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    assert_eq!(estate.workloads.len(), 3);
}

#[test]
fn variables_are_filled_in_as_far_as_the_file_says() {
    let corpus = corpus(
        "services:\n  a:\n    image: r/${A:-${B:-c}}:${T:?must be set}\n    environment: {P: $$HOME, Q: $X-1, R: '${Y-d}', S: 5$}\n",
    );
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let container = &estate.workloads[0].containers[0];
    assert_eq!(
        container.image.as_ref().unwrap().reference,
        "r/c:${T:?must be set}"
    );
    let value = |name: &str| match &container.variable(name).unwrap().value {
        Given::Literal { text, .. } => text.clone().into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        ["P", "Q", "R", "S"].map(value),
        ["$HOME", "${X}-1", "d", "5$"]
    );
}

#[test]
fn a_published_port_knows_whether_others_reach_it() {
    let local = Published {
        address: "127.0.0.1".to_owned(),
        port: Some(1),
    };
    assert!(!local.is_remote());
    assert!(
        Published {
            address: "0.0.0.0".to_owned(),
            port: Some(1)
        }
        .is_remote()
    );
}

#[test]
fn ranges_of_ports_are_bounded_for_the_file() {
    let mut text = "services:\n".to_owned();
    for number in 0..200 {
        text.push_str(&format!(
            "  s{number}: {{image: x, ports: ['1-65535:1-65535', '1-65535']}}\n"
        ));
    }
    let corpus = corpus(&text);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    let count: usize = estate
        .workloads
        .iter()
        .map(|one| one.containers[0].ports.len())
        .sum();
    assert_eq!(count, super::ports::MAX_PORTS);
}
