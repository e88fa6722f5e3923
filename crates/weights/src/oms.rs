//! OpenSSF Model Signing 1.0 with plain keys: signatures that any tool for it makes or verifies.
//!
//! The statement lists every file by name and SHA-256, and a root digest over all of them, which is
//! recomputed here and never believed. Signing refuses symbolic links and empty models; verifying
//! refuses a file that is missing, changed, or not listed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ProgressFn;
use crate::bundle::{Bundle, BundleError};
use crate::digest::{Digest, Hasher};
use crate::signing::{PublicKey, SigningKey, SigningKeyError};

mod hash;
pub mod walk;

/// Why a model could not be signed or verified.
#[derive(Debug, thiserror::Error)]
pub enum ModelSigningError {
    /// The directory holds something that cannot be signed.
    #[error("cannot take the model's files")]
    Walk(#[from] walk::WalkError),
    /// A file could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key cannot sign.
    #[error("cannot sign")]
    Sign(#[from] SigningKeyError),
    /// The bundle is malformed or signed by nobody who is trusted.
    #[error("the model's signature is refused")]
    Bundle(#[from] BundleError),
    /// The signed statement is not one of model signing 1.0.
    #[error("the model's signature states something that is not understood")]
    Statement(#[from] StatementError),
    /// The files are not the signed ones.
    #[error("the files are not those that were signed: {}", .0.join("; "))]
    Mismatch(Vec<String>),
}

/// Why a statement was refused.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON of the shape of a statement.
    #[error("not an in-toto statement about a model")]
    Malformed {
        /// Where and what the parser stumbled over.
        source: serde_json::Error,
    },
    /// A statement of another kind.
    #[error("the `{field}` is `{value}`, which is not understood")]
    Unknown {
        /// Which member.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// A value that no signer may write.
    #[error("the statement's `{field}` breaks the specification: {problem}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The list of files does not hash to the root digest.
    #[error("the listed files hash to {computed}, but the root digest says {stated}")]
    RootDigest {
        /// What the list hashes to.
        computed: Digest,
        /// What the subject says.
        stated: Digest,
    },
}

/// What one model's signature says, in the order in which it says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The model's name; says nothing, and is not compared.
    pub name: String,
    /// Name and digest of every file, or of every shard of a file.
    pub resources: Vec<(String, Digest)>,
    /// Bytes in a shard, when files were hashed in shards.
    pub shard_size: Option<u64>,
    /// Whether symbolic links were followed when it was signed.
    pub follow_symlinks: bool,
    /// Paths that the signer left out.
    pub ignored: Vec<String>,
}

/// Signs every regular file below `directory`.
///
/// # Errors
/// When a file cannot be read, a symbolic link is found, or there is no file at all.
pub fn sign_directory(
    directory: &Path,
    key: &SigningKey,
    progress: ProgressFn<'_>,
) -> Result<Bundle, ModelSigningError> {
    let walked = walk::walk(directory, &walk::DEFAULT_IGNORED)?;
    let resources = hash::files(directory, &walked.files, progress)?;
    let manifest = Manifest::new(model_name(directory), resources);
    Ok(Bundle::sign(manifest.payload(), key)?)
}

/// Verifies `bundle` and that `directory` holds exactly the files that it lists.
///
/// # Errors
/// When the signature is refused, or a file is missing, changed or not listed.
pub fn verify_directory(
    directory: &Path,
    bundle: &Bundle,
    signers: &[PublicKey],
    signature_file: Option<&Path>,
    progress: ProgressFn<'_>,
) -> Result<Manifest, ModelSigningError> {
    let (_, payload) = bundle.verify(signers)?;
    let manifest = Manifest::parse(payload)?;
    if manifest.follow_symlinks {
        return Err(StatementError::Unknown {
            field: "allow_symlinks",
            value: "true: this program signs and verifies regular files only".to_owned(),
        }
        .into());
    }
    let mut ignored: Vec<String> = manifest.ignored.clone();
    ignored.extend(walk::DEFAULT_IGNORED.iter().map(|name| (*name).to_owned()));
    let own = signature_file.and_then(|file| relative_to(file, directory));
    ignored.extend(own);
    let walked = walk::walk(directory, &ignored)?;
    let found = match manifest.shard_size {
        None => hash::files(directory, &walked.files, progress)?,
        Some(size) => hash::shards(directory, &walked.files, size, progress)?,
    };
    let problems = differences(&manifest.resources, &found);
    if problems.is_empty() {
        Ok(manifest)
    } else {
        Err(ModelSigningError::Mismatch(problems))
    }
}

impl Manifest {
    /// What this program signs: whole files, no links, the top-level git files left out.
    #[must_use]
    pub fn new(name: String, mut resources: Vec<(String, Digest)>) -> Self {
        resources.sort();
        let ignored = walk::DEFAULT_IGNORED
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        Self {
            name,
            resources,
            shard_size: None,
            follow_symlinks: false,
            ignored,
        }
    }

    /// SHA-256 over the files' digests in their order: what names the model.
    #[must_use]
    pub fn root_digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (_, digest) in &self.resources {
            hasher.update(&digest.0);
        }
        hasher.finish()
    }

    /// The statement to sign.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let resource = |(name, digest): &(String, Digest)| Resource {
            name: name.clone(),
            digest: digest.to_string(),
            algorithm: SHA256.to_owned(),
        };
        let statement = Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: self.name.clone(),
                digest: BTreeMap::from([(SHA256.to_owned(), self.root_digest().to_string())]),
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                serialization: Serialization {
                    method: if self.shard_size.is_some() {
                        SHARDS
                    } else {
                        FILES
                    }
                    .to_owned(),
                    hash_type: SHA256.to_owned(),
                    allow_symlinks: self.follow_symlinks,
                    ignore_paths: Some(self.ignored.clone()),
                    shard_size: self.shard_size.map(serde_json::Number::from),
                },
                resources: self.resources.iter().map(resource).collect(),
            },
        };
        // Strings, numbers and lists always serialise.
        serde_json::to_vec(&statement).unwrap_or_default()
    }

    /// Reads a statement whose signature was checked.
    ///
    /// # Errors
    /// When it is not a statement of model signing 1.0, or contradicts itself.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let statement: Statement = serde_json::from_slice(payload)
            .map_err(|source| StatementError::Malformed { source })?;
        let unknown = |field, value: &str| StatementError::Unknown {
            field,
            value: value.chars().take(80).collect(),
        };
        let invalid = |field, problem: &str| StatementError::Invalid {
            field,
            problem: problem.chars().take(200).collect(),
        };
        if statement.statement_type != STATEMENT_TYPE {
            return Err(unknown("_type", &statement.statement_type));
        }
        if statement.predicate_type != PREDICATE_TYPE {
            return Err(unknown("predicateType", &statement.predicate_type));
        }
        let [subject] = statement.subject.as_slice() else {
            return Err(invalid("subject", "exactly one is expected"));
        };
        if subject.name.is_empty() {
            return Err(invalid("subject", "it has no name"));
        }
        let stated = subject
            .digest
            .get(SHA256)
            .and_then(|digest| digest.parse().ok())
            .ok_or_else(|| invalid("subject", "it has no SHA-256 digest"))?;
        let serialization = &statement.predicate.serialization;
        if serialization.hash_type != SHA256 {
            return Err(unknown("hash_type", &serialization.hash_type));
        }
        let shard_size = match serialization.method.as_str() {
            FILES => None,
            SHARDS => Some(
                whole_number(serialization.shard_size.as_ref())
                    .ok_or_else(|| invalid("shard_size", "not a positive whole number"))?,
            ),
            other => return Err(unknown("method", other)),
        };
        let mut resources = Vec::with_capacity(statement.predicate.resources.len());
        let mut names = std::collections::BTreeSet::new();
        for resource in &statement.predicate.resources {
            if resource.algorithm != SHA256 {
                return Err(unknown("algorithm", &resource.algorithm));
            }
            if !names.insert(resource.name.as_str()) {
                return Err(invalid(
                    "resources",
                    &format!("`{}` is listed twice", resource.name),
                ));
            }
            if !is_plain(&resource.name) {
                let problem = format!("`{}` is not a plain relative path", resource.name);
                return Err(invalid("resources", &problem));
            }
            let digest: Digest = resource
                .digest
                .parse()
                .map_err(|_| invalid("resources", &format!("`{}` has no digest", resource.name)))?;
            resources.push((resource.name.clone(), digest));
        }
        if resources.is_empty() {
            return Err(invalid("resources", "an empty model is not a model"));
        }
        let manifest = Self {
            name: subject.name.clone(),
            resources,
            shard_size,
            follow_symlinks: serialization.allow_symlinks,
            ignored: serialization.ignore_paths.clone().unwrap_or_default(),
        };
        let computed = manifest.root_digest();
        if computed == stated {
            Ok(manifest)
        } else {
            Err(StatementError::RootDigest { computed, stated })
        }
    }
}

