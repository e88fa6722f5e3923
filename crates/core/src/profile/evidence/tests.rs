use proptest::prelude::*;

use super::*;

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn image(image: &str) -> Observed {
    Observed {
        image: Some(image.to_owned()),
        ..Observed::default()
    }
}

fn command(command: &[&str]) -> Observed {
    Observed {
        command: words(command),
        ..Observed::default()
    }
}

fn found(observed: &Observed) -> Option<&'static str> {
    recognise_one(observed).map(|one| one.profile.id.as_str())
}

#[test]
fn an_image_says_which_server_it_is_from_any_registry_at_any_tag() {
    for (reference, id) in [
        ("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.3", "nim"),
        (
            "registry.corp:5000/nvcr.io/nim/nvidia/nv-embedqa-e5-v5@sha256:ab",
            "nim",
        ),
        ("nvcr.io/nvidia/tritonserver:25.08-py3", "triton"),
        ("harbor.corp/mirror/tritonserver:1", "triton"),
        ("vllm/vllm-openai", "vllm"),
        ("docker.io/vllm/vllm-openai:v0.11.0", "vllm"),
        ("registry.corp:5000/vllm/vllm-openai:latest", "vllm"),
        ("registry.redhat.io/rhaiis/vllm-cuda-rhel9:3.2", "vllm"),
        ("lmsysorg/sglang:v0.5.4-cu126", "sglang"),
        ("ghcr.io/huggingface/text-generation-inference:3.3.4", "tgi"),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", "llama.cpp"),
        ("ollama/ollama", "ollama"),
        ("docker.io/ollama/ollama:0.12.3", "ollama"),
        ("index.docker.io/ollama/ollama@sha256:0123", "ollama"),
        ("ghcr.io/llm-d/llm-d-cuda:v0.9.0", "vllm"),
        ("kserve/sklearnserver:v0.15.0", "kserve"),
        ("gcr.io/kfserving/sklearnserver:v0.6.1", "kserve"),
        ("docker.io/kserve/huggingfaceserver:v0.15.0-gpu", "kserve"),
        ("Ollama/Ollama:latest", "ollama"),
    ] {
        let one = recognise_one(&image(reference)).unwrap_or_else(|| panic!("{reference}"));
        assert_eq!(one.profile.id.as_str(), id, "{reference}");
        assert_eq!(one.confidence, Confidence::Certain, "{reference}");
        assert_eq!(one.reasons, [Reason::Image(reference.to_owned())]);
    }
}

#[test]
fn a_command_says_which_server_it_is_in_any_image() {
    for (argv, id) in [
        (&["vllm", "serve", "/models/m"] as &[&str], "vllm"),
        (&["/usr/local/bin/vllm", "serve", "m"], "vllm"),
        (
            &[
                "python3",
                "-m",
                "vllm.entrypoints.openai.api_server",
                "--model",
                "m",
            ],
            "vllm",
        ),
        (
            &[
                "/usr/bin/python3.12",
                "-u",
                "-m",
                "vllm.entrypoints.openai.api_server",
            ],
            "vllm",
        ),
        (&["/bin/sh", "-c", "exec vllm serve /m --port 8000"], "vllm"),
        (
            &[
                "bash",
                "-lc",
                "export A=1\nHF_HUB_OFFLINE=1 vllm serve /m \\\n --port 9",
            ],
            "vllm",
        ),
        (&["env", "A=1", "tini", "--", "vllm", "serve", "m"], "vllm"),
        (
            &[
                "bash",
                "-c",
                "if [ \"$A\" = \"b\" ]; then\n  echo \"vllm\"\nfi\neval \"vllm serve \\\n /m --port 8000 $ARGS\"",
            ],
            "vllm",
        ),
        (&["uv", "run", "vllm", "serve", "m"], "vllm"),
        (&["tritonserver", "--model-repository=/models"], "triton"),
        (
            &[
                "bash",
                "-c",
                "ulimit -l unlimited; tritonserver --model-store /m",
            ],
            "triton",
        ),
        (
            &["python3", "-m", "sglang.launch_server", "--model-path", "m"],
            "sglang",
        ),
        (&["sglang", "serve", "--model-path", "m"], "sglang"),
        (&["text-generation-launcher", "--model-id", "m"], "tgi"),
        (&["llama-server", "-m", "/m.gguf"], "llama.cpp"),
        (&["/app/llama-server", "-m", "/m.gguf"], "llama.cpp"),
        (&["/bin/ollama", "serve"], "ollama"),
        (
            &["sh", "-c", "ollama serve & sleep 5 && ollama pull llama3.2"],
            "ollama",
        ),
        (
            &["python", "-m", "huggingfaceserver", "--model_name=m"],
            "kserve",
        ),
        (&["/opt/nim/start_server.sh"], "nim"),
        (&["nim-serve", "--max-model-len", "4096"], "nim"),
    ] {
        assert_eq!(found(&command(argv)), Some(id), "{argv:?}");
    }
}

