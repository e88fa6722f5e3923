//! Policies of key services as people write them: Rego for key brokers, JSON for cloud keys, Vault's paths.
//!
//! None of them is evaluated. What is looked for are the few forms that release to anybody; a policy that is
//! written in another way is left alone.

use serde_json::Value;

use crate::rule::Severity;

/// What is wrong with a policy.
pub(super) struct Fault {
    /// Where in the text; past its end for all of it.
    pub(super) start: usize,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

/// What lets anybody have a key by the policy `text`, which `resource` carries under `label`.
pub(super) fn open(resource: &str, label: &str, text: &str) -> Option<Fault> {
    rego(resource, label, text)
        .or_else(|| cloud_key(text))
        .or_else(|| vault(text))
}

/// The lines of a text without comments, each with where it starts.
fn lines<'text>(
    text: &'text str,
    comment: &'static str,
) -> impl Iterator<Item = (usize, &'text str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        let code = line.split(comment).next().unwrap_or("");
        let blanks = code.len() - code.trim_start().len();
        (at + blanks, code.trim())
    })
}

fn rego(resource: &str, label: &str, text: &str) -> Option<Fault> {
    let releases_keys = |name: &str| {
        [
            "kbs",
            "trustee",
            "key",
            "resource-policy",
            "resource_policy",
            "release",
        ]
        .iter()
        .any(|word| name.contains(word))
    };
    let (package, _) = lines(text, "#").find(|(_, line)| *line == "package policy")?;
    if !releases_keys(resource) && !releases_keys(label) {
        return None;
    }
    let fix = "Begin with `default allow = false`, and allow a resource path only for the measurements that serve it.";
    for (start, line) in lines(text, "#") {
        let plain: String = line.split_whitespace().collect();
        if matches!(
            plain.as_str(),
            "defaultallow=true"
                | "defaultallow:=true"
                | "allow=true"
                | "allow:=true"
                | "allow{true}"
                | "allowif{true}"
                | "allowiftrue"
        ) {
            let message = format!("`{line}` releases every key to whoever asks");
            return Some(Fault {
                start,
                severity: Severity::Critical,
                message,
                fix,
            });
        }
    }
    let allows = lines(text, "#").any(|(_, line)| line.starts_with("allow"));
    let tells_apart =
        lines(text, "#").any(|(_, line)| BINDS.iter().any(|word| line.contains(word)));
    (allows && !tells_apart).then(|| Fault {
        start: package,
        severity: Severity::High,
        message: "the policy asks for no measurement, path or digest: any genuine enclave, whatever it runs, gets every \
                  key"
        .to_owned(),
        fix,
    })
}

/// Words by which a policy tells one workload or resource from another.
const BINDS: &[&str] = &[
    "resource",
    "path",
    "measurement",
    "init_data",
    "initdata",
    "digest",
    "executables",
    "affirming",
    "launch",
    "mr_",
    "rtmr",
    "repository",
    "reference",
    "configuration",
    "host_data",
    "report_data",
    "policy_hash",
];

/// A key policy of a cloud: a statement that lets everybody decrypt, without a condition.
fn cloud_key(text: &str) -> Option<Fault> {
    if !text.contains("kms:") || !text.trim_start().starts_with('{') {
        return None;
    }
    let policy: Value = serde_json::from_str(text).ok()?;
    let statements = policy.get("Statement")?;
    let one_or_many = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        other => vec![other.clone()],
    };
    let texts = |value: Option<&Value>| -> Vec<String> {
        value
            .map(one_or_many)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let open = one_or_many(statements).iter().any(|statement| {
        let principal = statement.get("Principal");
        let everybody = texts(principal).iter().any(|one| one == "*")
            || texts(principal.and_then(|principal| principal.get("AWS")))
                .iter()
                .any(|one| one == "*");
        let decrypts = texts(statement.get("Action"))
            .iter()
            .any(|action| matches!(action.as_str(), "*" | "kms:*" | "kms:Decrypt"));
        statement.get("Effect").and_then(Value::as_str) == Some("Allow")
            && everybody
            && decrypts
            && statement.get("Condition").is_none()
    });
    open.then(|| Fault {
        start: text.len(),
        severity: Severity::Critical,
        message: "the key policy lets every account decrypt: principal `*` and no condition".to_owned(),
        fix: "Name the role that serves the model, and add a condition on the enclave's measurement \
              (`kms:RecipientAttestation:ImageSha384`) or on the encryption context `model-digest`.",
    })
}

/// A Vault or OpenBao policy that covers every key of a mount.
fn vault(text: &str) -> Option<Fault> {
    let (start, line) = lines(text, "#").find(|(_, line)| {
        let path = line
            .strip_prefix("path")
            .map(|rest| rest.trim().trim_start_matches(['"', '\'']));
        path.is_some_and(|path| {
            ["*\"", "transit/*\"", "transit/decrypt/*\"", "transit/+/*\""]
                .iter()
                .any(|open| path.starts_with(open))
        })
    })?;
    text.contains("capabilities").then(|| Fault {
        start,
        severity: Severity::High,
        message: format!(
            "`{}` opens every key of the mount, not only this model's",
            line.trim_end_matches('{').trim()
        ),
        fix: "Name the one key: `path \"transit/decrypt/llama-3-1-8b\"`.",
    })
}

/// Settings of a key broker that take anything for attested.
pub(super) fn insecure_settings(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if text.len() < 8 {
        return found;
    }
    for (start, line) in lines(text, "#") {
        let plain: String = line
            .split_whitespace()
            .collect::<String>()
            .to_ascii_lowercase();
        let what = match plain.as_str() {
            "insecure_api=true" => "anybody sets policies and keys without a signature",
            "insecure_key=true" => "tokens are taken without asking who signed them",
            "tee=\"sample\"" | "tee:sample" | "type=\"sample\"" => {
                "evidence is made up by the guest itself"
            }
            "skip_nonce_check=true"
            | "skip_nonce=true"
            | "check_nonce=false"
            | "skip_nonce_check:true" => "evidence of another time passes again",
            "allow{input[\"tee\"]==\"sample\"}" => "made-up evidence is enough for every key",
            _ if plain.contains("aa_kbc_params=\"offline_fs_kbc")
                || plain.contains("aa_kbc_params=\"sample_kbc") =>
            {
                "keys come from a file in the guest: nothing is attested"
            }
            _ => continue,
        };
        found.push((start, format!("`{line}`: {what}")));
    }
    found
}