/// What differs between the signed and the found files, at most a screenful.
fn differences(signed: &[(String, Digest)], found: &[(String, Digest)]) -> Vec<String> {
    let signed: BTreeMap<_, _> = signed.iter().map(|(name, digest)| (name, digest)).collect();
    let found: BTreeMap<_, _> = found.iter().map(|(name, digest)| (name, digest)).collect();
    let missing = signed.keys().filter(|name| !found.contains_key(*name));
    let extra = found.keys().filter(|name| !signed.contains_key(*name));
    let changed = signed
        .iter()
        .filter(|(name, digest)| found.get(*name).is_some_and(|other| other != *digest));
    missing
        .map(|name| format!("`{name}` is missing"))
        .chain(changed.map(|(name, _)| format!("`{name}` was changed")))
        .chain(extra.map(|name| format!("`{name}` was not signed")))
        .take(20)
        .collect()
}

fn model_name(directory: &Path) -> String {
    let resolved = directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned());
    let name = resolved
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "model".to_owned())
}

fn relative_to(file: &Path, directory: &Path) -> Option<String> {
    let (file, directory) = (file.canonicalize().ok()?, directory.canonicalize().ok()?);
    file.strip_prefix(directory)
        .ok()?
        .to_str()
        .map(str::to_owned)
}

fn is_plain(name: &str) -> bool {
    !name.split('/').any(|part| matches!(part, "" | "." | "..")) && !name.contains('\0')
}

/// Some signers write whole numbers as floats, since their library knows no others.
fn whole_number(number: Option<&serde_json::Number>) -> Option<u64> {
    let number = number?;
    number
        .as_u64()
        .or_else(|| {
            number
                .to_string()
                .strip_suffix(".0")
                .and_then(|digits| digits.parse().ok())
        })
        .filter(|size| *size > 0)
}

/// Unknown members are ignored, as the specification asks of verifiers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore_paths: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shard_size: Option<serde_json::Number>,
}

#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    digest: String,
    algorithm: String,
}

/// What a model's signature states.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const SHA256: &str = "sha256";
const FILES: &str = "files";
const SHARDS: &str = "shards";
