//! Settings of vLLM that open more than inference: debugging, adapters, profilers, tools, what it tells its makers.

use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::rules::reach;
use crate::workload::Role;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-001",
        title: "vLLM runs in development mode",
        group: Group::Server,
        severity: Severity::Critical,
        why: "Development mode adds routes that the API key does not guard: `/collective_rpc` calls any method of the \
              workers by name, `/server_info` prints the configuration, `/sleep` and the cache resets stop the service. \
              Whoever reaches the port runs code in the process that holds the weights.",
        fix: "Remove `VLLM_SERVER_DEV_MODE`, or set it to `0`.",
        maps: &["LLM03", "AML.T0049", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(development_mode)],
    },
    Rule {
        id: "AI-006",
        title: "adapters can be loaded while the server runs",
        group: Group::Server,
        severity: Severity::High,
        why: "An adapter changes what the model answers. With loading at run time, a caller of `/v1/load_lora_adapter`, \
              or whoever can write the adapters' folder, puts a back door into a model that was checked at start.",
        fix: "Name the adapters at start with `--lora-modules` and mount their folder read-only.",
        maps: &["LLM04", "AML.T0018", "AML.M0013"],
        checks: &[Check::Container(adapters_at_run_time)],
    },
    Rule {
        id: "AI-009",
        title: "the profiler is on",
        group: Group::Server,
        severity: Severity::Medium,
        why: "A profiler folder adds `/start_profile` and `/stop_profile`, which no key guards. A caller can slow every \
              request down, fill the disk with traces, and leave shapes and timings of other people's requests in a file.",
        fix: "Remove the profiler's folder and configuration from what serves; profile a copy that nobody uses.",
        maps: &["NIST 800-190 4.4.3", "AML.T0029"],
        checks: &[Check::Container(profiler)],
    },
    Rule {
        id: "AI-010",
        title: "the tokenizer's configuration is published",
        group: Group::Server,
        severity: Severity::Low,
        why: "`/tokenizer_info` gives the chat template, and with it the system prompt's frame and the tool format, to \
              any caller: what one needs to write prompts that break out of it.",
        fix: "Remove `--enable-tokenizer-info-endpoint`.",
        maps: &["LLM07", "AML.T0056"],
        checks: &[Check::Container(tokenizer_info)],
    },
    Rule {
        id: "AI-011",
        title: "vLLM takes pickles from its peers",
        group: Group::Server,
        severity: Severity::Critical,
        why: "With insecure serialization, messages between the server's processes may be pickles, and a pickle is a \
              program. Whoever can send one message to an engine's port, on which nothing asks for a key, runs code \
              beside the weights.",
        fix: "Remove `VLLM_ALLOW_INSECURE_SERIALIZATION`, or set it to `0`.",
        maps: &["AML.T0011.000", "LLM03", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(insecure_serialization)],
    },
    Rule {
        id: "AI-014",
        title: "the server runs tools for the model",
        group: Group::Server,
        severity: Severity::High,
        why: "The demonstration tool server lets the model browse and run Python in the server's own container. A prompt \
              that somebody hides in a web page then acts with the server's network, files and service account.",
        fix: "Remove the demonstration tools. Where tools are needed, run them in a sandbox of their own and name it: \
              `--tool-server tools.sandbox.svc:9000`.",
        maps: &["LLM06", "AML.T0053", "AML.T0051"],
        checks: &[Check::Container(tools)],
    },
    Rule {
        id: "AI-016",
        title: "vLLM reports its use to its makers",
        group: Group::Server,
        severity: Severity::Low,
        why: "At start and every ten minutes vLLM posts the model's architecture, the GPU, the cloud and parts of its \
              configuration to stats.vllm.ai: a connection out that tells others what runs here, and that hides others.",
        fix: "Set `VLLM_NO_USAGE_STATS=1`, or `DO_NOT_TRACK=1`, which the hub's library obeys too.",
        maps: &["LLM02", "NIST 800-190 4.4.2"],
        checks: &[Check::Container(usage_statistics)],
    },
];

