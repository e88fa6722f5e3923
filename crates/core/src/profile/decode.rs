//! Reads a profile file with the decoder of the enclosure file, and checks that it makes sense.

use std::collections::BTreeMap;

use super::{
    Class, Environment, Flags, Grantable, Method, Outbound, Ports, Profile, Route, Stream,
};
use crate::diagnostic::{Diagnostics, Span, nearest};
use crate::name::Name;
use crate::yaml::{self, Node, Reader, Spanned, listed};

/// Reads a profile file; `file_name` is what messages call it.
///
/// # Errors
/// Every mistake in the file, each with its place and fix.
pub fn parse(file_name: &str, text: &str) -> Result<Profile, Diagnostics> {
    let node = yaml::read(file_name, text)?;
    let mut reader = Reader::new(file_name, text);
    let profile = profile(&mut reader, &node);
    reader.finish(profile)
}

fn profile(reader: &mut Reader, node: &Node) -> Option<Profile> {
    let known = [
        "id",
        "server",
        "verified-on",
        "source",
        "classes",
        "routes",
        "environment",
        "flags",
        "ports",
        "outbound",
        "writable",
    ];
    let fields = reader.fields(node, "a profile", &known)?;
    let id = fields.required(reader, "id", Reader::parsed::<Name>);
    let server = fields.required(reader, "server", Reader::text);
    let verified_on = fields.optional(reader, "verified-on", Reader::text);
    let source = fields.required(reader, "source", |reader, node| {
        reader.some(node, Reader::text)
    });
    let classes = fields
        .required(reader, "classes", |reader, node| reader.some(node, class))
        .unwrap_or_default();
    let routes = fields
        .required(reader, "routes", |reader, node| reader.some(node, route))
        .unwrap_or_default();
    check_routes(reader, &classes, &routes);
    let environment = fields
        .optional(reader, "environment", environment)
        .unwrap_or_default();
    let flags = fields.optional(reader, "flags", flags).unwrap_or_default();
    let ports = fields.optional(reader, "ports", ports).unwrap_or_default();
    let outbound = fields.items(reader, "outbound", outbound);
    let writable = fields.items(reader, "writable", absolute);
    Some(Profile {
        id: id?.value,
        server: server?.value,
        verified_on: verified_on.map(|text| text.value),
        source: values(source?),
        classes: classes.into_iter().map(|(class, _)| class).collect(),
        routes: routes.into_iter().map(|(route, ..)| route).collect(),
        environment,
        flags,
        ports,
        outbound,
        writable: values(writable),
    })
}

fn class(reader: &mut Reader, node: &Node) -> Option<(Class, Span)> {
    let fields = reader.fields(node, "a class", &["name", "what", "grant"])?;
    let name = fields.required(reader, "name", Reader::parsed::<Name>);
    let what = fields.required(reader, "what", Reader::text);
    let choices = [("by-flow", Grantable::ByFlow), ("never", Grantable::Never)];
    let grant = fields.required(reader, "grant", |reader, node| {
        reader.choice(node, &choices)
    });
    let Spanned { value: name, span } = name?;
    Some((
        Class {
            name,
            what: what?.value,
            grant: grant?.value,
        },
        span,
    ))
}

/// A route with the places of its template and its class.
fn route(reader: &mut Reader, node: &Node) -> Option<(Route, Span, Span)> {
    let known = [
        "method",
        "template",
        "class",
        "stream",
        "model",
        "max-tokens",
        "answers",
        "query",
        "forbid",
        "single",
        "verified-on",
    ];
    let fields = reader.fields(node, "a route", &known)?;
    let method = fields.required(reader, "method", Reader::parsed::<Method>);
    let template = fields.required(reader, "template", Reader::parsed);
    let class = fields.required(reader, "class", Reader::parsed::<Name>);
    let choices = [("none", Stream::None), ("sse", Stream::Sse)];
    let stream = fields.optional(reader, "stream", |reader, node| {
        reader.choice(node, &choices)
    });
    let model = fields.optional(reader, "model", Reader::parsed);
    let max_tokens = fields.items(reader, "max-tokens", Reader::parsed);
    let answers = fields.optional(reader, "answers", Reader::parsed);
    let query = fields.items(reader, "query", Reader::text);
    let forbid = fields.items(reader, "forbid", Reader::parsed);
    let single = fields.items(reader, "single", Reader::parsed);
    let verified_on = fields.optional(reader, "verified-on", Reader::text);
    let (template, class) = (template?, class?);
    let places = (template.span, class.span);
    let route = Route {
        method: method?.value,
        template: template.value,
        class: class.value,
        stream: stream.map_or(Stream::None, |stream| stream.value),
        model: model.map(|model| model.value),
        max_tokens: values(max_tokens),
        answers: answers.map(|answers| answers.value),
        query: values(query),
        forbid: values(forbid),
        single: values(single),
        verified_on: verified_on.map(|text| text.value),
    };
    Some((route, places.0, places.1))
}

