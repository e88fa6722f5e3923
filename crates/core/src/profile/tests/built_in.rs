//! What holds for every profile that is compiled in.

use std::collections::BTreeSet;

use super::super::*;

/// A path that a template stands for.
fn path_of(template: &Template) -> String {
    let mut path = String::new();
    let mut inside = false;
    for character in template.as_str().chars() {
        match character {
            '{' => {
                inside = true;
                path.push_str("some-1");
            }
            '}' => inside = false,
            _ if inside => {}
            _ => path.push(character),
        }
    }
    path
}

#[test]
fn every_profile_is_there_once() {
    let ids: Vec<&str> = built_in_ids().collect();
    assert_eq!(all().len(), ids.len(), "one does not read");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for id in [
        "nim",
        "triton",
        "vllm",
        "sglang",
        "tgi",
        "llama.cpp",
        "ollama",
        "kserve",
        "http",
    ] {
        assert!(built_in(id).is_some(), "{id}");
    }
}

#[test]
fn every_row_is_reached_by_its_own_path_and_has_a_class() {
    for profile in all() {
        let mut seen = BTreeSet::new();
        for route in &profile.routes {
            let row = format!("{}: {} {}", profile.id, route.method, route.template);
            assert!(
                seen.insert((route.method, route.template.clone())),
                "{row} twice"
            );
            assert!(profile.grantable(&route.class).is_some(), "{row}");
            let found = match profile.route(route.method.as_str(), &path_of(&route.template)) {
                RouteVerdict::Known(found)
                | RouteVerdict::Unverified(found)
                | RouteVerdict::Ungrantable(found) => found,
                other => panic!("{row}: {other:?}"),
            };
            assert_eq!(found, route, "{row}");
        }
    }
}

#[test]
fn no_row_that_nobody_has_verified_is_let_through() {
    for profile in all() {
        for route in &profile.routes {
            let verdict = profile.route(route.method.as_str(), &path_of(&route.template));
            let never = profile.grantable(&route.class) == Some(Grantable::Never);
            match (never, &route.verified_on) {
                (true, _) => assert!(matches!(verdict, RouteVerdict::Ungrantable(_))),
                (false, None) => assert!(matches!(verdict, RouteVerdict::Unverified(_))),
                (false, Some(_)) => assert!(matches!(verdict, RouteVerdict::Known(_))),
            }
        }
    }
}

#[test]
fn only_what_somebody_ran_is_called_verified() {
    for profile in all() {
        let ran = matches!(profile.id.as_str(), "llama.cpp" | "http");
        assert_eq!(profile.verified_on.is_some(), ran, "{}", profile.id);
        let verified = profile
            .routes
            .iter()
            .any(|route| route.verified_on.is_some());
        assert_eq!(verified, ran, "{}", profile.id);
    }
}

#[test]
fn every_row_has_a_source_and_every_source_a_use() {
    for profile in all() {
        let mut used = BTreeSet::new();
        used.extend(profile.routes.iter().map(|row| row.source));
        used.extend(profile.ports.listens.iter().map(|row| row.source));
        used.extend(profile.outbound.iter().map(|row| row.source));
        used.extend(profile.secrets.iter().map(|row| row.source));
        used.extend(&profile.environment.sources);
        used.extend(&profile.flags.sources);
        used.extend(&profile.evidence.sources);
        let all: BTreeSet<u16> = (1..=u16::try_from(profile.source.len()).expect("few")).collect();
        // The two that were run are their own source for what the address does not say.
        if !matches!(profile.id.as_str(), "llama.cpp" | "http") {
            assert_eq!(used, all, "{}", profile.id);
        }
        assert!(used.is_subset(&all), "{}", profile.id);
        for source in &profile.source {
            assert!(source.starts_with("https://"), "{source}");
        }
    }
}

#[test]
fn what_changes_a_server_runs_code_or_gives_it_away_is_never_granted() {
    for (id, rows) in NEVER {
        let profile = built_in(id).expect("is compiled in");
        for row in *rows {
            let (method, path) = row.split_once(' ').expect("a method and a path");
            assert!(
                matches!(profile.route(method, path), RouteVerdict::Ungrantable(_)),
                "{id}: {row} is {:?}",
                profile.route(method, path)
            );
        }
    }
}

