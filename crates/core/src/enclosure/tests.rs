use super::*;

/// The example of the design, as it stands there.
const CHAT: &str = r#"apiVersion: casemate.dev/v1alpha1
kind: Enclosure
metadata: { name: chat }
spec:
  trustDomain: example.internal
  identityProviders:
    - issuer: https://idp.example.internal
      audience: casemate
  models:
    - name: smollm2-135m-instruct
      version: "1"
      sealed: ./smollm2.sealed
      signers: [./release.pub]
      key: file:./dev-key.age
  stages:
    - name: redact
      profile: http
      run: { image: ./redact.oci }
      serves: 8080
    - name: infer
      profile: llama.cpp
      run: { host: [/usr, /opt/llama], command: [/opt/llama/bin/serve, "--model", "/models/smollm2-135m-instruct/model.gguf"] }
      models: [smollm2-135m-instruct@1]
      serves: 8000
      resources: { memory: 2GiB, cpus: 2, pids: 512 }
  flows:
    - { from: { group: analysts }, to: redact, routes: [chat] }
    - { from: { stage: redact }, to: infer, routes: [chat], models: [smollm2-135m-instruct@1], limits: { max-tokens: 256, requests-per-minute: 60 } }
  exposes:
    - { stage: redact, listen: "127.0.0.1:8443" }
"#;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The messages after `from` was replaced by `to` in the example.
fn after(from: &str, to: &str) -> Vec<String> {
    assert!(CHAT.contains(from), "the example has no `{from}`");
    match parse("/etc/casemate/chat.yaml", &CHAT.replacen(from, to, 1)) {
        Ok(_) => Vec::new(),
        Err(found) => found.list().iter().map(|one| one.message.clone()).collect(),
    }
}

#[track_caller]
fn one(from: &str, to: &str, message: &str) {
    let found = after(from, to);
    assert!(found.len() == 1 && found[0].contains(message), "{found:#?}");
}

#[test]
fn the_example_of_the_design_resolves() {
    let chat = parse("/etc/casemate/chat.yaml", CHAT).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(
        chat.models[0].sealed,
        Path::new("/etc/casemate/smollm2.sealed")
    );
    assert_eq!(
        chat.models[0].key,
        KeySource::File("/etc/casemate/dev-key.age".into())
    );
    let infer = chat.stage(&name("infer")).expect("is there");
    assert_eq!(infer.resources.memory, 2 << 30);
    assert_eq!(infer.resources.millicpus, 2000);
    assert_eq!(infer.profile.id.as_str(), "llama.cpp");
    let redact = name("redact");
    let (flow, port) = chat.flows_from(&redact).next().expect("one flow");
    assert_eq!((flow.to.as_str(), port), ("infer", 8000));
    assert_eq!(flow.limits.max_tokens, Some(256));
    assert_eq!(
        chat.stage_id(&redact).to_string(),
        "spiffe://example.internal/enclosure/chat/stage/redact"
    );
    assert_eq!(
        flow_variable(&name("post-process")),
        "CASEMATE_FLOW_POST_PROCESS"
    );
}

#[test]
fn a_resolved_enclosure_keeps_its_shape() {
    let mut chat = parse("/etc/casemate/chat.yaml", CHAT).unwrap_or_else(|found| panic!("{found}"));
    for stage in &mut chat.stages {
        stage.profile.routes.clear();
        stage.profile.classes.clear();
    }
    insta::assert_json_snapshot!(chat);
}

#[test]
fn every_mistake_is_shown_at_once_with_its_place_and_fix() {
    let text = CHAT
        .replace("kind: Enclosure", "kind: Enclosures")
        .replace(
            "trustDomain: example.internal",
            "trustdomain: Example.Internal",
        )
        .replace("https://idp", "http://idp")
        .replace("key: file:./dev-key.age", "key: AGE-SECRET-KEY-1QQQQ")
        .replace("profile: http\n", "profile: htpp\n")
        .replace("serves: 8000", "serves: 80")
        .replace("memory: 2GiB", "memory: 2 gigs")
        .replace("to: redact, routes: [chat]", "to: redcat, routes: []")
        .replace("\"127.0.0.1:8443\"", "localhost:8443");
    let found = parse("chat.yaml", &text).expect_err("is refused");
    insta::assert_snapshot!(found);
}

#[test]
fn a_tab_and_a_directory_that_is_hidden_say_the_way_out() {
    let help = |from: &str, to: &str| {
        let text = CHAT.replacen(from, to, 1);
        let found = parse("chat.yaml", &text).expect_err("is refused");
        found.list()[0].help.clone().unwrap_or_default()
    };
    assert_eq!(
        help("spec:\n  trustDomain", "spec:\n\ttrustDomain"),
        "indent with spaces"
    );
    assert!(help("/opt/llama]", "/tmp/llama]").contains("to `/opt`"));
}

