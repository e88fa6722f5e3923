//! What is told to others, and from whom code and models are fetched.

use crate::rule::{Case, Check, Group, Rule, Severity, Sink};
use crate::workload::Container;

use super::evidence;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "AI-046",
        title: "usage is reported to a vendor",
        group: Group::Server,
        severity: Severity::Low,
        why: "Libraries of the server tell their makers which models run and how often, over a connection that keeps \
              the way out of the network open.",
        fix: "Set `HF_HUB_DISABLE_TELEMETRY=1`, `RAY_USAGE_STATS_ENABLED=0`, `GRADIO_ANALYTICS_ENABLED=False` and \
              `DO_NOT_TRACK=1`, and deny what goes out.",
        maps: &["LLM02", "NIST 800-190 4.4.2"],
        checks: &[Check::Container(reported)],
    },
    Rule {
        id: "AI-047",
        title: "models or packages are fetched from an address that cannot be trusted",
        group: Group::Server,
        severity: Severity::High,
        why: "Whoever answers at that address chooses the weights and the code that run here: over plain HTTP anybody on \
              the way, at a stranger's mirror the stranger.",
        fix: "Use `https://` and a mirror of your own; take `--trusted-host` out.",
        maps: &["AML.T0010", "LLM03", "T1195.002", "T1557"],
        checks: &[Check::Container(fetched)],
    },
];

/// A library that reports: how it shows, the variable that switches it, and the value for off.
struct Reporter {
    what: &'static str,
    variable: &'static str,
    off: &'static str,
    shows: fn(&Container<'_>) -> bool,
}

const REPORTERS: &[Reporter] = &[
    Reporter {
        what: "the Hugging Face hub library",
        variable: "HF_HUB_DISABLE_TELEMETRY",
        off: "1",
        shows: uses_hub,
    },
    Reporter {
        what: "Ray",
        variable: "RAY_USAGE_STATS_ENABLED",
        off: "0",
        shows: uses_ray,
    },
    Reporter {
        what: "Gradio",
        variable: "GRADIO_ANALYTICS_ENABLED",
        off: "False",
        shows: uses_gradio,
    },
    Reporter {
        what: "Text Generation Inference",
        variable: "USAGE_STATS",
        off: "off",
        shows: |container| container.runs("tgi") && container.flag(&["--usage-stats"]).is_none(),
    },
];

fn uses_hub(container: &Container<'_>) -> bool {
    let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
        .iter()
        .any(|name| container.switched_on(name).is_some());
    // Of KServe's own servers only one is built on the hub's library.
    let image = container
        .image
        .as_ref()
        .map_or("", |image| image.repository);
    let own = container.runs("kserve")
        && (image.contains("huggingfaceserver")
            || container
                .words
                .iter()
                .any(|word| word.text == "huggingfaceserver"));
    let served = own
        || ["vllm", "sglang", "tgi"]
            .iter()
            .any(|id| container.runs(id));
    served && !offline
}

fn uses_ray(container: &Container<'_>) -> bool {
    let image = container
        .image
        .as_ref()
        .map_or("", |image| image.repository);
    image.ends_with("rayproject/ray")
        || image.contains("rayproject/ray-")
        || starts(container, "ray", "start")
}

fn uses_gradio(container: &Container<'_>) -> bool {
    let image = container
        .image
        .as_ref()
        .map_or("", |image| image.repository);
    image
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains("gradio"))
        || container.words.iter().any(|word| word.text == "gradio")
        || container
            .environment
            .iter()
            .any(|variable| variable.name.starts_with("GRADIO_SERVER_"))
}

fn starts(container: &Container<'_>, program: &str, verb: &str) -> bool {
    container
        .words
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if first.text.rsplit('/').next() == Some(program) && second.text == verb))
}

fn reported(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let nobody_is_told = container.switched_on("DO_NOT_TRACK").is_some();
    for reporter in REPORTERS {
        if !(reporter.shows)(container) {
            continue;
        }
        let name = reporter.variable;
        let place = match (container.variable(name), container.literal(name)) {
            (Some(_), Some((text, place))) => {
                if is_quiet(name, text) {
                    continue;
                }
                place
            }
            // Somebody thought of it; what they chose is not in what was read.
            (Some(variable), None) => {
                sink.cannot_tell(variable.place, format!("`{name}` is filled in later"));
                continue;
            }
            // Only the hub library takes the word of `DO_NOT_TRACK`.
            (None, _) if nobody_is_told && name == "HF_HUB_DISABLE_TELEMETRY" => continue,
            (None, _) if !evidence::surely_absent(container, name, sink) => continue,
            (None, _) => evidence::place_of(container),
        };
        let message = format!(
            "{} reports usage to its makers: `{name}` is not `{}`",
            reporter.what, reporter.off
        );
        sink.find(place, name, message).fix(format!(
            "Add `{name}` with the value `\"{}\"` to the environment.",
            reporter.off
        ));
    }
}

