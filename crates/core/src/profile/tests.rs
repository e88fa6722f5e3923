use super::*;

mod built_in;

fn llama() -> Profile {
    built_in("llama.cpp").expect("is compiled in")
}

#[test]
fn every_profile_that_is_compiled_in_reads() {
    for (id, file, text) in BUILT_IN {
        let profile = parse(file, text).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(profile.id.as_str(), id);
        for class in &profile.classes {
            let used = profile.routes.iter().any(|route| route.class == class.name);
            assert!(used, "{id}: class {} has no route", class.name);
        }
    }
    assert_eq!(built_in("nobody"), None);
}

#[test]
fn a_chat_route_says_where_model_and_tokens_stand() {
    let profile = llama();
    let RouteVerdict::Known(route) = profile.route("POST", "/v1/chat/completions") else {
        panic!("is known")
    };
    assert_eq!(route.class.as_str(), "chat");
    assert_eq!(route.stream, Stream::Sse);
    assert_eq!(route.model.as_ref().map(Pointer::as_str), Some("/model"));
    assert!(
        route
            .max_tokens
            .iter()
            .any(|pointer| pointer.as_str() == "/n_predict")
    );
}

#[test]
fn what_no_row_names_is_denied() {
    let profile = llama();
    for path in [
        "/",
        "/v2/chat",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/slots/1/2",
    ] {
        assert_eq!(
            profile.route("POST", path),
            RouteVerdict::UnknownPath,
            "{path}"
        );
    }
    assert_eq!(
        profile.route("GET", "/v1/chat/completions"),
        RouteVerdict::OtherMethod
    );
    assert_eq!(
        profile.route("post", "/v1/chat/completions"),
        RouteVerdict::OtherMethod
    );
    assert_eq!(profile.route("HEAD", "/health"), RouteVerdict::OtherMethod);
}

#[test]
fn a_path_in_disguise_is_another_path() {
    let profile = llama();
    for path in [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions?x",
        "/v1/chat%2fcompletions",
        "/v1/x/../chat/completions",
        "v1/chat/completions",
        "/slots/..",
        "/slots/.",
        "/slots/%31",
        "/slots/",
        "/slots/a b",
        "/slots/\u{e9}",
        "",
    ] {
        assert_eq!(
            profile.route("POST", path),
            RouteVerdict::UnknownPath,
            "{path}"
        );
    }
}

#[test]
fn a_row_nobody_has_verified_is_denied() {
    assert!(matches!(
        llama().route("POST", "/v1/rerank"),
        RouteVerdict::Unverified(_)
    ));
}

#[test]
fn no_flow_can_reach_the_state_of_the_server() {
    let profile = llama();
    for (method, path) in [
        ("GET", "/props"),
        ("POST", "/props"),
        ("GET", "/slots"),
        ("POST", "/slots/0"),
        ("GET", "/lora-adapters"),
        ("POST", "/lora-adapters"),
        ("POST", "/tools"),
        ("GET", "/cors-proxy"),
        ("POST", "/v1/streams/lookup"),
        ("POST", "/models/load"),
        ("DELETE", "/models"),
    ] {
        assert!(
            matches!(profile.route(method, path), RouteVerdict::Ungrantable(_)),
            "{method} {path}"
        );
    }
}

#[test]
fn a_literal_row_wins_over_a_parameter_whatever_the_order() {
    let text = include_str!("../../profiles/http.yaml").replace(
        "routes:\n",
        "routes:\n  - { method: GET, template: \"/{any}\", class: chat, verified-on: x }\n",
    );
    let profile = parse("p.yaml", &text).unwrap_or_else(|found| panic!("{found}"));
    let class = |path| match profile.route("GET", path) {
        RouteVerdict::Known(route) => route.class.as_str(),
        other => panic!("{other:?}"),
    };
    assert_eq!(class("/health"), "health");
    assert_eq!(class("/other"), "chat");
}

#[test]
fn environment_and_flags_of_a_profile_hold() {
    let profile = llama();
    assert!(profile.environment.forbids("HF_HUB_OFFLINE"));
    assert!(profile.environment.forbids("HF_TOKEN"));
    assert!(profile.environment.forbids("LLAMA_ARG_HOST"));
    // The server reads a low line as a dash, so both spellings are one flag.
    let low = ["s".to_owned(), "--hf_repo".to_owned()];
    assert_eq!(profile.flags.forbidden_in(&low), Some("--hf_repo"));
    assert!(!profile.environment.forbids("OMP_NUM_THREADS"));
    let command = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        profile
            .flags
            .forbidden_in(&command(&["s", "--rpc=1.2.3.4"])),
        Some("--rpc=1.2.3.4")
    );
    assert_eq!(
        profile
            .flags
            .forbidden_in(&command(&["s", "--model", "/m"])),
        None
    );
}

#[test]
fn every_mistake_in_a_profile_is_shown() {
    let found = parse(
        "p.yaml",
        "id: x\nserver: y\nsource: []\nclasses:\n  - { name: chat, what: w, grant: always }\nroutes:\n  \
         - { method: get, template: //a, class: caht, model: model }\nports: { serves: 0 }\nwritable: [tmp]\nextra: 1\n",
    )
    .expect_err("is refused");
    insta::assert_snapshot!(found);
}