#[test]
fn one_wrong_name_is_one_mistake() {
    one("to: infer", "to: infre", "there is no stage `infre`");
    one(
        "profile: llama.cpp",
        "profile: lama.cpp",
        "there is no profile `lama.cpp`",
    );
    one(
        "from: { stage: redact }",
        "from: { stage: redcat }",
        "there is no stage `redcat`",
    );
    one("to: redact", "to: redcat", "there is no stage `redcat`");
    one(
        "key: file:./dev-key.age",
        "key: AGE-SECRET-KEY-1QQQQ",
        "is not a key source",
    );
    one(
        "      models: [smollm2-135m-instruct@1]",
        "      models: [smollm2-135m-instruct@2]",
        "no model `smollm2-135m-instruct@2` is declared",
    );
}

#[test]
fn a_flow_to_a_stage_with_a_mistake_is_checked_all_the_same() {
    let text = CHAT
        .replace("profile: llama.cpp", "profile: lama.cpp")
        .replace("to: infer", "to: infre")
        .replace(
            "models: [smollm2-135m-instruct@1], limits",
            "models: [smollm@1], limits",
        );
    let found = parse("chat.yaml", &text).expect_err("is refused");
    insta::assert_snapshot!(found);
}

#[test]
fn paths_where_nothing_lies_are_shown_at_their_places_among_the_other_mistakes() {
    let text = CHAT.replace("to: infer", "to: infre");
    let look = |mentioned: &Mentioned| {
        let missing = mentioned.expected != Expected::HostDirectory;
        missing.then(|| Trouble {
            message: format!(
                "there is nothing at `{}` ({:?})",
                mentioned.path.display(),
                mentioned.expected
            ),
            fix: "make it".to_owned(),
        })
    };
    let found = parse_and_look("/etc/casemate/chat.yaml", &text, &look).expect_err("is refused");
    insta::assert_snapshot!(found);
    assert!(parse_and_look("/etc/casemate/chat.yaml", CHAT, &|_| None).is_ok());
}

#[test]
fn a_pasted_key_is_not_shown_back_in_the_message() {
    let found = after("key: file:./dev-key.age", "key: AGE-SECRET-KEY-1QQQQ");
    assert!(!found.join(" ").contains("QQQQ"), "{found:?}");
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    one(
        "metadata: { name: chat }",
        "metadata: { name: chat, labels: x }",
        "unknown key `labels` in `metadata`",
    );
    one(
        "      version: \"1\"",
        "      version: \"1\"\n      sha256: x",
        "unknown key `sha256` in a model",
    );
    one(
        "run: { image: ./redact.oci }",
        "run: { image: ./redact.oci, privileged: true }",
        "unknown key `privileged`",
    );
    one(
        "pids: 512",
        "pids: 512, gpus: 1",
        "unknown key `gpus` in `resources`",
    );
    one(
        "max-tokens: 256",
        "max_tokens: 256",
        "unknown key `max_tokens` in `limits`",
    );
    one(
        "group: analysts",
        "group: analysts, user: ada",
        "unknown key `user` in `from`",
    );
    one(
        "stage: redact, listen",
        "stage: redact, tls: false, listen",
        "unknown key `tls`",
    );
    one(
        "kind: Enclosure",
        "kind: Enclosure\nstatus: {}",
        "unknown key `status`",
    );
}

#[test]
fn names_must_exist() {
    one(
        "models: [smollm2-135m-instruct@1]\n",
        "models: [smollm2-135m-instruct@1, other@1]\n",
        "no model `other@1`",
    );
    one(
        "{ stage: redact, listen",
        "{ stage: redactt, listen",
        "there is no stage `redactt`",
    );
    one(
        "profile: http",
        "profile: nginx",
        "there is no profile `nginx`",
    );
    one(
        "routes: [chat] }",
        "routes: [embedding] }",
        "profile `http` has no class `embedding`",
    );
}

#[test]
fn a_class_that_reaches_state_is_never_granted() {
    one(
        "to: infer, routes: [chat]",
        "to: infer, routes: [chat, admin]",
        "class `admin` is never granted",
    );
    one(
        "to: infer, routes: [chat]",
        "to: infer, routes: [chat, files]",
        "class `files` is never granted",
    );
}

#[test]
fn models_of_a_flow_must_be_opened_behind_it() {
    assert_eq!(
        after(
            "to: redact, routes: [chat]",
            "to: redact, routes: [chat], models: [smollm2-135m-instruct@1]"
        ),
        [""; 0]
    );
    one(
        "\n      models: [smollm2-135m-instruct@1]",
        "",
        "neither `infer` nor a stage behind it opens",
    );
    one(
        ", models: [smollm2-135m-instruct@1], limits",
        ", limits",
        "this flow grants none of them",
    );
}

