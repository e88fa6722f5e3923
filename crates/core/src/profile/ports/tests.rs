use super::*;
use crate::profile::built_in;

fn command(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn class(id: &str, port: u16, words: &str, pairs: &[(&str, &str)]) -> Option<PortClass> {
    built_in(id)
        .expect("is compiled in")
        .port_class(port, &command(words), &variables(pairs))
}

#[test]
fn a_port_has_the_class_of_what_listens_there() {
    assert_eq!(class("triton", 8000, "", &[]), Some(PortClass::Inference));
    assert_eq!(class("triton", 8002, "", &[]), Some(PortClass::Metrics));
    assert_eq!(class("vllm", 29500, "", &[]), Some(PortClass::Internal));
    assert_eq!(class("tgi", 9000, "", &[]), Some(PortClass::Metrics));
    assert_eq!(class("nim", 8000, "", &[]), Some(PortClass::Inference));
    assert_eq!(class("vllm", 4711, "", &[]), None);
}

#[test]
fn a_flag_moves_a_port_in_every_spelling() {
    for words in [
        "vllm serve /m --port 9001",
        "vllm serve /m --port=9001",
        "vllm serve /m --port 8001 --port 9001",
    ] {
        assert_eq!(
            class("vllm", 9001, words, &[]),
            Some(PortClass::Inference),
            "{words}"
        );
        assert_eq!(class("vllm", 8000, words, &[]), None, "{words}");
    }
    // KServe writes its flags with a low line, and either is read.
    let words = "python -m sklearnserver --http-port=9090";
    assert_eq!(
        class("kserve", 9090, words, &[]),
        Some(PortClass::Inference)
    );
    let words = "tritonserver --metrics-port 9102 --http-port=9100";
    assert_eq!(class("triton", 9102, words, &[]), Some(PortClass::Metrics));
    assert_eq!(class("triton", 8002, words, &[]), None);
}

#[test]
fn a_flag_inside_a_script_counts() {
    let script = [
        "sh",
        "-c",
        "cd /app && exec vllm serve /m --port 9001; sleep 1",
    ]
    .map(str::to_owned);
    let vllm = built_in("vllm").expect("is compiled in");
    assert_eq!(
        vllm.port_class(9001, &script, &BTreeMap::new()),
        Some(PortClass::Inference)
    );
}

#[test]
fn a_variable_moves_a_port_and_a_flag_wins_over_it() {
    let at = |value| class("ollama", 7000, "", &[("OLLAMA_HOST", value)]);
    for value in [
        "0.0.0.0:7000",
        "[::]:7000",
        "http://0.0.0.0:7000/",
        ":7000",
        "7000",
    ] {
        assert_eq!(at(value), Some(PortClass::Inference), "{value}");
    }
    let address_only = class("ollama", 11434, "", &[("OLLAMA_HOST", "0.0.0.0")]);
    assert_eq!(address_only, Some(PortClass::Inference));
    let nim = class("nim", 9999, "", &[("NIM_SERVER_PORT", "9999")]);
    assert_eq!(nim, Some(PortClass::Inference));
    let tgi = class(
        "tgi",
        80,
        "text-generation-launcher --port 80",
        &[("PORT", "3001")],
    );
    assert_eq!(tgi, Some(PortClass::Inference));
}

#[test]
fn what_cannot_be_read_is_said_and_not_guessed() {
    let vllm = built_in("vllm").expect("is compiled in");
    for words in [
        "vllm serve /m --port $(PORT)",
        "vllm serve /m --port={{.Port}}",
        "vllm serve /m --port",
    ] {
        let open = vllm.listening(&command(words), &BTreeMap::new());
        let first = open.first().expect("listens");
        assert_eq!(
            (first.port, first.moved_by),
            (None, Some("--port")),
            "{words}"
        );
    }
    let ollama = built_in("ollama").expect("is compiled in");
    let open = ollama.listening(&[], &variables(&[("OLLAMA_HOST", "")]));
    assert_eq!(open.first().expect("listens").port, None);
}

#[test]
fn a_port_that_was_not_asked_for_is_not_open() {
    assert_eq!(class("triton", 8080, "tritonserver", &[]), None);
    let on = "tritonserver --allow-sagemaker=true";
    assert_eq!(class("triton", 8080, on, &[]), Some(PortClass::Management));
    let off = "tritonserver --allow-sagemaker=false";
    assert_eq!(class("triton", 8080, off, &[]), None);
    assert_eq!(class("sglang", 50051, "", &[]), None);
    let asked = "python -m sglang.launch_server --grpc-port 50051";
    assert_eq!(
        class("sglang", 50051, asked, &[]),
        Some(PortClass::Inference)
    );
    let health = class("nim", 8010, "", &[("NIM_HEALTH_PORT", "8010")]);
    assert_eq!(health, Some(PortClass::Health));
}

#[test]
fn a_port_that_was_switched_off_is_closed() {
    assert_eq!(
        class("triton", 8002, "tritonserver --allow-metrics false", &[]),
        None
    );
    assert_eq!(
        class(
            "kserve",
            8081,
            "python -m sklearnserver --enable_grpc=False",
            &[]
        ),
        None
    );
    assert_eq!(
        class("triton", 8002, "tritonserver --allow-metrics true", &[]),
        Some(PortClass::Metrics)
    );
}

#[test]
fn of_two_uses_the_less_public_one_counts() {
    let words = "vllm serve /m --port 29500";
    assert_eq!(class("vllm", 29500, words, &[]), Some(PortClass::Internal));
}