/// Whether variables that only vLLM reads would be read here: by vLLM, by what wraps it, or by we know not what.
fn may_be_vllm(case: &Case<'_>) -> bool {
    case.container.role == Role::Main
        && (case.container.server.is_none()
            || reach::serves(case, &["vllm", "nim", "triton", "kserve"]))
}

fn switch_off(case: &Case<'_>, sink: &mut Sink<'_>, name: &str, what: &str) {
    if !may_be_vllm(case) {
        return;
    }
    if let Some(place) = case.container.switched_on(name) {
        let message = format!(
            "`{name}` is on in container `{}`: {what}",
            case.container.name
        );
        let finding = sink.find(place, format!("env {name}"), message);
        if let Some(change) = reach::set_variable(case, place, "0") {
            finding.change(change);
        }
    }
}

fn development_mode(case: &Case<'_>, sink: &mut Sink<'_>) {
    switch_off(
        case,
        sink,
        "VLLM_SERVER_DEV_MODE",
        "`/collective_rpc` calls any method of the workers for whoever reaches the port, with or without a key",
    );
}

fn insecure_serialization(case: &Case<'_>, sink: &mut Sink<'_>) {
    switch_off(
        case,
        sink,
        "VLLM_ALLOW_INSECURE_SERIALIZATION",
        "a peer's message may be a pickle, which runs when it is read",
    );
}

fn adapters_at_run_time(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if reach::serves(case, &["vllm"])
        && reach::switched(container, &["--enable-lora"]).is_some()
        && let Some(place) = container.switched_on("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    {
        let message = "`/v1/load_lora_adapter` loads any adapter that the server can read, for any caller that the key lets in";
        let finding = sink.find(place, "env VLLM_ALLOW_RUNTIME_LORA_UPDATING", message);
        if let Some(change) = reach::set_variable(case, place, "0") {
            finding.change(change);
        }
    }
    // NIM looks into its adapters' folder again and again only when it is told how often.
    if reach::serves(case, &["nim"])
        && let Some((folder, _)) = container.literal("NIM_PEFT_SOURCE")
        && let Some((seconds, place)) = container.literal("NIM_PEFT_REFRESH_INTERVAL")
        && let Some(mount) = reach::mount_of(container, folder)
        && !mount.read_only
    {
        let message = format!(
            "NIM loads what is in `{folder}` again every {seconds} seconds, and `{}` is mounted writable",
            mount.path
        );
        sink.find(place, "env NIM_PEFT_REFRESH_INTERVAL", message)
            .fix(format!(
                "Mount `{}` read-only, or remove `NIM_PEFT_REFRESH_INTERVAL` so that adapters are read once.",
                mount.path
            ));
    }
}

fn profiler(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let container = case.container;
    let folder = container
        .literal("VLLM_TORCH_PROFILER_DIR")
        .filter(|(folder, _)| !folder.is_empty());
    if let Some((folder, place)) = folder {
        let message = format!(
            "traces go to `{folder}` whenever somebody calls `/start_profile`, and nothing asks for a key"
        );
        sink.find(place, "env VLLM_TORCH_PROFILER_DIR", message);
    } else if let Some(place) = container.switched_on("VLLM_TORCH_CUDA_PROFILE") {
        let message = "`/start_profile` turns the CUDA profiler on for whoever calls it";
        sink.find(place, "env VLLM_TORCH_CUDA_PROFILE", message);
    }
    if let Some((value, place)) = profiler_configuration(case) {
        let message =
            format!("the profiler is configured (`{value}`): whoever reaches the port starts it");
        sink.find(place, "--profiler-config", message);
    }
}

/// The profiler that `--profiler-config` asks for, as one JSON text or as `--profiler-config.profiler`.
fn profiler_configuration<'look>(case: &Case<'look>) -> Option<(&'look str, Place)> {
    let dotted = case.container.flag(&["--profiler-config.profiler"]);
    let named = dotted.or_else(|| {
        let whole = case.container.flag(&["--profiler-config"])?;
        let text: String = whole.value?.split_whitespace().collect();
        let asks = text.contains("\"profiler\":\"");
        asks.then_some(whole)
    })?;
    named.value.map(|value| (value, named.place))
}