#[test]
fn ports_inside_a_stage_collide_only_within_it() {
    one(
        "serves: 8000",
        "serves: 8080",
        "port 8080 inside `redact` is its own server's",
    );
    one(
        "to: infer, routes",
        "at: 8080, to: infer, routes",
        "port 8080 inside `redact` is its own server's",
    );
    assert_eq!(
        after("to: infer, routes", "at: 9000, to: infer, routes"),
        [""; 0]
    );
    one(
        "to: redact, routes",
        "at: 9000, to: redact, routes",
        "a group has none",
    );
    one(
        "serves: 8000",
        "serves: 50052",
        "port 50052 is internal to llama.cpp",
    );
}

#[test]
fn flows_end_somewhere_and_once() {
    one(
        "- { from: { group: analysts }, to: redact, routes: [chat] }",
        "- { from: { group: analysts }, to: redact, routes: [chat] }\n    - { from: { group: analysts }, to: redact, routes: [health] }",
        "a second flow of this caller",
    );
    one(
        "{ from: { stage: redact }, to: infer",
        "{ from: { stage: infer }, to: infer",
        "would call itself",
    );
    let circle = after(
        "  exposes:",
        "    - { from: { stage: infer }, to: redact, routes: [chat], at: 9000 }\n  exposes:",
    );
    assert!(
        circle.iter().all(|message| message.contains("circle")) && circle.len() == 2,
        "{circle:?}"
    );
    one(
        "from: { stage: redact }",
        "from: { group: analysts, stage: redact }",
        "exactly one of a group and a stage",
    );
}

#[test]
fn an_exposed_stage_has_callers_with_a_login() {
    one(
        "- { stage: redact, listen",
        "- { stage: infer, listen",
        "`infer` is exposed, and no group may call it",
    );
    one(
        "    - issuer: https://idp.example.internal\n      audience: casemate\n",
        "    []\n",
        "there is no login",
    );
}

#[test]
fn listeners_collide_also_through_the_unspecified_address() {
    let second = "listen: \"127.0.0.1:8443\" }\n    - { stage: redact, listen: ";
    one(
        "listen: \"127.0.0.1:8443\" }",
        &format!("{second}\"0.0.0.0:8443\" }}"),
        "collides with",
    );
    assert_eq!(
        after(
            "listen: \"127.0.0.1:8443\" }",
            &format!("{second}\"127.0.0.1:8444\" }}")
        ),
        [""; 0]
    );
}

#[test]
fn an_issuer_is_https_or_this_machine() {
    for good in [
        "http://127.0.0.1:9999",
        "http://localhost:1",
        "http://[::1]:80/realm",
        "https://a.b/c/",
    ] {
        assert_eq!(
            after("https://idp.example.internal", good),
            [""; 0],
            "{good}"
        );
    }
    for bad in [
        "http://10.0.0.1",
        "http://127.0.0.1.evil.com",
        "http://localhost.evil.com",
        "http://127.0.0.1@evil.com",
        "ftp://x",
        "https://",
        "https://a?b",
        "https://a#b",
        "http://localhost:x",
        "idp",
    ] {
        assert_eq!(
            after("https://idp.example.internal", &format!("\"{bad}\"")).len(),
            1,
            "{bad}"
        );
    }
}

#[test]
fn directories_of_the_host_are_plain_and_few() {
    for bad in [
        "/",
        "/proc",
        "/run/containerd",
        "/usr/../etc",
        "usr",
        "/usr/",
        "//usr",
        "/usr/lib",
        "/tmp/x",
    ] {
        assert_eq!(
            after("/opt/llama]", &format!("/opt/llama, {bad}]")).len(),
            1,
            "{bad}"
        );
    }
    one(
        "command: [/opt/llama/bin/serve",
        "command: [/opt/other/serve",
        "lies in none of the `host` directories",
    );
    one(
        "command: [/opt/llama/bin/serve",
        "command: [serve",
        "not a plain absolute path",
    );
    one("host: [/usr, /opt/llama]", "host: []", "at least one");
}

#[test]
fn the_environment_keeps_off_what_is_ours() {
    let env = |text: &str| format!("run: {{ image: ./redact.oci, env: {{ {text} }} }}");
    let from = "run: { image: ./redact.oci }";
    assert_eq!(after(from, &env("LOG: debug")), [""; 0]);
    one(from, &env("CASEMATE_FLOW_INFER: x"), "are set by us");
    one(
        from,
        &env("https_proxy: x"),
        "does not let `https_proxy` be set",
    );
    one(from, &env("\"A B\": x"), "not the name of a variable");
    one(
        "\"--model\"",
        "\"--rpc=10.0.0.1:1\"",
        "opens what the profile",
    );
}