/// The management and execution rows of the inventory that the profiles were written from.
const NEVER: &[(&str, &[&str])] = &[
    (
        "nim",
        &[
            "GET /v1/metadata",
            "GET /v1/manifest",
            "GET /docs",
            "POST /v1/chat/completions/render",
            "POST /update_weights",
            "POST /collective_rpc",
        ],
    ),
    (
        "triton",
        &[
            "POST /v2/repository/index",
            "POST /v2/repository/models/m/load",
            "POST /v2/repository/models/m/unload",
            "POST /v2/systemsharedmemory/region/r/register",
            "POST /v2/systemsharedmemory/unregister",
            "GET /v2/systemsharedmemory/status",
            "POST /v2/cudasharedmemory/region/r/register",
            "POST /v2/trace/setting",
            "POST /v2/models/m/trace/setting",
            "POST /v2/logging",
            "GET /v2/models/m/config",
            "POST /v1/models/m/load",
            "POST /invocations",
            "POST /models",
            "POST /inference.GRPCInferenceService/RepositoryModelLoad",
            "POST /inference.GRPCInferenceService/SystemSharedMemoryRegister",
            "POST /inference.GRPCInferenceService/TraceSetting",
            "POST /inference.GRPCInferenceService/LogSettings",
        ],
    ),
    (
        "vllm",
        &[
            "POST /invocations",
            "POST /pooling",
            "POST /classify",
            "POST /score",
            "POST /rerank",
            "POST /generative_scoring",
            "POST /pause",
            "POST /resume",
            "POST /scale_elastic_ep",
            "POST /abort_requests",
            "POST /init_weight_transfer_engine",
            "POST /update_weights",
            "POST /v1/load_lora_adapter",
            "POST /v1/unload_lora_adapter",
            "POST /collective_rpc",
            "GET /server_info",
            "POST /reset_prefix_cache",
            "POST /sleep",
            "POST /start_profile",
            "GET /tokenizer_info",
            "GET /v1/realtime",
        ],
    ),
    (
        "tgi",
        &[
            "POST /chat_tokenize",
            "GET /info",
            "GET /docs",
            "POST /invocations",
            "POST /vertex",
        ],
    ),
    (
        "sglang",
        &[
            "POST /flush_cache",
            "GET /flush_cache",
            "POST /pause_generation",
            "POST /continue_generation",
            "POST /abort_request",
            "GET /release_memory_occupation",
            "POST /resume_memory_occupation",
            "POST /slow_down",
            "POST /set_internal_state",
            "POST /set_trace_level",
            "POST /configure_logging",
            "POST /freeze_gc",
            "POST /start_profile",
            "POST /pd_role_switch",
            "GET /open_session",
            "POST /close_session",
            "POST /hicache/clear",
            "POST /add_external_corpus",
            "POST /dumper/x",
            "POST /update_weights_from_disk",
            "POST /update_weights_from_tensor",
            "POST /update_weights_from_distributed",
            "POST /update_weights_from_ipc",
            "POST /init_weights_update_group",
            "POST /send_weights_to_remote_instance",
            "GET /get_weights_by_name",
            "POST /load_lora_adapter",
            "POST /load_lora_adapter_from_tensors",
            "GET /v1/realtime",
            "GET /server_info",
        ],
    ),
    (
        "llama.cpp",
        &[
            "POST /props",
            "GET /slots",
            "POST /slots/0",
            "POST /lora-adapters",
            "POST /tools",
            "GET /cors-proxy",
            "POST /models/load",
        ],
    ),
    (
        "ollama",
        &[
            "POST /api/pull",
            "POST /api/push",
            "POST /api/create",
            "POST /api/blobs/sha256-00",
            "POST /api/copy",
            "DELETE /api/delete",
            "POST /api/me",
            "POST /api/signout",
            "DELETE /api/user/keys/x",
            "POST /api/experimental/web_search",
            "POST /api/experimental/web_fetch",
        ],
    ),
    (
        "kserve",
        &[
            "POST /v2/repository/models/m/load",
            "POST /v2/repository/models/m/unload",
            "POST /inference.GRPCInferenceService/RepositoryModelLoad",
            "GET /docs",
        ],
    ),
];

#[test]
fn an_answer_that_may_stream_and_be_granted_has_a_bound() {
    for profile in all() {
        for route in &profile.routes {
            let may = profile.grantable(&route.class) == Some(Grantable::ByFlow);
            if may && route.stream != Stream::None {
                assert!(
                    !route.max_tokens.is_empty(),
                    "{}: {}",
                    profile.id,
                    route.template
                );
            }
            for refused in &route.forbid {
                let needed = route.max_tokens.contains(refused)
                    || route.model.as_ref() == Some(refused)
                    || route.answers.as_ref() == Some(refused)
                    || route.single.contains(refused);
                assert!(
                    !needed,
                    "{}: {} refuses {refused}",
                    profile.id, route.template
                );
            }
        }
    }
}

#[test]
fn a_server_answers_at_the_port_that_its_profile_names() {
    for profile in all() {
        let serves = profile.ports.serves.expect("serves");
        let class = profile.port_class(serves, &[], &std::collections::BTreeMap::new());
        assert_eq!(class, Some(PortClass::Inference), "{}", profile.id);
        assert!(!profile.ports.is_internal(serves), "{}", profile.id);
    }
}

#[test]
fn what_a_profile_requires_it_also_forbids_to_change_and_never_sets_twice() {
    for profile in all() {
        for name in profile.environment.require.keys() {
            assert!(profile.environment.forbids(name), "{}: {name}", profile.id);
        }
        for name in profile.environment.default.keys() {
            assert!(!profile.environment.forbids(name), "{}: {name}", profile.id);
        }
    }
}

#[test]
fn no_key_for_fetching_may_be_in_a_server_that_runs() {
    for profile in all() {
        let early = [Phase::Fetch, Phase::Start];
        for secret in profile
            .secrets
            .iter()
            .filter(|secret| early.contains(&secret.phase))
        {
            let refused = if secret.is_flag() {
                profile.flags.forbids(&secret.name, None)
            } else {
                profile.environment.forbids(&secret.name)
            };
            // A private key's password is needed to start, by whoever uses it.
            let own = secret.name.starts_with("--ssl");
            assert!(
                refused || own || secret.name == "--hf-token",
                "{}: {}",
                profile.id,
                secret.name
            );
        }
    }
}

#[test]
fn every_server_but_the_plain_one_can_be_recognised() {
    for profile in all().iter().filter(|profile| profile.id.as_str() != "http") {
        assert!(!profile.evidence.images.is_empty(), "{}", profile.id);
        assert!(!profile.evidence.commands.is_empty(), "{}", profile.id);
        for image in &profile.evidence.images {
            assert_eq!(image, &repository(image), "{}", profile.id);
        }
        for inner in &profile.evidence.wraps {
            assert!(
                built_in(inner.as_str()).is_some(),
                "{}: {inner}",
                profile.id
            );
        }
    }
}
