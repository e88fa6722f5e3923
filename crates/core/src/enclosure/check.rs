//! Resolves a file into an [`Enclosure`]: every name it mentions exists, and nothing contradicts.

mod edges;
mod paths;
mod run;

use std::path::Path;

use super::file::{EnclosureFile, ModelFile, ProviderFile, SpecFile, StageFile};
use super::{Enclosure, IdentityProvider, KeySource, Model, Resources, Stage, decode, join};
use crate::diagnostic::{Diagnostics, nearest};
use crate::name::{ModelVersion, Name};
use crate::profile::{self, Profile};
use crate::yaml::{self, Reader, Spanned, listed};

pub use self::paths::{Expected, Mentioned, Trouble};

/// Reads an enclosure file. `file_name` is what messages call it, and its directory is where relative
/// paths start; nothing is opened.
///
/// # Errors
/// Every mistake in the file, each with its place and fix.
pub fn parse(file_name: &str, text: &str) -> Result<Enclosure, Diagnostics> {
    parse_and_look(file_name, text, &|_| None)
}

/// Reads an enclosure file like [`parse`], and asks `look` about each path that it names: what is wrong
/// there is shown at its place, among the other mistakes.
///
/// # Errors
/// Every mistake in the file, and each path with which `look` finds something wrong.
pub fn parse_and_look(
    file_name: &str,
    text: &str,
    look: &dyn Fn(&Mentioned) -> Option<Trouble>,
) -> Result<Enclosure, Diagnostics> {
    let node = yaml::read(file_name, text)?;
    let mut reader = Reader::new(file_name, text);
    let file = decode::enclosure(&mut reader, &node);
    let directory = Path::new(file_name).parent().unwrap_or(Path::new(""));
    if let Some(spec) = file.as_ref().and_then(|file| file.spec.as_ref()) {
        paths::look_at_all(&mut reader, directory, spec, look);
    }
    let enclosure = file.and_then(|file| resolve(&mut reader, directory, file));
    reader.finish(enclosure)
}

fn resolve(reader: &mut Reader, directory: &Path, file: EnclosureFile) -> Option<Enclosure> {
    let name = file.metadata.and_then(|metadata| metadata.name);
    undotted(reader, name.as_ref(), "an enclosure's name");
    let SpecFile {
        trust_domain,
        identity_providers,
        models,
        stages,
        flows,
        exposes,
        place_of_stages,
    } = file.spec?;
    if stages.len() > MAX_STAGES {
        let message = format!(
            "{} stages; one host runs at most {MAX_STAGES}",
            stages.len()
        );
        reader.report(
            place_of_stages,
            message,
            "split the pipeline into enclosures",
        );
    }
    let identity_providers = providers(reader, &identity_providers);
    let declared = Declared::of(&models);
    let models = all_models(reader, directory, &models);
    let read = all_stages(reader, directory, &declared, &stages);
    let named: Vec<String> = stages
        .iter()
        .filter_map(|stage| Some(stage.name.as_ref()?.value.as_str().to_owned()))
        .collect();
    let opened = stages.iter().flat_map(|stage| &stage.models);
    let known = edges::Known {
        stages: &read,
        // What did not read is not reported again as missing, nor anything that follows from it.
        all_named: named.len() == stages.len(),
        all_read: read.len() == stages.len()
            && opened.into_iter().all(|model| declared.has(&model.value)),
        models: declared,
        names: named,
        logins: !identity_providers.is_empty(),
    };
    let declared_flows = flows.len();
    let flows = edges::flows(reader, &known, &flows);
    let exposes = edges::exposes(reader, &known, &flows, declared_flows, &exposes);
    Some(Enclosure {
        name: name?.value,
        trust_domain: trust_domain?.value,
        identity_providers,
        models,
        stages: read,
        flows,
        exposes,
    })
}

fn providers(reader: &mut Reader, files: &[ProviderFile]) -> Vec<IdentityProvider> {
    let mut read: Vec<IdentityProvider> = Vec::new();
    for file in files {
        let (Some(issuer), Some(audience)) = (&file.issuer, &file.audience) else {
            continue;
        };
        if let Some((why, fix)) = bad_issuer(&issuer.value) {
            reader.report(issuer.span, why, fix);
        }
        if read.iter().any(|known| known.issuer == issuer.value) {
            let message = format!("identity provider `{}` is declared twice", issuer.value);
            reader.report(issuer.span, message, "keep one of the two");
        }
        read.push(IdentityProvider {
            issuer: issuer.value.clone(),
            audience: audience.value.clone(),
            groups_claim: file
                .groups_claim
                .as_ref()
                .map_or_else(|| "groups".to_owned(), |claim| claim.value.clone()),
        });
    }
    read
}

