//! Fills the file types from the tree: which keys exist, which must, and what each holds.

use std::net::SocketAddr;

use super::file::{
    EnclosureFile, ExposeFile, FlowFile, FromFile, Given, LimitsFile, MetadataFile, ModelFile,
    ProviderFile, ResourcesFile, RunFile, SpecFile, StageFile,
};
use super::units::{Bytes, Millicpus};
use super::{API_VERSION, KIND};
use crate::yaml::{Node, Reader, Spanned};

pub(super) fn enclosure(reader: &mut Reader, node: &Node) -> Option<EnclosureFile> {
    let fields = reader.fields(
        node,
        "an enclosure file",
        &["apiVersion", "kind", "metadata", "spec"],
    )?;
    Some(EnclosureFile {
        api_version: fields.required(reader, "apiVersion", |reader, node| {
            exactly(reader, node, API_VERSION)
        }),
        kind: fields.required(reader, "kind", |reader, node| exactly(reader, node, KIND)),
        metadata: fields.required(reader, "metadata", metadata),
        spec: fields.required(reader, "spec", spec),
    })
}

fn exactly(reader: &mut Reader, node: &Node, only: &'static str) -> Option<()> {
    let found = reader.text(node)?;
    if found.value != only {
        let message = format!("`{}` is not known to this version", found.value);
        reader.report(found.span, message, format!("write `{only}`"));
    }
    Some(())
}

fn metadata(reader: &mut Reader, node: &Node) -> Option<MetadataFile> {
    let fields = reader.fields(node, "`metadata`", &["name"])?;
    Some(MetadataFile {
        name: fields.required(reader, "name", Reader::parsed),
    })
}

fn spec(reader: &mut Reader, node: &Node) -> Option<SpecFile> {
    let known = [
        "trustDomain",
        "identityProviders",
        "models",
        "stages",
        "flows",
        "exposes",
    ];
    let fields = reader.fields(node, "`spec`", &known)?;
    Some(SpecFile {
        trust_domain: fields.required(reader, "trustDomain", Reader::parsed),
        identity_providers: fields.items(reader, "identityProviders", provider),
        models: fields.items(reader, "models", model),
        stages: fields
            .required(reader, "stages", |reader, node| reader.some(node, stage))
            .unwrap_or_default(),
        flows: fields.items(reader, "flows", flow),
        exposes: fields.items(reader, "exposes", expose),
        place_of_stages: fields.place_of("stages"),
    })
}

fn provider(reader: &mut Reader, node: &Node) -> Option<ProviderFile> {
    let known = ["issuer", "audience", "groups-claim"];
    let fields = reader.fields(node, "an identity provider", &known)?;
    Some(ProviderFile {
        issuer: fields.required(reader, "issuer", Reader::text),
        audience: fields.required(reader, "audience", filled),
        groups_claim: fields.optional(reader, "groups-claim", filled),
    })
}

fn model(reader: &mut Reader, node: &Node) -> Option<ModelFile> {
    let known = [
        "name",
        "version",
        "sealed",
        "signers",
        "key",
        "minimum-epoch",
    ];
    let fields = reader.fields(node, "a model", &known)?;
    Some(ModelFile {
        name: fields.required(reader, "name", Reader::parsed),
        version: fields.required(reader, "version", Reader::text),
        sealed: fields.required(reader, "sealed", filled),
        signers: fields
            .required(reader, "signers", |reader, node| reader.some(node, filled))
            .unwrap_or_default(),
        key: fields.required(reader, "key", filled),
        minimum_epoch: fields.optional(reader, "minimum-epoch", |reader, node| {
            reader.whole(node, 0..=u64::MAX)
        }),
    })
}

fn stage(reader: &mut Reader, node: &Node) -> Option<StageFile> {
    let known = ["name", "profile", "run", "models", "serves", "resources"];
    let fields = reader.fields(node, "a stage", &known)?;
    Some(StageFile {
        name: fields.required(reader, "name", Reader::parsed),
        profile: fields.required(reader, "profile", filled),
        run: fields.required(reader, "run", run),
        models: fields.items(reader, "models", Reader::parsed),
        serves: fields.required(reader, "serves", port),
        resources: fields.optional(reader, "resources", resources),
    })
}

fn run(reader: &mut Reader, node: &Node) -> Option<RunFile> {
    let fields = reader.fields(node, "`run`", &["image", "host", "command", "env"])?;
    let pairs = |reader: &mut Reader, node: &Node| {
        reader.map(node, |reader, key, value| {
            Some((key.clone(), reader.text(value)?))
        })
    };
    Some(RunFile {
        image: fields.optional(reader, "image", filled),
        host: fields.optional(reader, "host", |reader, node| reader.some(node, filled)),
        command: fields.optional(reader, "command", |reader, node| {
            reader.some(node, Reader::text)
        }),
        env: fields.optional(reader, "env", pairs).unwrap_or_default(),
        place: fields.span,
    })
}

