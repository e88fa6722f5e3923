//! OpenSSF model signatures: what a bundle states, and whether it covers the folder it lies in.
//!
//! The signature itself is not verified here, since that takes the signer's key: `casemate model verify` does.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;

use super::certificate;

/// What a bundle says.
#[derive(Debug, Default)]
pub(crate) struct Signature {
    /// What makes it worthless.
    pub(crate) broken: Vec<String>,
    /// What weakens it.
    pub(crate) weak: Vec<String>,
    /// The digest of the whole model, as the statement has it.
    pub(crate) root: Option<String>,
    /// The name that the statement gives the model.
    pub(crate) name: Option<String>,
}

/// Reads the bundle `text`, which lies at `own_path` beside `files`.
pub(crate) fn read(text: &str, own_path: &str, files: &[String], now: OffsetDateTime) -> Signature {
    let mut signature = Signature::default();
    if let Err(fault) = bundle(text, own_path, files, now, &mut signature) {
        signature.broken.push(fault);
    }
    signature.broken.truncate(MAX_FAULTS);
    signature.weak.truncate(MAX_FAULTS);
    signature
}

fn bundle(
    text: &str,
    own_path: &str,
    files: &[String],
    now: OffsetDateTime,
    into: &mut Signature,
) -> Result<(), String> {
    let bundle: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let text_at = |pointer: &str| bundle.pointer(pointer).and_then(Value::as_str);
    let media = text_at("/mediaType").unwrap_or("");
    if !media.starts_with("application/vnd.dev.sigstore.bundle") {
        return Err(format!(
            "`mediaType` is `{media}`, which is no Sigstore bundle"
        ));
    }
    if text_at("/dsseEnvelope/payloadType") != Some("application/vnd.in-toto+json") {
        return Err("it signs no in-toto statement".to_owned());
    }
    let signed = bundle
        .pointer("/dsseEnvelope/signatures")
        .and_then(Value::as_array);
    let has_signature = signed.is_some_and(|signatures| {
        signatures.iter().any(|one| {
            one.get("sig")
                .and_then(Value::as_str)
                .is_some_and(|text| !text.is_empty())
        })
    });
    if !has_signature {
        return Err("it has no signature".to_owned());
    }
    signer(&bundle, now, into);
    let payload = text_at("/dsseEnvelope/payload").unwrap_or("");
    let payload = STANDARD
        .decode(payload)
        .map_err(|_| "its payload is not base64".to_owned())?;
    let statement: Value = serde_json::from_slice(&payload)
        .map_err(|error| format!("its statement is not JSON: {error}"))?;
    statement_of(&statement, own_path, files, into)
}

/// Who is said to have signed.
fn signer(bundle: &Value, now: OffsetDateTime, into: &mut Signature) {
    let material = bundle.get("verificationMaterial");
    let member = |key: &str| material.and_then(|material| material.get(key));
    let logged = member("tlogEntries")
        .and_then(Value::as_array)
        .is_some_and(|entries| !entries.is_empty());
    let chain =
        member("x509CertificateChain").and_then(|chain| chain.pointer("/certificates/0/rawBytes"));
    let leaf = chain.or_else(|| member("certificate").and_then(|one| one.get("rawBytes")));
    match leaf.and_then(Value::as_str) {
        Some(leaf) => {
            let bytes = STANDARD.decode(leaf).unwrap_or_default();
            match certificate::not_after(&bytes) {
                None => into.broken.push("its certificate cannot be read".to_owned()),
                // With a log entry the time of signing is proven, and certificates of minutes are meant.
                Some(end) if !logged && end < now => into.weak.push(format!(
                    "its certificate ended on {} and no log proves when it signed; some verifiers accept it all the same",
                    end.date()
                )),
                Some(_) => {}
            }
        }
        None if member("publicKey").is_some() => {}
        None => into
            .broken
            .push("it names neither a key nor a certificate".to_owned()),
    }
}