/// Why `issuer` is not an issuer URL (OpenID Connect Discovery 1.0 section 3), and what to write.
fn bad_issuer(issuer: &str) -> Option<(String, String)> {
    let (scheme, rest) = issuer.split_once("://").unwrap_or(("", issuer));
    let host = rest.split('/').next().unwrap_or("");
    let fix = "write `https://` and the issuer's host";
    if !matches!(scheme, "https" | "http") || host.is_empty() {
        return Some((format!("`{issuer}` is not an issuer URL"), fix.to_owned()));
    }
    let plain = |character: char| character.is_ascii_graphic() && !"?#@\\\"<>".contains(character);
    if !issuer.chars().all(plain) || issuer.len() > 512 {
        let why = "an issuer URL has no query, fragment, user or space, and at most 512 characters";
        return Some((why.to_owned(), fix.to_owned()));
    }
    if scheme == "http" && !is_loopback(host) {
        let why = "an issuer over plain `http` could be anybody on the network";
        return Some((why.to_owned(), format!("write `https://{rest}`")));
    }
    None
}

/// Whether `host`, perhaps with a port, can only be this machine.
fn is_loopback(host: &str) -> bool {
    let port_of = |rest: &str| rest.strip_prefix(':').map_or(rest.is_empty(), is_port);
    if let Some(rest) = host
        .strip_prefix("[::1]")
        .or_else(|| host.strip_prefix("localhost"))
    {
        return port_of(rest);
    }
    let (address, port) = host
        .split_once(':')
        .map_or((host, None), |(a, p)| (a, Some(p)));
    address
        .parse::<std::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_loopback())
        && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// The models that the file names, whether or not the rest of them can be read.
#[derive(Debug, Default)]
struct Declared {
    models: Vec<String>,
    /// Whether one has no name or version that can be read, and could be any.
    unclear: bool,
}

impl Declared {
    fn of(files: &[ModelFile]) -> Self {
        let mut declared = Self::default();
        for file in files {
            match (&file.name, &file.version) {
                (Some(name), Some(version)) => declared
                    .models
                    .push(format!("{}@{}", name.value, version.value)),
                _ => declared.unclear = true,
            }
        }
        declared
    }

    fn has(&self, model: &ModelVersion) -> bool {
        self.models.contains(&model.to_string())
    }
}

fn all_models(reader: &mut Reader, directory: &Path, files: &[ModelFile]) -> Vec<Model> {
    let mut read: Vec<Model> = Vec::new();
    for file in files {
        let model = one_model(reader, directory, file);
        if let (Some(model), Some(name)) = (&model, &file.name)
            && read.iter().any(|known| known.version() == model.version())
        {
            let message = format!("model `{}` is declared twice", model.version());
            reader.report(name.span, message, "give each version of a model once");
        }
        read.extend(model);
    }
    read
}

fn one_model(reader: &mut Reader, directory: &Path, file: &ModelFile) -> Option<Model> {
    let release = file.version.as_ref().and_then(|version| {
        // The pair is what must parse; only the version can still be wrong in it.
        let whole = format!("x@{}", version.value).parse::<ModelVersion>();
        if let Err(error) = &whole {
            reader.report(
                version.span,
                error.to_string(),
                "such as `\"1\"` or `2026-02`",
            );
        }
        whole.ok().map(|whole| whole.version)
    });
    let sealed = file.sealed.as_ref().and_then(|sealed| {
        if sealed.value.contains("://") {
            let help = "fetch it into a directory first and name that directory";
            let message = "sealed models are opened from a directory in this version";
            reader.report(sealed.span, message, help);
            return None;
        }
        Some(join(directory, &sealed.value))
    });
    let key = file.key.as_ref().and_then(|key| {
        let path = key
            .value
            .strip_prefix("file:")
            .filter(|path| !path.is_empty());
        if path.is_none() {
            let message = format!(
                "`{}` is not a key source of this version",
                scheme_of(&key.value)
            );
            reader.report(
                key.span,
                message,
                "write `file:` and the path of an age identity file",
            );
        }
        path.map(|path| KeySource::File(join(directory, path)))
    });
    Some(Model {
        name: file.name.as_ref()?.value.clone(),
        release: release?,
        sealed: sealed?,
        signers: file
            .signers
            .iter()
            .map(|signer| join(directory, &signer.value))
            .collect(),
        key: key?,
        minimum_epoch: file.minimum_epoch.as_ref().map_or(0, |epoch| epoch.value),
    })
}

/// The part of a key source that may be shown: what follows may be a secret pasted by mistake.
fn scheme_of(source: &str) -> String {
    source
        .split_once(':')
        .map_or_else(|| "…".to_owned(), |(scheme, _)| format!("{scheme}:…"))
}

fn all_stages(
    reader: &mut Reader,
    directory: &Path,
    models: &Declared,
    files: &[StageFile],
) -> Vec<Stage> {
    let mut read: Vec<Stage> = Vec::new();
    for file in files {
        undotted(reader, file.name.as_ref(), "a stage's name");
        let twin = file.name.as_ref().and_then(|name| {
            read.iter()
                .find(|stage| stage.name == name.value)
                .map(|_| name)
        });
        if let Some(name) = twin {
            let message = format!("stage `{}` is declared twice", name.value);
            reader.report(name.span, message, "give the second one another name");
        }
        read.extend(one_stage(reader, directory, models, file));
    }
    read
}

