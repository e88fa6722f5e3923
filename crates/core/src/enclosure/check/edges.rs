//! The edges: who calls whom, on which classes, for which models, and what is exposed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::file::{ExposeFile, FlowFile};
use super::super::{Expose, Flow, Source, Stage, flow_variable};
use super::{Declared, unknown_model};
use crate::diagnostic::nearest;
use crate::name::Name;
use crate::profile::Grantable;
use crate::ticket::Limits;
use crate::yaml::{Reader, Spanned, listed};

/// What the edges may refer to.
pub(super) struct Known<'parts> {
    pub(super) models: Declared,
    /// The stages without a mistake.
    pub(super) stages: &'parts [Stage],
    /// The names of all stages, of those with a mistake too.
    pub(super) names: Vec<String>,
    /// Whether every stage has a name that can be read.
    pub(super) all_named: bool,
    /// Whether every stage was read, and every model that one opens is declared.
    pub(super) all_read: bool,
    pub(super) logins: bool,
}

impl Known<'_> {
    fn stage(&self, name: &Name) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == *name)
    }

    /// The stage called `name`, reported when there is none.
    fn find(&self, reader: &mut Reader, name: &Spanned<Name>) -> Option<&Stage> {
        let stage = self.stage(&name.value);
        let declared = self.names.iter().any(|known| known == name.value.as_str());
        if !declared && self.all_named {
            let help = nearest(name.value.as_str(), self.names.iter().map(String::as_str))
                .map_or_else(
                    || format!("the stages are {}", listed(&self.names)),
                    |near| format!("did you mean `{near}`?"),
                );
            reader.report(
                name.span,
                format!("there is no stage `{}`", name.value),
                help,
            );
        }
        stage
    }
}

pub(super) fn flows(reader: &mut Reader, known: &Known<'_>, files: &[FlowFile]) -> Vec<Flow> {
    let mut read: Vec<(Flow, &FlowFile)> = Vec::new();
    for file in files {
        let flow = flow(reader, known, file);
        for model in &file.models {
            unknown_model(reader, &known.models, model);
        }
        let Some(flow) = flow else {
            continue;
        };
        if read.iter().any(|(other, _)| same_edge(other, &flow)) {
            let help = "put all its routes and models into one flow";
            reader.report(
                file.place,
                format!("a second flow of this caller to `{}`", flow.to),
                help,
            );
        }
        read.push((flow, file));
    }
    let ways = ways(&read);
    // Where an edge or a stage is unclear, so is what lies behind: whoever follows advice given on half
    // of the picture gives a model to the wrong stage.
    let clear = known.all_read && read.len() == files.len();
    for (flow, file) in &read {
        if clear {
            reachable_models(reader, known, &ways, flow, file);
        }
        if let Source::Stage { name, .. } = &flow.from
            && reach(&ways, &flow.to).contains(name)
        {
            let message = format!("the flows run in a circle through `{name}`");
            reader.report(
                file.place,
                message,
                "a call chain must end: remove one of its flows",
            );
        }
    }
    loopback_ports(reader, known, &read);
    read.into_iter().map(|(flow, _)| flow).collect()
}

fn same_edge(one: &Flow, other: &Flow) -> bool {
    let same_caller = match (&one.from, &other.from) {
        (Source::Group { name }, Source::Group { name: other }) => name == other,
        (Source::Stage { name, .. }, Source::Stage { name: other, .. }) => name == other,
        (Source::Group { .. }, Source::Stage { .. })
        | (Source::Stage { .. }, Source::Group { .. }) => false,
    };
    same_caller && one.to == other.to
}

fn flow(reader: &mut Reader, known: &Known<'_>, file: &FlowFile) -> Option<Flow> {
    let target = file.to.as_ref().and_then(|to| known.find(reader, to));
    let from = source(reader, known, file, target);
    if let Some(target) = target {
        for route in &file.routes {
            class(reader, target, route);
        }
    }
    Some(Flow {
        from: from?,
        to: target?.name.clone(),
        routes: distinct(reader, &file.routes),
        models: distinct(reader, &file.models),
        limits: file
            .limits
            .as_ref()
            .map_or(Limits::default(), |limits| Limits {
                max_tokens: limits.max_tokens.as_ref().map(|tokens| tokens.value),
                requests_per_minute: limits.requests_per_minute.as_ref().map(|rate| rate.value),
            }),
    })
}