fn statement_of(
    statement: &Value,
    own_path: &str,
    files: &[String],
    into: &mut Signature,
) -> Result<(), String> {
    let text_at = |pointer: &str| statement.pointer(pointer).and_then(Value::as_str);
    let predicate = text_at("/predicateType").unwrap_or("");
    if predicate == "https://model_signing/Digests/v0.1" {
        into.weak.push(format!(
            "predicate `{predicate}` is deprecated: it does not say how files were hashed"
        ));
        return Ok(());
    }
    if predicate != PREDICATE {
        return Err(format!("predicate `{predicate}` is not `{PREDICATE}`"));
    }
    let subjects = statement
        .get("subject")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if subjects != 1 {
        return Err(format!("it has {subjects} subjects in place of one"));
    }
    into.name = text_at("/subject/0/name").map(str::to_owned);
    let root = text_at("/subject/0/digest/sha256").unwrap_or("");
    if !is_digest(root) {
        return Err("its root digest is no SHA-256".to_owned());
    }
    into.root = Some(root.to_owned());
    if let Some(ignored) = statement
        .pointer("/predicate/serialization/ignore_paths")
        .and_then(Value::as_array)
    {
        for path in ignored.iter().filter_map(Value::as_str) {
            if let Some(what) = matters(path, files) {
                into.weak
                    .push(format!("`{path}` is left out of the signature, and {what}"));
            }
        }
    }
    let shards = text_at("/predicate/serialization/method") == Some("shards");
    let resources = statement
        .pointer("/predicate/resources")
        .and_then(Value::as_array);
    let Some(resources) = resources.filter(|resources| !resources.is_empty()) else {
        return Err("it covers no file".to_owned());
    };
    let mut covered = BTreeSet::new();
    for resource in resources {
        let name = resource.get("name").and_then(Value::as_str).unwrap_or("");
        let name = if shards { without_range(name) } else { name };
        if name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == "..") {
            return Err(format!(
                "it covers `{name}`, which is no file of the folder"
            ));
        }
        covered.insert(name);
        let digest = resource.get("digest").and_then(Value::as_str).unwrap_or("");
        if digest.is_empty()
            || !digest
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            into.broken.push(format!("the digest of `{name}` is none"));
        }
    }
    for name in &covered {
        if !files.iter().any(|file| file == name) {
            into.broken
                .push(format!("`{name}` was signed and is not there"));
        }
    }
    for file in files {
        let unseen = file == own_path
            || [".git/", ".github/"]
                .iter()
                .any(|start| file.starts_with(start))
            || matches!(file.as_str(), ".gitattributes" | ".gitignore");
        if !unseen && !covered.contains(file.as_str()) && !ignores(statement, file) {
            into.broken
                .push(format!("`{file}` is there and was not signed"));
        }
    }
    Ok(())
}

fn ignores(statement: &Value, file: &str) -> bool {
    let ignored = statement
        .pointer("/predicate/serialization/ignore_paths")
        .and_then(Value::as_array);
    ignored.is_some_and(|paths| {
        paths.iter().filter_map(Value::as_str).any(|path| {
            file.strip_prefix(path.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    })
}

/// Why a path must not be left out of a signature; none when it may.
fn matters(path: &str, files: &[String]) -> Option<&'static str> {
    let folder = path.trim_end_matches('/');
    if matches!(folder, "" | "." | "*") {
        return Some("that is all of it");
    }
    let within = |file: &&String| {
        file.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let names = files
        .iter()
        .filter(within)
        .map(String::as_str)
        .chain([path]);
    names.into_iter().find_map(|name| {
        let end = name.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
        match end.as_str() {
            "py" | "so" | "sh" | "jinja" | "dll" => Some("it is code that a server runs"),
            "json" | "yaml" | "pbtxt" | "model" => Some("a server reads it as configuration"),
            "safetensors" | "gguf" | "bin" | "pt" | "pth" | "pkl" | "ckpt" | "onnx" | "h5" => {
                Some("it holds weights")
            }
            _ => None,
        }
    })
}

/// `path:start:end` without its range; the path may have colons itself.
fn without_range(name: &str) -> &str {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let path = name.rsplit_once(':').and_then(|(rest, end)| {
        let (path, start) = rest.rsplit_once(':')?;
        (number(start) && number(end)).then_some(path)
    });
    path.unwrap_or(name)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const PREDICATE: &str = "https://model_signing/signature/v1.0";
const MAX_FAULTS: usize = 8;
