//! Reads the parts of a profile that are not about requests: process, ports, hosts, keys and evidence.

use std::collections::BTreeMap;

use super::{Sources, values};
use crate::name::Name;
use crate::profile::{
    Environment, Evidence, Flags, Listener, Outbound, Phase, PortClass, Ports, RequiredFlag, Secret,
};
use crate::yaml::{Node, Reader};

pub(super) fn environment(
    reader: &mut Reader,
    node: &Node,
    sources: Sources,
) -> Option<Environment> {
    let known = ["require", "forbid", "default", "sources"];
    let fields = reader.fields(node, "`environment`", &known)?;
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
        sources: sources.some(reader, &fields),
    })
}

pub(super) fn flags(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Flags> {
    let known = ["forbid", "require", "shortened", "sources"];
    let fields = reader.fields(node, "`flags`", &known)?;
    let choices = [("true", true), ("false", false)];
    let shortened = fields.optional(reader, "shortened", |reader, node| {
        reader.choice(node, &choices)
    });
    let required = |reader: &mut Reader, node: &Node| {
        let fields = reader.fields(node, "a required flag", &["flag", "why"])?;
        let flag = fields.required(reader, "flag", Reader::text);
        let why = fields.required(reader, "why", Reader::text);
        Some(RequiredFlag {
            flag: flag?.value,
            why: why?.value,
        })
    };
    Some(Flags {
        forbid: values(fields.items(reader, "forbid", Reader::text)),
        require: fields.items(reader, "require", required),
        shortened: shortened.is_some_and(|shortened| shortened.value),
        sources: sources.some(reader, &fields),
    })
}

pub(super) fn ports(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Ports> {
    let fields = reader.fields(node, "`ports`", &["serves", "listens"])?;
    Some(Ports {
        serves: fields.optional(reader, "serves", port),
        listens: fields.items(reader, "listens", |reader, node| {
            listener(reader, node, sources)
        }),
    })
}

fn listener(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Listener> {
    let known = [
        "port",
        "what",
        "class",
        "bind",
        "moved-by",
        "opened-by",
        "closed-by",
        "source",
    ];
    let fields = reader.fields(node, "a listener", &known)?;
    let number = fields.optional(reader, "port", port);
    let what = fields.required(reader, "what", Reader::text);
    let choices = PortClass::ALL.map(|class| (class.as_str(), class));
    let class = fields.required(reader, "class", |reader, node| {
        reader.choice(node, &choices)
    });
    let bind = fields.required(reader, "bind", Reader::text);
    let moved_by = values(fields.items(reader, "moved-by", Reader::text));
    let opened_by = values(fields.items(reader, "opened-by", Reader::text));
    let closed_by = values(fields.items(reader, "closed-by", Reader::text));
    if number.is_none() && moved_by.is_empty() && !fields.has("port") {
        let help = "write `port`, or `moved-by` with what gives it";
        reader.report(fields.span, "a listener that opens nowhere", help);
    }
    Some(Listener {
        port: number,
        what: what?.value,
        class: class?.value,
        bind: bind?.value,
        moved_by,
        opened_by,
        closed_by,
        source: sources.one(reader, &fields),
    })
}

fn port(reader: &mut Reader, node: &Node) -> Option<u16> {
    reader
        .whole(node, 1..=65_535)
        .and_then(|port| u16::try_from(port.value).ok())
}

pub(super) fn outbound(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Outbound> {
    let known = ["host", "purpose", "phase", "opt-out", "only-when", "source"];
    let fields = reader.fields(node, "an outbound host", &known)?;
    let host = fields.required(reader, "host", Reader::text);
    let purpose = fields.required(reader, "purpose", Reader::text);
    let phase = fields.required(reader, "phase", phase);
    let opt_out = fields.optional(reader, "opt-out", Reader::text);
    Some(Outbound {
        host: host?.value,
        purpose: purpose?.value,
        phase: phase?,
        opt_out: opt_out.map(|text| text.value),
        only_when: values(fields.items(reader, "only-when", Reader::text)),
        source: sources.one(reader, &fields),
    })
}

pub(super) fn secret(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Secret> {
    let fields = reader.fields(node, "a secret", &["name", "what", "phase", "source"])?;
    let name = fields.required(reader, "name", Reader::text);
    let what = fields.required(reader, "what", Reader::text);
    let phase = fields.required(reader, "phase", phase);
    Some(Secret {
        name: name?.value,
        what: what?.value,
        phase: phase?,
        source: sources.one(reader, &fields),
    })
}

fn phase(reader: &mut Reader, node: &Node) -> Option<Phase> {
    let choices = Phase::ALL.map(|phase| (phase.as_str(), phase));
    reader.choice(node, &choices).map(|phase| phase.value)
}

pub(super) fn evidence(reader: &mut Reader, node: &Node, sources: Sources) -> Option<Evidence> {
    let known = [
        "images",
        "commands",
        "other-commands",
        "environment",
        "client-environment",
        "probes",
        "ports",
        "wraps",
        "sources",
    ];
    let fields = reader.fields(node, "`evidence`", &known)?;
    Some(Evidence {
        images: values(fields.items(reader, "images", Reader::text)),
        commands: values(fields.items(reader, "commands", Reader::text)),
        other_commands: values(fields.items(reader, "other-commands", Reader::text)),
        environment: values(fields.items(reader, "environment", Reader::text)),
        client_environment: values(fields.items(reader, "client-environment", Reader::text)),
        probes: values(fields.items(reader, "probes", Reader::text)),
        ports: fields.items(reader, "ports", port),
        wraps: values(fields.items(reader, "wraps", Reader::parsed::<Name>)),
        sources: sources.some(reader, &fields),
    })
}
