//! Reads a profile file with the decoder of the enclosure file, and checks that it makes sense.

mod surroundings;

use super::{Class, Grantable, Method, Profile, Route, Stream, first};
use crate::diagnostic::{Diagnostics, Span, nearest};
use crate::name::Name;
use crate::yaml::{self, Fields, Node, Reader, Spanned, listed};

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
        "secrets",
        "writable",
        "evidence",
    ];
    let fields = reader.fields(node, "a profile", &known)?;
    let id = fields.required(reader, "id", Reader::parsed::<Name>);
    let server = fields.required(reader, "server", Reader::text);
    let verified_on = fields.optional(reader, "verified-on", Reader::text);
    let source = fields.required(reader, "source", |reader, node| {
        reader.some(node, Reader::text)
    });
    let sources = Sources(source.as_ref().map_or(u64::MAX, |list| list.len() as u64));
    let classes = fields
        .required(reader, "classes", |reader, node| reader.some(node, class))
        .unwrap_or_default();
    let routes = fields
        .required(reader, "routes", |reader, node| {
            reader.some(node, |reader, node| route(reader, node, sources))
        })
        .unwrap_or_default();
    check_routes(reader, &classes, &routes);
    let environment = fields
        .optional(reader, "environment", |reader, node| {
            surroundings::environment(reader, node, sources)
        })
        .unwrap_or_default();
    let flags = fields
        .optional(reader, "flags", |reader, node| {
            surroundings::flags(reader, node, sources)
        })
        .unwrap_or_default();
    let ports = fields
        .optional(reader, "ports", |reader, node| {
            surroundings::ports(reader, node, sources)
        })
        .unwrap_or_default();
    let outbound = fields.items(reader, "outbound", |reader, node| {
        surroundings::outbound(reader, node, sources)
    });
    let secrets = fields.items(reader, "secrets", |reader, node| {
        surroundings::secret(reader, node, sources)
    });
    let writable = fields.items(reader, "writable", absolute);
    let evidence = fields
        .optional(reader, "evidence", |reader, node| {
            surroundings::evidence(reader, node, sources)
        })
        .unwrap_or_default();
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
        secrets,
        writable: values(writable),
        evidence,
    })
}

/// How many sources the profile has, so that a row can only name one that is there.
#[derive(Clone, Copy)]
struct Sources(u64);

impl Sources {
    /// The source of a row: the first, unless it says otherwise.
    fn one(self, reader: &mut Reader, fields: &Fields<'_>) -> u16 {
        fields
            .optional(reader, "source", |reader, node| self.number(reader, node))
            .unwrap_or_else(first)
    }

    /// The sources of a section.
    fn some(self, reader: &mut Reader, fields: &Fields<'_>) -> Vec<u16> {
        fields.items(reader, "sources", |reader, node| self.number(reader, node))
    }

    fn number(self, reader: &mut Reader, node: &Node) -> Option<u16> {
        let number = reader.whole(node, 1..=self.0)?;
        u16::try_from(number.value).ok()
    }
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
fn route(reader: &mut Reader, node: &Node, sources: Sources) -> Option<(Route, Span, Span)> {
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
        "source",
    ];
    let fields = reader.fields(node, "a route", &known)?;
    let method = fields.required(reader, "method", Reader::parsed::<Method>);
    let template = fields.required(reader, "template", Reader::parsed);
    let class = fields.required(reader, "class", Reader::parsed::<Name>);
    let choices = [
        ("none", Stream::None),
        ("sse", Stream::Sse),
        ("ndjson", Stream::Ndjson),
    ];
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
    let source = sources.one(reader, &fields);
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
        source,
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
