//! The enclosure file as it is written. The JSON Schema comes from these types, and the decoder fills them.
//!
//! Members that must be there are still `Option`: what did not read is left out, so that the rest of the
//! file is checked as well and every mistake is shown at once.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema};

use crate::diagnostic::Span;
use crate::name::{ModelVersion, Name};
use crate::spiffe::TrustDomain;
use crate::yaml::Spanned;

/// A value that was read, or was not there, or was reported.
pub(super) type Given<T> = Option<Spanned<T>>;

/// An enclosure: the declared pipeline of models, stages and flows.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Enclosure", deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct EnclosureFile {
    /// The version of this format.
    #[schemars(required, with = "String", extend("const" = super::API_VERSION))]
    #[expect(dead_code, reason = "compared while it is read; here for the schema")]
    pub(super) api_version: Option<()>,
    /// What this file declares.
    #[schemars(required, with = "String", extend("const" = super::KIND))]
    #[expect(dead_code, reason = "compared while it is read; here for the schema")]
    pub(super) kind: Option<()>,
    /// What the enclosure is called.
    #[schemars(required)]
    pub(super) metadata: Option<MetadataFile>,
    /// What is declared.
    #[schemars(required)]
    pub(super) spec: Option<SpecFile>,
}

/// What the enclosure is called.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Metadata", deny_unknown_fields)]
pub(super) struct MetadataFile {
    /// The enclosure's name; no dots.
    #[schemars(required)]
    pub(super) name: Given<Name>,
}

/// What is declared.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename = "Spec", deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SpecFile {
    /// The realm of the enclosure's identities.
    #[schemars(required)]
    pub(super) trust_domain: Given<TrustDomain>,
    /// Corporate logins whose tokens are exchanged for tickets.
    #[schemars(default)]
    pub(super) identity_providers: Vec<ProviderFile>,
    /// The sealed models.
    #[schemars(default)]
    pub(super) models: Vec<ModelFile>,
    /// The sandboxed parts of the pipeline.
    #[schemars(length(min = 1))]
    pub(super) stages: Vec<StageFile>,
    /// The allowed edges; everything else is refused.
    #[schemars(default)]
    pub(super) flows: Vec<FlowFile>,
    /// The stages that can be reached from outside.
    #[schemars(default)]
    pub(super) exposes: Vec<ExposeFile>,
    /// Where the list of stages stands.
    #[schemars(skip)]
    pub(super) place_of_stages: Span,
}

/// A corporate login.
#[derive(Debug, JsonSchema)]
#[schemars(
    rename = "IdentityProvider",
    deny_unknown_fields,
    rename_all = "kebab-case"
)]
pub(super) struct ProviderFile {
    /// The issuer URL, exactly as tokens name it: `https`, or `http` on loopback.
    #[schemars(required, length(max = 512))]
    pub(super) issuer: Given<String>,
    /// The audience that tokens must name.
    #[schemars(required)]
    pub(super) audience: Given<String>,
    /// The claim that lists a person's groups; `groups` when absent.
    pub(super) groups_claim: Given<String>,
}

/// One sealed version of one model.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Model", deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ModelFile {
    /// Its name; the stage sees it at `/models/<name>`.
    #[schemars(required)]
    pub(super) name: Given<Name>,
    /// Its version.
    #[schemars(required, regex(pattern = "^[A-Za-z0-9._-]{1,63}$"))]
    pub(super) version: Given<String>,
    /// The sealed directory, relative to this file.
    #[schemars(required)]
    pub(super) sealed: Given<String>,
    /// Public key files, one of which must have signed it.
    #[schemars(length(min = 1))]
    pub(super) signers: Vec<Spanned<String>>,
    /// What unwraps its key: `file:PATH` of an age identity file.
    #[schemars(required, regex(pattern = "^file:."))]
    pub(super) key: Given<String>,
    /// The lowest epoch accepted; an older seal is refused.
    pub(super) minimum_epoch: Given<u64>,
}