fn one_stage(
    reader: &mut Reader,
    directory: &Path,
    models: &Declared,
    file: &StageFile,
) -> Option<Stage> {
    let profile = file
        .profile
        .as_ref()
        .and_then(|id| known_profile(reader, id));
    let run = file.run.as_ref();
    let environment = run.map(|run| run::environment(reader, profile.as_ref(), run));
    let run = run.and_then(|file| run::resolve(reader, directory, profile.as_ref(), file));
    for (index, wanted) in file.models.iter().enumerate() {
        opened_model(
            reader,
            models,
            file.models.get(..index).unwrap_or(&[]),
            wanted,
        );
    }
    if let (Some(serves), Some(profile)) = (&file.serves, &profile)
        && profile.ports.is_internal(serves.value)
    {
        let message = format!(
            "port {} is internal to {} and must stay unreachable",
            serves.value, profile.id
        );
        reader.report(serves.span, message, "serve on another port");
    }
    let default = Resources::default();
    let resources = file.resources.as_ref().map_or(default, |given| Resources {
        memory: given
            .memory
            .as_ref()
            .map_or(default.memory, |memory| memory.value),
        millicpus: given
            .cpus
            .as_ref()
            .map_or(default.millicpus, |cpus| cpus.value),
        pids: given.pids.as_ref().map_or(default.pids, |pids| pids.value),
        scratch: given
            .scratch
            .as_ref()
            .map_or(default.scratch, |scratch| scratch.value),
    });
    check_resources(reader, file, resources);
    Some(Stage {
        name: file.name.as_ref()?.value.clone(),
        profile: profile?,
        run: run?,
        environment: environment?,
        models: file
            .models
            .iter()
            .map(|model| model.value.clone())
            .collect(),
        serves: file.serves.as_ref()?.value,
        resources,
    })
}

fn check_resources(reader: &mut Reader, file: &StageFile, resources: Resources) {
    let Some(given) = &file.resources else { return };
    if let Some(memory) = given
        .memory
        .as_ref()
        .filter(|memory| memory.value < 16 << 20)
    {
        let message = "no server starts in less than 16 MiB of memory";
        reader.report(memory.span, message, "write at least `16MiB`");
    }
    // Scratch space is memory, so more of it than memory could never be filled.
    if let Some(scratch) = given
        .scratch
        .as_ref()
        .filter(|_| resources.scratch > resources.memory)
    {
        let message = "scratch space lives in memory, and here is more of it than memory";
        reader.report(scratch.span, message, "lower `scratch` or raise `memory`");
    }
}

fn known_profile(reader: &mut Reader, id: &Spanned<String>) -> Option<Profile> {
    let known: Vec<&'static str> = profile::built_in_ids().collect();
    let profile = profile::built_in(&id.value);
    if profile.is_none() {
        let help = nearest(&id.value, known.iter().copied()).map_or_else(
            || {
                format!(
                    "the profiles are {}; `http` fits any small HTTP server",
                    listed(&known)
                )
            },
            |near| format!("did you mean `{near}`?"),
        );
        reader.report(id.span, format!("there is no profile `{}`", id.value), help);
    }
    profile
}

fn opened_model(
    reader: &mut Reader,
    models: &Declared,
    earlier: &[Spanned<ModelVersion>],
    wanted: &Spanned<ModelVersion>,
) {
    if earlier
        .iter()
        .any(|earlier| earlier.value.name == wanted.value.name)
    {
        let name = &wanted.value.name;
        let message = format!("a stage sees one version of `{name}`, at `/models/{name}`");
        reader.report(
            wanted.span,
            message,
            "put the other version into a stage of its own",
        );
    }
    unknown_model(reader, models, wanted);
}

/// Reports a model that is not declared; whether it was.
fn unknown_model(reader: &mut Reader, models: &Declared, wanted: &Spanned<ModelVersion>) -> bool {
    let text = wanted.value.to_string();
    if models.has(&wanted.value) || models.unclear {
        return false;
    }
    let known = models.models.as_slice();
    let help = nearest(&text, known.iter().map(String::as_str)).map_or_else(
        || match known {
            [] => "declare it under `spec.models`".to_owned(),
            known => format!("the declared models are {}", listed(known)),
        },
        |near| format!("did you mean `{near}`?"),
    );
    reader.report(wanted.span, format!("no model `{text}` is declared"), help);
    true
}

/// Names that become parts of file names and identities, where a dot separates.
fn undotted(reader: &mut Reader, name: Option<&Spanned<Name>>, what: &str) {
    if let Some(name) = name.filter(|name| name.value.as_str().contains('.')) {
        let help = format!("write `{}`", name.value.as_str().replace('.', "-"));
        reader.report(name.span, format!("{what} has no dots"), help);
    }
}

const MAX_STAGES: usize = 64;