fn check_routes(reader: &mut Reader, classes: &[(Class, Span)], routes: &[(Route, Span, Span)]) {
    for (index, (class, place)) in classes.iter().enumerate() {
        if classes
            .iter()
            .take(index)
            .any(|(other, _)| other.name == class.name)
        {
            let message = format!("class `{}` is declared twice", class.name);
            reader.report(*place, message, "keep one of the two");
        }
    }
    let names: Vec<&str> = classes
        .iter()
        .map(|(class, _)| class.name.as_str())
        .collect();
    // A set, because a profile may have many rows.
    let mut seen = std::collections::BTreeSet::new();
    for (route, place, class_place) in routes {
        if !seen.insert((route.method, &route.template)) {
            let message = format!("`{} {}` is declared twice", route.method, route.template);
            reader.report(*place, message, "keep one of the two");
        }
        if !names.contains(&route.class.as_str()) {
            let help = nearest(route.class.as_str(), names.iter().copied()).map_or_else(
                || format!("the classes are {}", listed(&names)),
                |near| format!("did you mean `{near}`?"),
            );
            reader.report(
                *class_place,
                format!("no class `{}` is declared", route.class),
                help,
            );
        }
    }
}

fn environment(reader: &mut Reader, node: &Node) -> Option<Environment> {
    let fields = reader.fields(node, "`environment`", &["require", "forbid", "default"])?;
    let pairs = |reader: &mut Reader, node: &Node| {
        let pairs = reader.map(node, |reader, key, value| {
            Some((key.value.clone(), reader.text(value)?.value))
        });
        pairs.map(BTreeMap::from_iter)
    };
    Some(Environment {
        require: fields
            .optional(reader, "require", pairs)
            .unwrap_or_default(),
        forbid: values(fields.items(reader, "forbid", Reader::text)),
        default: fields
            .optional(reader, "default", pairs)
            .unwrap_or_default(),
    })
}

fn flags(reader: &mut Reader, node: &Node) -> Option<Flags> {
    let fields = reader.fields(node, "`flags`", &["forbid"])?;
    Some(Flags {
        forbid: values(fields.items(reader, "forbid", Reader::text)),
    })
}

fn ports(reader: &mut Reader, node: &Node) -> Option<Ports> {
    let port = |reader: &mut Reader, node: &Node| {
        reader
            .whole(node, 1..=65_535)
            .and_then(|port| u16::try_from(port.value).ok())
    };
    let fields = reader.fields(node, "`ports`", &["serves", "internal"])?;
    Some(Ports {
        serves: fields.optional(reader, "serves", port),
        internal: fields.items(reader, "internal", port),
    })
}

fn outbound(reader: &mut Reader, node: &Node) -> Option<Outbound> {
    let fields = reader.fields(node, "an outbound host", &["host", "purpose", "opt-out"])?;
    let host = fields.required(reader, "host", Reader::text);
    let purpose = fields.required(reader, "purpose", Reader::text);
    let opt_out = fields.optional(reader, "opt-out", Reader::text);
    Some(Outbound {
        host: host?.value,
        purpose: purpose?.value,
        opt_out: opt_out.map(|text| text.value),
    })
}

fn absolute(reader: &mut Reader, node: &Node) -> Option<Spanned<String>> {
    let path = reader.text(node)?;
    if !path.value.starts_with('/') || path.value.split('/').any(|part| part == "..") {
        reader.report(
            path.span,
            format!("`{}` is not an absolute path", path.value),
            None,
        );
    }
    Some(path)
}

fn values<T>(spanned: Vec<Spanned<T>>) -> Vec<T> {
    spanned.into_iter().map(|one| one.value).collect()
}