#[test]
fn what_only_talks_to_a_server_is_not_one() {
    for argv in [
        &["vllm", "bench", "serve"] as &[&str],
        &["vllm", "chat", "--url", "http://vllm:8000/v1"],
        &["python", "client.py", "--command", "vllm serve"],
        &["python", "-m", "vllm_client"],
        &["curl", "http://ollama:11434/api/tags"],
        &[
            "sh",
            "-c",
            "until curl -sf vllm:8000/health; do sleep 1; done",
        ],
        &["echo", "vllm", "serve"],
        &["/app/start_server.sh"],
        &["download-to-cache"],
        &["ollama", "pull", "llama3.2"],
        &["perf_analyzer", "-m", "m", "-u", "triton:8001"],
    ] {
        assert_eq!(found(&command(argv)), None, "{argv:?}");
    }
    for reference in [
        "my/vllm-client",
        "acme/vllm-openai-client:1",
        "vllm-openai.corp/proxy",
        "nvcr.io/nvidia/cloud-native/k8s-nim-operator:v2",
        "acme/nim-proxy",
        "lmsysorg/sglang-router",
        "ghcr.io/open-webui/open-webui:ollama",
        "acme/ollama-exporter",
        "kserve/kserve-controller:v0.15",
        "ghcr.io/llm-d/llm-d-routing-sidecar:v0.7.1",
        "ghcr.io/llm-d/llm-d-inference-scheduler:v0.7.1",
        "kserve/storage-initializer:v0.15",
        "python:3.12",
        "",
        ":",
        "@",
    ] {
        assert_eq!(found(&image(reference)), None, "{reference}");
    }
}

#[test]
fn a_port_or_a_probe_alone_is_nothing() {
    let observed = Observed {
        image: Some("acme/web:1".to_owned()),
        ports: vec![8000, 8001, 8002, 11434, 30000],
        probes: words(&["/v1/health/ready", "/v2/health/ready", "/health_generate"]),
        ..Observed::default()
    };
    assert_eq!(found(&observed), None);
    let hints = recognise(&observed);
    assert!(!hints.is_empty());
    assert!(hints.iter().all(|one| one.confidence == Confidence::Hint));
}

#[test]
fn variables_say_it_together_and_never_those_of_a_client() {
    let with = |names: &[&str]| Observed {
        image: Some("registry.corp/llm:7".to_owned()),
        environment: words(names),
        ..Observed::default()
    };
    assert_eq!(
        found(&with(&["OLLAMA_NUM_PARALLEL", "OLLAMA_KEEP_ALIVE"])),
        Some("ollama")
    );
    assert_eq!(
        found(&with(&[
            "NIM_CACHE_PATH",
            "NIM_MODEL_PROFILE",
            "NGC_API_KEY"
        ])),
        Some("nim")
    );
    assert_eq!(
        found(&with(&["VLLM_ATTENTION_BACKEND", "VLLM_USE_V1"])),
        Some("vllm")
    );
    assert_eq!(
        found(&with(&["OLLAMA_HOST", "OLLAMA_BASE_URL", "OLLAMA_API_KEY"])),
        None
    );
    assert_eq!(
        found(&with(&[
            "VLLM_API_KEY",
            "VLLM_BASE_URL",
            "VLLM_URL",
            "VLLM_MODEL"
        ])),
        None
    );
    assert_eq!(
        found(&with(&["NIM_API_KEY", "NIM_BASE_URL", "NGC_API_KEY"])),
        None
    );
    assert_eq!(found(&with(&["VLLM_ATTENTION_BACKEND"])), None);
    let mut one = with(&["VLLM_ATTENTION_BACKEND"]);
    one.ports.push(8000);
    let one = recognise_one(&one).expect("a variable and a port");
    assert_eq!(
        (one.profile.id.as_str(), one.confidence),
        ("vllm", Confidence::Likely)
    );
    // One name given twice is one name.
    assert_eq!(found(&with(&["VLLM_USE_V1", "VLLM_USE_V1"])), None);
}

