use crate::estate::Estate;
use crate::scan::Corpus;

/// The servers of the containers in `text`, in order.
fn servers(text: &str) -> Vec<Option<String>> {
    let mut corpus = Corpus::default();
    corpus.add_yaml("a.yaml", text);
    assert!(corpus.errors.is_empty(), "{:?}", corpus.errors);
    let estate = Estate::of(&corpus.files, &corpus.documents);
    estate
        .workloads
        .iter()
        .flat_map(|workload| &workload.containers)
        .map(|container| {
            container
                .server
                .as_ref()
                .map(|server| server.profile.clone())
        })
        .collect()
}

#[test]
fn a_server_is_known_by_its_image_or_its_command_and_never_by_a_name() {
    let found = servers(
        r#"
kind: Pod
apiVersion: v1
metadata: {name: vllm}
spec:
  containers:
    - {name: vllm, image: "busybox:1"}
    - {name: a, image: "vllm/vllm-openai:{{ .Values.tag }}"}
    - {name: b, image: "nvcr.io/nvidia/tritonserver:26.03-py3", command: [tritonserver]}
    - name: c
      image: registry.example/python
      command: [sh, -c]
      args:
        - |
          set -e  # vllm serve is not what runs
          exec python3 -m sglang.launch_server --model-path /models/a
    - {name: d, image: ollama/ollama}
    - {name: e, image: nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.4}
"#,
    );
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    assert_eq!(
        found,
        [
            None,
            Some("vllm"),
            Some("triton"),
            Some("sglang"),
            Some("ollama"),
            Some("nim")
        ]
    );
}

#[test]
fn a_service_of_compose_is_known_in_the_same_way() {
    let found = servers(
        "services:\n  a: {image: me/x, command: \"vllm serve m\"}\n  b: {image: \"ghcr.io/ggml-org/llama.cpp:server\"}\n  \
         c: {image: \"${IMAGE}\"}\n",
    );
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [Some("vllm"), Some("llama.cpp"), None]);
}

#[test]
fn clients_and_routers_are_no_servers() {
    let found = servers(
        r#"
kind: Pod
apiVersion: v1
metadata: {name: a}
spec:
  containers:
    - {name: bench, image: "nvcr.io/nvidia/tritonserver:26.03-py3-sdk", command: [perf_analyzer, -m, a]}
    - {name: server, image: "nvcr.io/nvidia/tritonserver:26.03-py3", command: [tritonserver]}
    - name: router
      image: registry.example/router:2
      command: [sh, -c, "pip install aiohttp; exec python3 -m vllm_router.app --port 8000"]
      env: [{name: VLLM_LOGGING_LEVEL, value: INFO}]
      ports: [{containerPort: 8000}]
"#,
    );
    let found: Vec<_> = found.iter().map(Option::as_deref).collect();
    assert_eq!(found, [None, Some("triton"), None]);
}