/// Whether a switch stands where nothing is reported.
fn is_quiet(name: &str, text: &str) -> bool {
    let off = matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "0" | "false" | "off" | "no"
    );
    off != name.contains("DISABLE")
}

const VARIABLES: &[&str] = &[
    "HF_ENDPOINT",
    "HUGGINGFACE_CO_RESOLVE_ENDPOINT",
    "NIM_REPOSITORY_OVERRIDE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "CONDA_CHANNELS",
    "OLLAMA_REMOTES",
];
const FLAGS: &[&str] = &[
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--default-index",
    "--model-url",
];

fn fetched(case: &Case<'_>, sink: &mut Sink<'_>) {
    let container = case.container;
    let mut found = Vec::new();
    for name in VARIABLES {
        if let Some((text, place)) = container.literal(name) {
            found.push((*name, text.to_owned(), place));
        }
    }
    for name in FLAGS {
        if let Some(flag) = container.flag(&[name])
            && let Some(value) = flag.value
        {
            found.push((*name, value.to_owned(), flag.place));
        }
    }
    for (name, text, place) in found {
        for address in text
            .split([' ', ',', '\n'])
            .filter(|one| one.contains("://"))
        {
            if let Some((severity, why)) = doubt(address) {
                sink.find(
                    place,
                    name,
                    format!("`{name}` fetches from `{address}`: {why}"),
                )
                .severity(severity);
            }
        }
    }
    if let Some(flag) = container.flag(&["--trusted-host"]) {
        let host = flag.value.unwrap_or("");
        if !evidence::is_loopback(host) {
            let message = format!(
                "`--trusted-host {host}` takes packages from whoever answers as `{host}`, unchecked"
            );
            sink.find(flag.place, "--trusted-host", message);
        }
    }
}

/// Why an address is not to be trusted; none for one that is encrypted and known or one's own.
fn doubt(address: &str) -> Option<(Severity, &'static str)> {
    let (scheme, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = host.split(':').next().unwrap_or("").to_ascii_lowercase();
    let under = |domain: &&str| {
        host == **domain
            || host
                .strip_suffix(*domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if evidence::is_loopback(&host) || crate::node::is_unresolved(address) {
        return None;
    }
    if scheme == "http" {
        return Some((
            Severity::High,
            "it is not encrypted, and anybody on the way can answer",
        ));
    }
    if scheme != "https" {
        return None;
    }
    if STRANGERS.iter().any(under) {
        return Some((
            Severity::High,
            "it is a mirror of a third party, which can change what it serves",
        ));
    }
    let own = !host.contains('.') || OWN.iter().any(|end| host.ends_with(end));
    if own || KNOWN.iter().any(under) {
        return None;
    }
    Some((
        Severity::Low,
        "it is none of the hosts known here; see that it is yours",
    ))
}

const STRANGERS: [&str; 8] = [
    "hf-mirror.com",
    "pypi.tuna.tsinghua.edu.cn",
    "mirrors.tuna.tsinghua.edu.cn",
    "mirrors.aliyun.com",
    "mirrors.ustc.edu.cn",
    "mirrors.cloud.tencent.com",
    "pypi.douban.com",
    "pypi.doubanio.com",
];
const OWN: [&str; 8] = [
    ".svc",
    ".local",
    ".internal",
    ".corp",
    ".lan",
    ".intranet",
    ".home.arpa",
    ".test",
];
const KNOWN: [&str; 10] = [
    "huggingface.co",
    "hf.co",
    "pypi.org",
    "pythonhosted.org",
    "pypi.nvidia.com",
    "ngc.nvidia.com",
    "download.pytorch.org",
    "conda.anaconda.org",
    "repo.anaconda.com",
    "ollama.com",
];

#[cfg(test)]
mod tests;
