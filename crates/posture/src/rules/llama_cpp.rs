//! llama.cpp's server, and back ends that run what they are sent.

use crate::place::Place;
use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::Container;

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-035",
        title: "llama.cpp's server is open, or shows and changes its state",
        group: Group::Server,
        severity: Severity::High,
        why: "Without a key everybody in reach uses the model. `--props` lets them change it, `--slots` shows \
              what every caller is asking, `--slot-save-path` writes other callers' contexts to files that anybody \
              loads again, and `--tools` and the proxy for MCP make the server act and fetch for the caller.",
        fix: "Bind 127.0.0.1 behind a gate or give `--api-key-file`; start with `--no-slots` and without `--props`, \
              `--slot-save-path`, `--tools` and `--webui-mcp-proxy`.",
        maps: &["AML.T0040", "LLM02", "LLM06", "K06", "NIST 800-190 4.4.3"],
        checks: &[Check::Container(open_server)],
    },
    Rule {
        id: "AI-036",
        title: "a back end that runs what it is sent is open to others",
        group: Group::Server,
        severity: Severity::Critical,
        why: "The RPC back end of llama.cpp and the processes of one vLLM or TGI model speak protocols without any \
              authentication that are made for one machine: who reaches such a port writes the memory of the process, \
              which is code execution beside the weights.",
        fix: "Keep the model in one machine, or let a NetworkPolicy admit the members of the group and nobody else, \
              and bind the address of a network that only they share.",
        maps: &[
            "AML.T0049",
            "AML.T0105",
            "T1210",
            "K07",
            "NIST 800-190 4.3.3",
        ],
        checks: &[Check::Container(open_back_end)],
    },
];

/// A switch of llama.cpp's server: its flags, its variable, how bad it is, and what it allows.
struct Switch {
    flags: &'static [&'static str],
    variable: &'static str,
    severity: Severity,
    allows: &'static str,
}

const SWITCHES: &[Switch] = &[
    Switch {
        flags: &["--props"],
        variable: "LLAMA_ARG_ENDPOINT_PROPS",
        severity: Severity::High,
        allows: "any caller changes the server's settings with `POST /props`",
    },
    Switch {
        flags: &["--slots"],
        variable: "LLAMA_ARG_ENDPOINT_SLOTS",
        severity: Severity::Medium,
        allows: "any caller sees at `/slots` what the others are asking",
    },
    Switch {
        flags: &["--slot-save-path"],
        variable: "LLAMA_ARG_SLOT_SAVE_PATH",
        severity: Severity::High,
        allows: "any caller saves other callers' contexts to files and loads them again",
    },
    Switch {
        flags: &["--metrics"],
        variable: "LLAMA_ARG_ENDPOINT_METRICS",
        severity: Severity::Low,
        allows: "counters of everybody's use are on the port of the model",
    },
    Switch {
        flags: &["--tools"],
        variable: "LLAMA_ARG_TOOLS",
        severity: Severity::High,
        allows: "the server's built-in tools run for any caller",
    },
    Switch {
        flags: &["--webui-mcp-proxy", "--ui-mcp-proxy"],
        variable: "LLAMA_ARG_WEBUI_MCP_PROXY",
        severity: Severity::High,
        allows: "the server fetches any address for any caller",
    },
];

fn open_server(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if !container.runs("llama.cpp") || is_back_end(container) {
        return;
    }
    if let Some((host, place)) = bound(container)
        && !evidence::is_loopback(&host)
        && !has_key(container)
        && evidence::strangers_reach(case.estate, case.workload)
        && evidence::surely_absent(container, "LLAMA_API_KEY", sink)
    {
        let message = format!(
            "llama.cpp listens on `{host}` without a key: whoever reaches the port uses the model"
        );
        sink.find(place, "host", message).fix(
            "Write `--host 127.0.0.1` behind a gate, or add `--api-key-file /run/secrets/key`.",
        );
    }
    for switch in SWITCHES {
        let by_flag = container
            .flag(switch.flags)
            .map(|flag| (flag.place, switch.flags));
        let by_variable = || {
            let (text, place) = container.literal(switch.variable)?;
            let off = matches!(text.trim(), "" | "0" | "false" | "off" | "no");
            (!off).then_some((place, std::slice::from_ref(&switch.variable)))
        };
        if let Some((place, names)) = by_flag.or_else(by_variable) {
            let name = names.first().copied().unwrap_or(switch.variable);
            sink.find(place, name, format!("`{name}` is on: {}", switch.allows))
                .severity(switch.severity)
                .fix(format!("Take `{name}` out."));
        }
    }
}

/// The address the server binds, and where that is said.
fn bound(container: &Container<'_>) -> Option<(String, Place)> {
    if let Some(flag) = container.flag(&["--host"]) {
        return Some((flag.value?.to_owned(), flag.place));
    }
    if container.variable("LLAMA_ARG_HOST").is_some() {
        let (host, place) = container.literal("LLAMA_ARG_HOST")?;
        return Some((host.to_owned(), place));
    }
    // The project's own images set all addresses; the program alone takes the loopback.
    let image = container.image.as_ref()?;
    let own = ["ggml-org/llama.cpp", "ggerganov/llama.cpp"]
        .iter()
        .any(|name| image.repository.ends_with(name));
    own.then(|| ("0.0.0.0".to_owned(), image.place))
}

fn has_key(container: &Container<'_>) -> bool {
    container.flag(&["--api-key", "--api-key-file"]).is_some()
        || [
            "LLAMA_API_KEY",
            "LLAMA_ARG_API_KEY",
            "LLAMA_ARG_API_KEY_FILE",
        ]
        .iter()
        .any(|name| container.variable(name).is_some())
}

/// Whether a container's program is the RPC back end.
fn is_back_end(container: &Container<'_>) -> bool {
    container.words.iter().any(|word| {
        let name = word.text.rsplit('/').next().unwrap_or("");
        matches!(name, "rpc-server" | "ggml-rpc-server")
    })
}

fn open_back_end(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    if is_back_end(container) {
        // It takes the loopback unless it is told otherwise.
        if let Some(flag) = container.flag(&["-H", "--host"])
            && let Some(host) = flag.value
            && !evidence::is_loopback(host)
            && evidence::strangers_reach(case.estate, case.workload)
        {
            let message = format!(
                "the RPC back end listens on `{host}`: it runs whatever graph it is sent, with memory to read and write, \
                 and asks nobody who they are"
            );
            sink.find(flag.place, "rpc-server", message);
        }
        return;
    }
    if container.runs("llama.cpp")
        && let Some(flag) = container.flag(&["--rpc"])
        && let Some(hosts) = flag.value
        && let Some(host) = hosts.split(',').find(|host| !is_near(host))
    {
        let message = format!(
            "`--rpc {hosts}` computes on `{host}`: prompts and weights go there in the clear, and the port there takes \
             work from anybody"
        );
        sink.find(flag.place, "--rpc", message)
            .severity(Severity::High);
    }
    let group: &[&str] = if container.runs("vllm") {
        &["--data-parallel-address"]
    } else if container.runs("tgi") {
        &["--master-addr"]
    } else {
        return;
    };
    if let Some(flag) = container.flag(group)
        && let Some(host) = flag.value
        && !evidence::is_loopback(host)
        && evidence::strangers_reach(case.estate, case.workload)
    {
        let name = group.first().copied().unwrap_or("");
        let message = format!(
            "`{name} {host}` opens the calls between the model's own processes to every pod: no NetworkPolicy keeps \
             strangers from them"
        );
        sink.find(flag.place, name, message);
    }
}

fn is_near(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    evidence::is_loopback(host)
}