/// One sandboxed part of the pipeline.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Stage", deny_unknown_fields)]
pub(super) struct StageFile {
    /// Its name; no dots.
    #[schemars(required)]
    pub(super) name: Given<Name>,
    /// What is known of its server.
    #[schemars(required, extend("examples" = crate::profile::built_in_ids().collect::<Vec<_>>()))]
    pub(super) profile: Given<String>,
    /// What runs in it.
    #[schemars(required)]
    pub(super) run: Option<RunFile>,
    /// The models it may open, as `name@version`.
    #[schemars(default)]
    pub(super) models: Vec<Spanned<ModelVersion>>,
    /// The loopback port on which its server answers.
    #[schemars(required, range(min = 1024, max = 65535))]
    pub(super) serves: Given<u16>,
    /// What it may use up.
    pub(super) resources: Option<ResourcesFile>,
}

/// Root file system and command: `image` or `host`, not both.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Run", deny_unknown_fields, transform = image_or_host)]
pub(super) struct RunFile {
    /// An OCI image: a layout directory or an archive of one, relative to this file.
    pub(super) image: Given<String>,
    /// Directories of the host, read-only, at the same place inside.
    pub(super) host: Option<Vec<Spanned<String>>>,
    /// The server and its arguments; with `image`, replaces the image's own.
    pub(super) command: Option<Vec<Spanned<String>>>,
    /// Variables of the server's process.
    #[schemars(default, with = "BTreeMap<String, String>")]
    pub(super) env: Vec<(Spanned<String>, Spanned<String>)>,
    /// Where `run` stands.
    #[schemars(skip)]
    pub(super) place: Span,
}

fn image_or_host(schema: &mut Schema) {
    schema.insert(
        "oneOf".to_owned(),
        serde_json::json!([{ "required": ["image"] }, { "required": ["host", "command"] }]),
    );
}

/// Upper bounds on what a stage uses.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Resources", deny_unknown_fields)]
pub(super) struct ResourcesFile {
    /// Memory, such as `2GiB`.
    #[schemars(with = "Option<SizeFile>")]
    pub(super) memory: Given<u64>,
    /// Processors, such as `2` or `0.5`.
    #[schemars(with = "Option<f64>")]
    pub(super) cpus: Given<u32>,
    /// Processes and threads.
    #[schemars(range(min = 1, max = 65536))]
    pub(super) pids: Given<u32>,
    /// Scratch space in memory (`/tmp`), such as `64MiB`.
    #[schemars(with = "Option<SizeFile>")]
    pub(super) scratch: Given<u64>,
}

/// A size: bytes, or a number with its unit.
pub(super) struct SizeFile;

impl JsonSchema for SizeFile {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^[0-9]+(KiB|MiB|GiB|TiB|kB|MB|GB|TB)?$",
            "description": "bytes, or a number with its unit, such as `2GiB`",
        })
    }
}

/// One allowed edge.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Flow", deny_unknown_fields)]
pub(super) struct FlowFile {
    /// Who may call.
    #[schemars(required)]
    pub(super) from: Option<FromFile>,
    /// The stage that may be called.
    #[schemars(required)]
    pub(super) to: Given<Name>,
    /// The route classes that may be called.
    #[schemars(length(min = 1))]
    pub(super) routes: Vec<Spanned<Name>>,
    /// The model versions that may be named, as `name@version`.
    #[schemars(default)]
    pub(super) models: Vec<Spanned<ModelVersion>>,
    /// Upper bounds on one caller.
    pub(super) limits: Option<LimitsFile>,
    /// The loopback port in the caller's namespace; the target's `serves` when absent.
    #[schemars(range(min = 1024, max = 65535))]
    pub(super) at: Given<u16>,
    /// Where the flow stands.
    #[schemars(skip)]
    pub(super) place: Span,
}

/// Who may call: one of a group of people and a stage.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "From", deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct FromFile {
    /// A group, as the login's claim spells it.
    pub(super) group: Given<String>,
    /// A stage of this enclosure.
    pub(super) stage: Given<Name>,
}

/// Upper bounds on one caller.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Limits", deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LimitsFile {
    /// The most tokens of one answer.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_tokens: Given<u32>,
    /// The most requests in any 60 seconds.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) requests_per_minute: Given<u32>,
}

/// A stage that can be reached from outside.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Expose", deny_unknown_fields)]
pub(super) struct ExposeFile {
    /// The stage.
    #[schemars(required)]
    pub(super) stage: Given<Name>,
    /// The host's address, such as `127.0.0.1:8443`; port 0 lets the system choose.
    #[schemars(required, with = "String")]
    pub(super) listen: Given<std::net::SocketAddr>,
}

/// The JSON Schema of an enclosure file, for editors.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(EnclosureFile).to_value()
}