fn tokenizer_info(case: &Case<'_>, sink: &mut Sink<'_>) {
    if reach::serves(case, &["vllm"])
        && let Some((_, place)) =
            reach::switched(case.container, &["--enable-tokenizer-info-endpoint"])
    {
        let message = "`/tokenizer_info` answers any caller with the chat template and the tokenizer's settings";
        sink.find(place, "--enable-tokenizer-info-endpoint", message);
    }
}

fn tools(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let container = case.container;
    let demonstration = reach::uses(container, "--tool-server")
        .into_iter()
        .find(|(servers, _)| servers.split(',').any(|one| one.trim() == "demo"));
    if let Some((_, place)) = demonstration {
        let way_out = if reach::has_egress_policy(case) {
            "and reads what the container can read"
        } else {
            "and no policy stops what it sends out"
        };
        let message = format!(
            "`--tool-server demo` runs a browser and Python for the model inside this container, {way_out}"
        );
        sink.find(place, "--tool-server", message);
    }
    if let Some((backend, place)) = container.literal("PYTHON_EXECUTION_BACKEND")
        && backend.starts_with("dangerously")
    {
        let message = format!(
            "`{backend}` runs the model's Python as the server itself, with its files and its network"
        );
        sink.find(place, "env PYTHON_EXECUTION_BACKEND", message)
            .fix("Remove `PYTHON_EXECUTION_BACKEND`; run code for the model in a sandbox of its own.");
    } else if demonstration.is_none()
        && !reach::has_egress_policy(case)
        && let Some((labels, place)) = container.literal("VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS")
        && let Some(tool) = labels
            .split(',')
            .map(str::trim)
            .find(|label| matches!(*label, "code_interpreter" | "container"))
    {
        let message = format!(
            "callers may have the model use `{tool}`, and no policy stops what it sends out"
        );
        sink.find(place, "env VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS", message)
            .severity(Severity::Medium)
            .fix("Take the tool off the list, or select the pod with an egress policy that names where it may go.");
    }
}

/// The variables with which vLLM is told not to report.
const OPT_OUTS: &[&str] = &["VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK", "DO_NOT_TRACK"];

fn usage_statistics(case: &Case<'_>, sink: &mut Sink<'_>) {
    if !reach::serves(case, &["vllm"]) {
        return;
    }
    let container = case.container;
    let given = || {
        OPT_OUTS
            .iter()
            .filter_map(|name| Some((*name, container.literal(name)?)))
    };
    if given().any(|(_, (value, _))| value.trim() == "1") {
        return;
    }
    // Most versions compare with `1` and with nothing else.
    if let Some((name, (value, place))) =
        given().find(|(_, (value, _))| crate::workload::is_on(value))
    {
        let message =
            format!("vLLM takes only `1` for yes: with `{name}={value}` it reports all the same");
        let finding = sink.find(place, format!("env {name}"), message);
        if let Some(change) = reach::set_variable(case, place, "1") {
            finding.change(change);
        }
        return;
    }
    let named = OPT_OUTS.iter().find_map(|name| container.variable(name));
    if named.is_none()
        && let Some(from) = reach::unseen_environment(container)
    {
        let message = "the environment that is taken in here may hold `VLLM_NO_USAGE_STATS`";
        sink.cannot_tell(from, message);
    } else if let Some(variable) =
        named.filter(|variable| !matches!(variable.value, crate::workload::Given::Literal { .. }))
    {
        sink.cannot_tell(
            variable.place,
            format!("the value of `{}` is not in these documents", variable.name),
        );
    } else {
        let message = format!(
            "vLLM in container `{}` posts its model, its GPU and its settings to stats.vllm.ai every ten minutes",
            container.name
        );
        let finding = sink.find(
            reach::identity(container),
            "env VLLM_NO_USAGE_STATS",
            message,
        );
        if named.is_none()
            && let Some(change) = reach::add_variable(case, "VLLM_NO_USAGE_STATS", "1")
        {
            finding.change(change);
        }
    }
}