fn resources(reader: &mut Reader, node: &Node) -> Option<ResourcesFile> {
    let fields = reader.fields(node, "`resources`", &["memory", "cpus", "pids", "scratch"])?;
    let size = |reader: &mut Reader, node: &Node| {
        reader.parsed::<Bytes>(node).map(|size| Spanned {
            value: size.value.0,
            span: size.span,
        })
    };
    let cpus = |reader: &mut Reader, node: &Node| {
        let cpus = reader.parsed::<Millicpus>(node)?;
        Some(Spanned {
            value: cpus.value.0,
            span: cpus.span,
        })
    };
    Some(ResourcesFile {
        memory: fields.optional(reader, "memory", size),
        cpus: fields.optional(reader, "cpus", cpus),
        pids: fields.optional(reader, "pids", |reader, node| {
            small(reader, node, 1, 65_536)
        }),
        scratch: fields.optional(reader, "scratch", size),
    })
}

fn flow(reader: &mut Reader, node: &Node) -> Option<FlowFile> {
    let known = ["from", "to", "routes", "models", "limits", "at"];
    let fields = reader.fields(node, "a flow", &known)?;
    Some(FlowFile {
        from: fields.required(reader, "from", from),
        to: fields.required(reader, "to", Reader::parsed),
        routes: fields
            .required(reader, "routes", |reader, node| {
                reader.some(node, Reader::parsed)
            })
            .unwrap_or_default(),
        models: fields.items(reader, "models", Reader::parsed),
        limits: fields.optional(reader, "limits", limits),
        at: fields.optional(reader, "at", port),
        place: fields.span,
    })
}

fn from(reader: &mut Reader, node: &Node) -> Option<FromFile> {
    let fields = reader.fields(node, "`from`", &["group", "stage"])?;
    if fields.has("group") == fields.has("stage") {
        let help = "write `{ group: NAME }` or `{ stage: NAME }`";
        reader.report(
            fields.span,
            "`from` names exactly one of a group and a stage",
            help,
        );
    }
    Some(FromFile {
        group: fields.optional(reader, "group", filled),
        stage: fields.optional(reader, "stage", Reader::parsed),
    })
}

fn limits(reader: &mut Reader, node: &Node) -> Option<LimitsFile> {
    let fields = reader.fields(node, "`limits`", &["max-tokens", "requests-per-minute"])?;
    let bound = |reader: &mut Reader, node: &Node| small(reader, node, 1, 1_000_000);
    Some(LimitsFile {
        max_tokens: fields.optional(reader, "max-tokens", bound),
        requests_per_minute: fields.optional(reader, "requests-per-minute", bound),
    })
}

fn expose(reader: &mut Reader, node: &Node) -> Option<ExposeFile> {
    let fields = reader.fields(node, "an exposed stage", &["stage", "listen"])?;
    Some(ExposeFile {
        stage: fields.required(reader, "stage", Reader::parsed),
        listen: fields.required(reader, "listen", address),
    })
}

fn address(reader: &mut Reader, node: &Node) -> Given<SocketAddr> {
    let Spanned { value, span } = reader.text(node)?;
    let parsed = value.parse::<SocketAddr>();
    if parsed.is_err() {
        let message = format!("`{value}` is not an address with a port");
        reader.report(
            span,
            message,
            "write `127.0.0.1:8443` or `[::1]:8443`; names are not looked up",
        );
    }
    parsed.ok().map(|value| Spanned { value, span })
}

/// A port that a process without privileges can open.
fn port(reader: &mut Reader, node: &Node) -> Given<u16> {
    let Spanned { value, span } = reader.whole(node, 1024..=65_535)?;
    u16::try_from(value)
        .ok()
        .map(|value| Spanned { value, span })
}

fn small(reader: &mut Reader, node: &Node, least: u64, most: u64) -> Given<u32> {
    let Spanned { value, span } = reader.whole(node, least..=most)?;
    u32::try_from(value)
        .ok()
        .map(|value| Spanned { value, span })
}

/// A text that is not empty and not absurdly long.
fn filled(reader: &mut Reader, node: &Node) -> Given<String> {
    let text = reader.text(node)?;
    if text.value.trim().is_empty() || text.value.len() > 4096 {
        reader.report(
            text.span,
            "a text of 1 to 4096 characters belongs here",
            None,
        );
        return None;
    }
    Some(text)
}