#[test]
fn a_profile_reads_back_from_json() {
    let text = serde_json::to_string(&llama()).expect("writes");
    assert_eq!(
        serde_json::from_str::<Profile>(&text).expect("reads"),
        llama()
    );
    let hostile = text.replacen("/v1/chat/completions", "/v1/../x", 1);
    assert!(serde_json::from_str::<Profile>(&hostile).is_err());
}

#[test]
fn a_verb_may_stand_behind_a_parameter() {
    let template: Template = "/v1/models/{model}:predict".parse().expect("is one");
    assert!(template.matches("/v1/models/mine:predict"));
    for path in [
        "/v1/models/:predict",
        "/v1/models/mine",
        "/v1/models/mine:explain",
        "/v1/models/mine:predict/x",
        "/v1/models/mine:predict:predict",
        "/v1/models/..:predict",
        "/v1/models/mine%3apredict",
    ] {
        assert!(!template.matches(path), "{path}");
    }
    for bad in [
        "/{a}b", "/{a}:", "/{a}:B", "/x{a}", "/{a}:b:c", "/{a}{b}", "/{}:b",
    ] {
        assert!(bad.parse::<Template>().is_err(), "{bad}");
    }
}

#[test]
fn a_flag_is_seen_in_each_of_its_spellings_and_with_its_value() {
    let flags = Flags {
        forbid: vec![
            "--trust-remote-code".to_owned(),
            "--mode=poll".to_owned(),
            "-hf".to_owned(),
        ],
        require: vec![RequiredFlag {
            flag: "--no-docs".to_owned(),
            why: "they show".to_owned(),
        }],
        shortened: false,
        sources: Vec::new(),
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for refused in [
        "s --trust-remote-code",
        "s --trust_remote_code",
        "s --trust-remote-code=true",
        "s --trust-remote-code.member 1",
        "s --mode poll",
        "s --mode=poll",
        "s -hf x",
    ] {
        assert!(flags.forbidden_in(&words(refused)).is_some(), "{refused}");
    }
    for fine in [
        "s --mode none",
        "s --mode=none poll",
        "s --mode",
        "s -HF",
        "s --trust-remote",
    ] {
        assert_eq!(flags.forbidden_in(&words(fine)), None, "{fine}");
    }
    let short = Flags {
        shortened: true,
        ..flags.clone()
    };
    for refused in ["s --trust_r", "s --tr=1", "s --mo poll"] {
        assert!(short.forbidden_in(&words(refused)).is_some(), "{refused}");
    }
    for fine in ["s --", "s -", "s --trusted", "s --mo none", "s -h"] {
        assert_eq!(short.forbidden_in(&words(fine)), None, "{fine}");
    }
    assert_eq!(flags.missing_in(&words("s --port 1")).count(), 1);
    assert_eq!(flags.missing_in(&words("s --no_docs")).count(), 0);
}

#[test]
fn a_row_can_only_name_a_source_that_is_there() {
    let text = include_str!("../../profiles/http.yaml");
    let text = text.replacen("template: /health,", "template: /health, source: 2,", 1);
    let found = parse("p.yaml", &text).expect_err("there is one source");
    assert!(found.to_string().contains("from 1 to 1"), "{found}");
    let text = text.replacen("source: 2,", "source: 0,", 1);
    assert!(parse("p.yaml", &text).is_err());
}

#[test]
fn a_host_is_called_only_when_something_asks_for_it() {
    let wanted = |id: &str, host: &str, command: &str, variables: &[(&str, &str)]| {
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = variables.iter().map(pair).collect();
        built_in(id)
            .expect("is compiled in")
            .outbound
            .iter()
            .any(|row| row.host == host && row.is_wanted(&command, &environment))
    };
    assert!(wanted("vllm", "huggingface.co", "", &[]));
    assert!(!wanted("vllm", "modelscope.cn", "", &[]));
    assert!(!wanted(
        "vllm",
        "modelscope.cn",
        "",
        &[("VLLM_USE_MODELSCOPE", "False")]
    ));
    assert!(wanted(
        "vllm",
        "modelscope.cn",
        "",
        &[("VLLM_USE_MODELSCOPE", "true")]
    ));
    let bucket = "*.amazonaws.com";
    assert!(wanted(
        "nim",
        bucket,
        "",
        &[("NIM_MODEL_PATH", "s3://weights/m")]
    ));
    assert!(!wanted(
        "nim",
        bucket,
        "",
        &[("NIM_MODEL_PATH", "/models/m")]
    ));
    // A value that comes from a secret may be anything.
    assert!(wanted("nim", bucket, "", &[("NIM_MODEL_PATH", "")]));
    assert!(wanted(
        "triton",
        bucket,
        "tritonserver --model-repository=s3://weights/m",
        &[]
    ));
    assert!(!wanted(
        "triton",
        bucket,
        "tritonserver --model-repository=/models",
        &[]
    ));
    assert!(wanted(
        "llama.cpp",
        "huggingface.co",
        "llama-server -hf a/b",
        &[]
    ));
    assert!(!wanted(
        "llama.cpp",
        "huggingface.co",
        "llama-server -m /m.gguf",
        &[]
    ));
}