fn source(
    reader: &mut Reader,
    known: &Known<'_>,
    file: &FlowFile,
    target: Option<&Stage>,
) -> Option<Source> {
    let from = file.from.as_ref()?;
    match (&from.group, &from.stage) {
        (Some(group), None) => {
            if let Some(at) = &file.at {
                let message = "`at` is a port inside the calling stage; a group has none";
                reader.report(at.span, message, "remove `at`");
            }
            if !known.logins {
                let message = format!(
                    "nobody can be in group `{}`: there is no login",
                    group.value
                );
                reader.report(
                    group.span,
                    message,
                    "declare one under `spec.identityProviders`",
                );
            }
            Some(Source::Group {
                name: group.value.clone(),
            })
        }
        (None, Some(stage)) => {
            let caller = known.find(reader, stage)?;
            let target = target?;
            if caller.name == target.name {
                let message = format!("`{}` would call itself through its gate", caller.name);
                reader.report(
                    stage.span,
                    message,
                    "a server reaches itself on its own loopback",
                );
                return None;
            }
            let at = file.at.as_ref().map_or(target.serves, |at| at.value);
            Some(Source::Stage {
                name: caller.name.clone(),
                at,
            })
        }
        // Both or neither was reported when it was read.
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// Reports a class that the target does not have, or that no flow may grant.
fn class(reader: &mut Reader, target: &Stage, route: &Spanned<Name>) {
    let profile = &target.profile;
    let may: Vec<&str> = profile.grantable_classes().map(Name::as_str).collect();
    match profile.grantable(&route.value) {
        Some(Grantable::ByFlow) => {}
        Some(Grantable::Never) => {
            let what = profile
                .classes
                .iter()
                .find(|class| class.name == route.value);
            let what = what.map_or("", |class| class.what.as_str());
            let message = format!("class `{}` is never granted: {what}", route.value);
            reader.report(
                route.span,
                message,
                format!("flows to `{}` may name {}", target.name, listed(&may)),
            );
        }
        None => {
            let message = format!("profile `{}` has no class `{}`", profile.id, route.value);
            let help = nearest(route.value.as_str(), may.iter().copied()).map_or_else(
                || format!("flows to `{}` may name {}", target.name, listed(&may)),
                |near| format!("did you mean `{near}`?"),
            );
            reader.report(route.span, message, help);
        }
    }
}

/// Models that a flow names must be opened by its target or behind it; a target that opens models needs some.
fn reachable_models(
    reader: &mut Reader,
    known: &Known<'_>,
    ways: &Ways,
    flow: &Flow,
    file: &FlowFile,
) {
    let mut behind = reach(ways, &flow.to);
    behind.insert(flow.to.clone());
    for model in &file.models {
        let opened = known
            .stages
            .iter()
            .any(|stage| behind.contains(&stage.name) && stage.models.contains(&model.value));
        if known.models.has(&model.value) && !opened {
            let message = format!(
                "neither `{}` nor a stage behind it opens `{}`",
                flow.to, model.value
            );
            reader.report(
                model.span,
                message,
                format!("add it to the `models` of `{}`", flow.to),
            );
        }
    }
    let opens = known
        .stage(&flow.to)
        .map_or(&[][..], |stage| stage.models.as_slice());
    if file.models.is_empty() && !opens.is_empty() {
        let names: Vec<String> = opens.iter().map(ToString::to_string).collect();
        let message = format!(
            "`{}` opens models, and this flow grants none of them",
            flow.to
        );
        reader.report(
            file.place,
            message,
            format!("add `models: [{}]`", names.join(", ")),
        );
    }
}

/// Which stages each stage calls.
type Ways = BTreeMap<Name, BTreeSet<Name>>;

fn ways(flows: &[(Flow, &FlowFile)]) -> Ways {
    let mut ways = Ways::new();
    for (flow, _) in flows {
        if let Source::Stage { name, .. } = &flow.from {
            ways.entry(name.clone())
                .or_default()
                .insert(flow.to.clone());
        }
    }
    ways
}

/// The stages that a call into `from` can lead to, without `from` unless a circle leads back.
fn reach(ways: &Ways, from: &Name) -> BTreeSet<Name> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(stage) = open.pop() {
        for next in ways.get(stage).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    seen
}

/// Ports inside one stage: its server's and one for each stage that it calls. Also the variables naming them.
fn loopback_ports(reader: &mut Reader, known: &Known<'_>, flows: &[(Flow, &FlowFile)]) {
    let mut taken: BTreeMap<(&Name, u16), &Name> = BTreeMap::new();
    let mut variables: BTreeMap<(&Name, String), &Name> = BTreeMap::new();
    for (flow, file) in flows {
        let Source::Stage { name: caller, at } = &flow.from else {
            continue;
        };
        let place = file.at.as_ref().map_or(file.place, |given| given.span);
        let serves = known.stage(caller).map(|stage| stage.serves);
        let help = format!("add `at: PORT`, a free port inside `{caller}`");
        if serves == Some(*at) {
            let message = format!("port {at} inside `{caller}` is its own server's");
            reader.report(place, message, help);
        } else if let Some(other) = taken.insert((caller, *at), &flow.to)
            && *other != flow.to
        {
            let message = format!("port {at} inside `{caller}` already leads to `{other}`");
            reader.report(place, message, help);
        }
        let variable = flow_variable(&flow.to);
        if let Some(other) = variables.insert((caller, variable.clone()), &flow.to)
            && *other != flow.to
        {
            let message = format!(
                "`{other}` and `{}` would share the variable {variable}",
                flow.to
            );
            reader.report(file.place, message, "rename one of the two stages");
        }
    }
}

pub(super) fn exposes(
    reader: &mut Reader,
    known: &Known<'_>,
    flows: &[Flow],
    declared_flows: usize,
    files: &[ExposeFile],
) -> Vec<Expose> {
    let clear = flows.len() == declared_flows;
    let mut read: Vec<Expose> = Vec::new();
    for file in files {
        let stage = file
            .stage
            .as_ref()
            .and_then(|stage| known.find(reader, stage));
        if let (Some(listen), Some(stage)) = (&file.listen, &file.stage) {
            let address = listen.value;
            let clash = read.iter().find(|other| {
                let (one, two) = (other.listen.ip(), address.ip());
                let overlap = one == two || one.is_unspecified() || two.is_unspecified();
                address.port() != 0 && other.listen.port() == address.port() && overlap
            });
            if let Some(other) = clash {
                let message = format!(
                    "`{address}` collides with `{}` of `{}`",
                    other.listen, other.stage
                );
                reader.report(listen.span, message, "choose another port");
            }
            read.push(Expose {
                stage: stage.value.clone(),
                listen: address,
            });
        }
        let (Some(stage), Some(place)) = (stage, &file.stage) else {
            continue;
        };
        let called = flows
            .iter()
            .any(|flow| flow.to == stage.name && matches!(flow.from, Source::Group { .. }));
        if !called && clear {
            let message = format!("`{}` is exposed, and no group may call it", stage.name);
            let help = format!(
                "add a flow `{{ from: {{ group: NAME }}, to: {}, ... }}`",
                stage.name
            );
            reader.report(place.span, message, help);
        }
    }
    read
}

/// The values, each once.
fn distinct<T: Clone + PartialEq + std::fmt::Display>(
    reader: &mut Reader,
    given: &[Spanned<T>],
) -> Vec<T> {
    let mut read: Vec<T> = Vec::new();
    for one in given {
        if read.contains(&one.value) {
            reader.report(
                one.span,
                format!("`{}` is given twice", one.value),
                "keep one of the two",
            );
        } else {
            read.push(one.value.clone());
        }
    }
    read
}
