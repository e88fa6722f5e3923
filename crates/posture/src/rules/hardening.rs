//! What every workload needs: no privilege, no part of the host, bounds.

use crate::rule::{Case, Change, Check, Group, Rule, Severity, Sink};
use crate::workload::Origin;

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "AI-092",
    title: "container runs privileged",
    group: Group::Hardening,
    severity: Severity::Critical,
    why: "A privileged container has every capability and every device: whoever takes over the model server, by a \
          pickle or a bug in a parser, owns the node and reads the memory of every other model on it.",
    fix: "Remove `privileged`. A GPU needs no privilege: ask for `nvidia.com/gpu`, or name the device.",
    maps: &["CIS 5.2.2", "CIS-Docker 5.4", "NIST 800-190 4.4.3", "T1611", "AML.T0105"],
    checks: &[Check::Container(privileged)],
}];

fn privileged(case: &Case<'_>, sink: &mut Sink<'_>) {
    let node = match case.workload.origin {
        Origin::Kubernetes => case.container.node.at(&["securityContext", "privileged"]),
        Origin::Compose | Origin::DockerRun => case.container.node.get("privileged"),
    };
    let Some(node) = node else { return };
    if sink.known(node).is_some() && node.boolean() == Some(true) {
        let message = format!(
            "`privileged: true` gives container `{}` every capability and every device of the node",
            case.container.name
        );
        sink.find(node.place, "privileged", message)
            .change(Change::replace(node, "false"));
    }
}