#[test]
fn twins_are_refused() {
    let found = after("- name: infer", "- name: redact");
    assert_eq!(found[0], "stage `redact` is declared twice");
}

#[test]
fn one_stage_that_did_not_read_does_not_make_others_unknown() {
    one("serves: 8000", "serves: many", "not a whole number");
}

/// The keys that the decoder lists when it meets one it does not know, after `from` was replaced by `to`.
fn keys_read(from: &str, to: &str) -> Vec<String> {
    let found = parse("chat.yaml", &CHAT.replacen(from, to, 1)).expect_err("is refused");
    let unknown = found
        .list()
        .iter()
        .find(|one| one.message.contains("`zzzzzzzz`"));
    let help = unknown
        .and_then(|one| one.help.clone())
        .expect("lists the keys");
    let mut keys: Vec<String> = help
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn the_schema_has_exactly_the_keys_that_are_read() {
    let schema = json_schema();
    let places = [
        (
            "/properties",
            "kind: Enclosure",
            "kind: Enclosure\nzzzzzzzz: 1",
        ),
        (
            "/properties/spec/properties",
            "  trustDomain:",
            "  zzzzzzzz: 1\n  trustDomain:",
        ),
        (
            "/$defs/IdentityProvider/properties",
            "      audience:",
            "      zzzzzzzz: 1\n      audience:",
        ),
        (
            "/$defs/Model/properties",
            "      sealed:",
            "      zzzzzzzz: 1\n      sealed:",
        ),
        (
            "/$defs/Stage/properties",
            "      profile: http",
            "      zzzzzzzz: 1\n      profile: http",
        ),
        (
            "/$defs/Stage/properties/run/properties",
            "{ image:",
            "{ zzzzzzzz: 1, image:",
        ),
        (
            "/$defs/Resources/properties",
            "{ memory:",
            "{ zzzzzzzz: 1, memory:",
        ),
        (
            "/$defs/Flow/properties",
            "- { from:",
            "- { zzzzzzzz: 1, from:",
        ),
        (
            "/$defs/Flow/properties/from/properties",
            "{ group:",
            "{ zzzzzzzz: 1, group:",
        ),
        (
            "/$defs/Limits/properties",
            "{ max-tokens:",
            "{ zzzzzzzz: 1, max-tokens:",
        ),
        (
            "/$defs/Expose/properties",
            "- { stage: redact,",
            "- { zzzzzzzz: 1, stage: redact,",
        ),
    ];
    for (pointer, from, to) in places {
        let properties = schema
            .pointer(pointer)
            .and_then(serde_json::Value::as_object);
        let mut keys: Vec<String> = properties.expect(pointer).keys().cloned().collect();
        keys.sort();
        let mut read = keys_read(from, to);
        // The name of the mapping itself stands in back quotes too, where it has one.
        read.retain(|key| !matches!((pointer, key.as_str()), (_, "spec" | "metadata" | "run" | "resources" | "from" | "limits") if !keys.contains(key)));
        assert_eq!(read, keys, "{pointer}");
    }
    insta::assert_json_snapshot!(schema);
}

#[test]
fn what_an_image_brings_is_held_to_the_profile_as_well() {
    let mut stage = parse("/etc/casemate/chat.yaml", CHAT)
        .unwrap_or_else(|found| panic!("{found}"))
        .stages
        .remove(0);
    stage.profile.flags.forbid = vec!["--trust-remote-code".to_owned()];
    stage.profile.environment.forbid = vec!["LD_*".to_owned()];
    stage.profile.environment.require = [("OFFLINE".to_owned(), "1".to_owned())].into();
    let found = |argument: &str, variable: &str| {
        let arguments = ["/serve".to_owned(), argument.to_owned()];
        let environment = ["PATH=/usr/bin".to_owned(), variable.to_owned()];
        stage.forbidden(&arguments, &environment).map(str::to_owned)
    };
    assert_eq!(found("--port", "OFFLINE=1"), None);
    for (argument, variable, forbidden) in [
        (
            "--trust-remote-code=true",
            "A=b",
            "--trust-remote-code=true",
        ),
        ("--port", "LD_PRELOAD=/x.so", "LD_PRELOAD"),
        ("--port", "LD_PRELOAD", "LD_PRELOAD"),
        ("--port", "OFFLINE=0", "OFFLINE"),
    ] {
        assert_eq!(found(argument, variable).as_deref(), Some(forbidden));
    }
}
