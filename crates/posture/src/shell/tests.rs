use super::*;
use crate::estate::Estate;
use crate::place::Files;
use crate::workload::{Container, Given, Source};

fn with<T>(text: &str, look: impl FnOnce(&Files, &[&Container<'_>]) -> T) -> T {
    let mut files = Files::default();
    let file = files.add("run.sh", text);
    let script = read(file, text);
    let estate = Estate::of(&files, &script.documents);
    let containers: Vec<_> = estate
        .workloads
        .iter()
        .map(|one| &one.containers[0])
        .collect();
    look(&files, &containers)
}

const NIM: &str = r#"#!/bin/bash
# Taken from nobody's guide: docker run busybox
export NGC_API_KEY=nvapi-123
export IMG="nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8"
CACHE=${CACHE:-/srv/nim}
mkdir -p "$CACHE" && chmod 777 "$CACHE"
id=$(sudo docker run -it -d --rm --name=llm \
  --gpus '"device=0,1"' --privileged \
  --ipc host --net=host   \
  -e NGC_API_KEY -e "NIM_LOG_LEVEL=info" -eHF_TOKEN=hf_1 \
  -u $(id -u) \
  -v "$CACHE:/opt/nim/.cache" -p 127.0.0.1:8000:8000 -p8002:8002 \
  --mount type=bind,src=/data,dst=/data,readonly \
  --ulimit memlock=-1 --cap-add SYS_ADMIN --security-opt=seccomp=unconfined \
  $IMG serve --port 8000 > log.txt 2>&1)
echo done
"#;

#[test]
fn a_line_over_many_lines_is_a_service() {
    with(NIM, |files, containers| {
        assert_eq!(containers.len(), 1, "{containers:#?}");
        let one = containers[0];
        let text = |key: &str| one.node.text_at(key).unwrap();
        assert_eq!(one.name, "llm");
        assert_eq!(
            one.image.as_ref().unwrap().reference,
            "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8"
        );
        assert_eq!(
            one.server.as_ref().map(|server| server.profile.as_str()),
            Some("nim")
        );
        assert_eq!(
            (text("ipc"), text("network_mode"), text("gpus")),
            ("host", "host", "\"device=0,1\"")
        );
        assert_eq!(one.node.boolean_at("privileged"), Some(true));
        assert_eq!(
            files.text(one.node.get("privileged").unwrap().place),
            "--privileged"
        );
        assert_eq!(one.node.get("privileged").unwrap().place.line, 8);
        assert!(one.node.get("user").unwrap().is_unresolved());
        let (key, place) = one.literal("NGC_API_KEY").unwrap();
        assert_eq!(
            (key, files.text(place), place.line),
            ("nvapi-123", "nvapi-123", 3)
        );
        let (token, place) = one.literal("HF_TOKEN").unwrap();
        assert_eq!(
            (token, files.text(place), place.line, place.column),
            ("hf_1", "hf_1", 10, 53)
        );
        assert_eq!(one.literal("NIM_LOG_LEVEL").unwrap().0, "info");
        let ports: Vec<_> = one
            .ports
            .iter()
            .map(|port| (port.number, port.published.as_ref().unwrap().is_remote()))
            .collect();
        assert_eq!(ports, [(8000, false), (8002, true)]);
        assert_eq!(one.mounts[0].source, Source::Host("/srv/nim".into()));
        assert_eq!(
            (one.mounts[1].path.as_ref(), one.mounts[1].read_only),
            ("/data", true)
        );
        assert_eq!(
            one.node
                .at(&["ulimits", "memlock"])
                .and_then(crate::node::Node::text),
            Some("-1")
        );
        assert_eq!(one.node.list("cap_add")[0].text(), Some("SYS_ADMIN"));
        let words: Vec<_> = one.words.iter().map(|word| word.text.as_ref()).collect();
        assert_eq!(words, ["serve", "--port", "8000"]);
    });
}

#[test]
fn what_the_script_does_not_say_stays_unresolved() {
    let text = "podman run --rm -e TOKEN=$TOKEN -e CALLER \"$IMAGE\" --model x; nerdctl run $ARGS --gpus all img:1\n";
    with(text, |_, containers| {
        assert_eq!(containers.len(), 2);
        assert!(containers[0].image.as_ref().unwrap().is_unresolved());
        assert!(containers[0].literal("TOKEN").is_none());
        assert!(matches!(
            containers[0].variable("CALLER").unwrap().value,
            Given::Elsewhere
        ));
        assert_eq!(containers[1].image.as_ref().unwrap().tag, Some("1"));
        assert_eq!(containers[1].node.text_at("gpus"), Some("all"));
    });
}

#[test]
fn only_commands_that_start_containers_count() {
    let text = "echo docker run x\ndocker build -t a .\n# docker run y\ndocker compose run z\ndocker exec a run b\n\
                cat <<END\ndon't\nEND\nif docker --context far container run -d ok:1; then :; fi\ndocker run --help\n";
    with(text, |_, containers| {
        let images: Vec<_> = containers
            .iter()
            .map(|one| one.image.as_ref().unwrap().reference.as_ref())
            .collect();
        assert_eq!(images, ["ok:1"]);
    });
}

#[test]
fn options_that_hold_their_value_are_split_from_it() {
    let text = "docker run --privileged=false -dp 80:81 -e=A=b=c --label k=v --entrypoint sh img -c 'vllm serve m'";
    with(text, |_, containers| {
        let one = containers[0];
        assert_eq!(one.node.boolean_at("privileged"), Some(false));
        assert_eq!(one.ports[0].number, 81);
        assert_eq!(one.literal("A").unwrap().0, "b=c");
        let words: Vec<_> = one.words.iter().map(|word| word.text.as_ref()).collect();
        assert_eq!(words, ["sh", "-c", "vllm", "serve", "m"]);
        assert!(one.runs("vllm"));
    });
}

#[test]
fn a_quote_in_a_here_document_that_starts_no_container_hides_nothing() {
    let mut files = Files::default();
    let text = "docker run a:1\ncat > notes <<'END'\nwho's who\nEND\ndocker run b:1\n";
    let script = read(files.add("a.sh", text), text);
    assert_eq!(script.documents.len(), 2);
    assert!(script.missing.is_empty(), "{:?}", script.missing);
}

#[test]
fn a_quote_that_never_closes_is_said() {
    let mut files = Files::default();
    let text = "docker run 'a:1\n";
    let script = read(files.add("a.sh", text), text);
    assert!(
        script.missing[0].1.contains("never closed"),
        "{:?}",
        script.missing
    );
}