#[test]
fn the_server_around_another_is_the_one_that_is_meant() {
    let mut observed = image("nvcr.io/nim/meta/llama-3.1-8b-instruct:2.0.3");
    observed.environment = words(&["VLLM_ATTENTION_BACKEND", "VLLM_USE_V1", "NGC_API_KEY"]);
    observed.command = words(&["vllm", "serve", "/m"]);
    observed.ports.push(8000);
    let all = recognise(&observed);
    let ids: Vec<&str> = all.iter().map(|one| one.profile.id.as_str()).collect();
    assert_eq!(ids.get(..2), Some(&["nim", "vllm"] as &[&str]));
    let mut observed = image("kserve/huggingfaceserver:v0.15.0");
    observed.environment = words(&["VLLM_CONFIG_ROOT", "VLLM_USE_V1"]);
    assert_eq!(found(&observed), Some("kserve"));
    // KServe with Triton's image is Triton.
    assert_eq!(
        found(&image("nvcr.io/nvidia/tritonserver:24.08-py3")),
        Some("triton")
    );
}

#[test]
fn a_servers_image_that_runs_something_else_is_only_a_hint() {
    let mut observed = image("ollama/ollama:0.12.3");
    observed.command = words(&["ollama", "pull", "llama3.2"]);
    assert_eq!(found(&observed), None);
    let hint = recognise(&observed).into_iter().next().expect("a hint");
    assert_eq!(hint.confidence, Confidence::Hint);
    assert_eq!(
        hint.reasons
            .iter()
            .map(Reason::to_string)
            .collect::<Vec<_>>(),
        [
            "image `ollama/ollama:0.12.3`",
            "but it runs `ollama pull`, which serves nothing"
        ]
    );
    let mut observed = image("nvcr.io/nim/meta/llama-3.1-8b-instruct:2.0.3");
    observed.command = words(&["bash", "-c", "download-to-cache --profile x"]);
    assert_eq!(found(&observed), None);
    // With other arguments the image still says it.
    let mut observed = image("vllm/vllm-openai:v0.11.0");
    observed.command = words(&["--model", "/models/m"]);
    assert_eq!(found(&observed), Some("vllm"));
}

#[test]
fn reasons_are_said_in_words() {
    let mut observed = command(&["vllm", "serve", "/m"]);
    observed.environment = words(&["VLLM_USE_V1"]);
    observed.ports.push(8000);
    let one = recognise_one(&observed).expect("is one");
    let said: Vec<String> = one.reasons.iter().map(Reason::to_string).collect();
    assert_eq!(
        said,
        ["command `vllm serve`", "variables VLLM_USE_V1", "port 8000"]
    );
}

#[test]
fn a_repository_is_what_stands_before_tag_and_digest() {
    for (reference, expected) in [
        ("ollama/ollama", "ollama/ollama"),
        ("docker.io/library/python:3.12", "python"),
        ("registry.corp:5000/a/b", "registry.corp:5000/a/b"),
        ("registry.corp:5000/a/b:1", "registry.corp:5000/a/b"),
        ("a/b:1@sha256:00", "a/b"),
        ("oci://GHCR.io/A/B:1", "ghcr.io/a/b"),
        (
            "{{ .Values.image }}:{{ .Values.tag }}",
            "{{ .values.image }}",
        ),
    ] {
        assert_eq!(repository(reference), expected, "{reference}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_observed_stops_us(
        image in "\\PC{0,40}",
        command in proptest::collection::vec("[-a-z='\"\\\\ $();&|#\n]{0,30}", 0..6),
        environment in proptest::collection::vec("[A-Z_]{0,20}", 0..4),
    ) {
        let mut all = vec!["sh".to_owned(), "-c".to_owned()];
        all.extend(command);
        let observed = Observed { image: Some(image), command: all, environment, ..Observed::default() };
        for one in recognise(&observed) {
            prop_assert!(!one.reasons.is_empty());
        }
    }
}
