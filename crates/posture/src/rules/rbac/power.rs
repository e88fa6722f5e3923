//! What one rule of a role lets its holder do, as far as it matters for models.

use crate::cluster::selects;
use crate::estate::Estate;
use crate::kubernetes::pairs;
use crate::node::Node;
use crate::place::Place;
use crate::workload::Resource;

/// One thing that a rule allows.
pub(super) struct Power<'tree> {
    /// The resource in the rule that gives it.
    pub(super) place: Place,
    /// The resource's name as it is written.
    pub(super) resource: &'tree str,
    /// What it allows, after "account x".
    pub(super) may: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Everything,
    Secrets,
    Pods,
    Exec,
    Serving,
    Volumes,
    Roles,
    Admission,
}

impl Power<'_> {
    /// Whether it leads into running pods, past whoever deploys.
    pub(super) fn steps_in(&self) -> bool {
        matches!(
            self.kind,
            Kind::Everything | Kind::Exec | Kind::Admission | Kind::Roles
        )
    }

    /// A name that stays when lines move.
    pub(super) fn subject(&self) -> String {
        format!("resource {}", self.resource)
    }
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const CHANGE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// A row: the API groups, the resources, the verbs, and what they amount to.
struct Row {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    kind: Kind,
    may: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        groups: &[""],
        resources: &["secrets"],
        verbs: READ,
        kind: Kind::Secrets,
        may: "can read secrets: registry credentials, hub tokens and model keys of the namespace",
    },
    Row {
        groups: &[""],
        resources: &[
            "pods/exec",
            "pods/attach",
            "pods/portforward",
            "pods/ephemeralcontainers",
        ],
        verbs: &["create", "get", "update", "patch"],
        kind: Kind::Exec,
        may: "can step into running pods, where the model and the prompts are in clear",
    },
    Row {
        groups: &[""],
        resources: &["nodes/proxy"],
        verbs: &["create", "get", "update", "patch"],
        kind: Kind::Exec,
        may: "can run commands in every pod of a node through the kubelet, past audit and admission",
    },
    Row {
        groups: &[""],
        resources: &["pods"],
        verbs: &["create"],
        kind: Kind::Pods,
        may: "can start pods that mount the namespace's secrets and volumes",
    },
    Row {
        groups: &["apps", "batch"],
        resources: &[
            "deployments",
            "statefulsets",
            "daemonsets",
            "replicasets",
            "jobs",
            "cronjobs",
        ],
        verbs: WRITE,
        kind: Kind::Pods,
        may: "can start or change workloads that mount the namespace's secrets and volumes",
    },
    Row {
        groups: &[
            "serving.kserve.io",
            "apps.nvidia.com",
            "nvidia.com",
            "leaderworkerset.x-k8s.io",
            "ray.io",
        ],
        resources: &[
            "inferenceservices",
            "servingruntimes",
            "clusterservingruntimes",
            "inferencegraphs",
            "nimservices",
            "nimcaches",
            "nimpipelines",
            "dynamographdeployments",
            "leaderworkersets",
            "rayservices",
            "rayclusters",
        ],
        verbs: CHANGE,
        kind: Kind::Serving,
        may: "can point serving objects at other weights, another image or another command",
    },
    Row {
        groups: &[""],
        resources: &["persistentvolumeclaims", "persistentvolumes"],
        verbs: CHANGE,
        kind: Kind::Volumes,
        may: "can replace the volumes that hold the models",
    },
    Row {
        groups: &["rbac.authorization.k8s.io"],
        resources: &[
            "roles",
            "clusterroles",
            "rolebindings",
            "clusterrolebindings",
        ],
        // Without these two the API lets nobody give more than they have.
        verbs: &["escalate", "bind"],
        kind: Kind::Roles,
        may: "can give itself any other power of the namespace or the cluster",
    },
    Row {
        groups: &[""],
        resources: &["serviceaccounts/token"],
        verbs: &["create"],
        kind: Kind::Roles,
        may: "can make tokens of other accounts",
    },
    Row {
        groups: &[""],
        resources: &["users", "groups", "serviceaccounts"],
        verbs: &["impersonate"],
        kind: Kind::Roles,
        may: "can act as somebody else",
    },
    Row {
        groups: &["admissionregistration.k8s.io"],
        resources: &[
            "validatingwebhookconfigurations",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
        ],
        verbs: CHANGE,
        kind: Kind::Admission,
        may: "can switch admission checks off, or have every new pod changed on its way in",
    },
    Row {
        groups: &["node.k8s.io"],
        resources: &["runtimeclasses"],
        verbs: CHANGE,
        kind: Kind::Admission,
        may: "can change the runtime that confidential pods are started with",
    },
];

/// What a rule of a role gives. Rules that name single objects are taken as narrow on purpose.
pub(super) fn powers(rule: &Node) -> Vec<Power<'_>> {
    let verbs: Vec<&str> = rule.list("verbs").iter().filter_map(Node::text).collect();
    let groups: Vec<&str> = rule
        .list("apiGroups")
        .iter()
        .filter_map(Node::text)
        .collect();
    let has_verb = |wanted: &[&str]| {
        verbs
            .iter()
            .any(|verb| *verb == "*" || wanted.contains(verb))
    };
    let has_group = |wanted: &[&str]| {
        groups
            .iter()
            .any(|group| *group == "*" || wanted.contains(group))
    };
    let mut found = Vec::new();
    if !rule.list("resourceNames").is_empty() {
        return found;
    }
    for node in rule.list("resources") {
        let Some(resource) = node.text() else {
            continue;
        };
        if resource == "*" {
            if let Some((kind, may)) = everything(&has_verb, &has_group) {
                found.push(Power {
                    place: node.place,
                    resource,
                    may,
                    kind,
                });
            }
            continue;
        }
        // `pods/*` are all the ways into a pod.
        let row = ROWS.iter().find(|row| {
            let named = row.resources.contains(&resource)
                || (resource.ends_with("/*")
                    && row.kind == Kind::Exec
                    && row
                        .resources
                        .iter()
                        .any(|one| one.split('/').next() == resource.split('/').next()));
            named && has_group(row.groups) && has_verb(row.verbs)
        });
        if let Some(row) = row {
            found.push(Power {
                place: node.place,
                resource,
                may: row.may,
                kind: row.kind,
            });
        }
    }
    found
}

/// What `resources: ["*"]` gives with these verbs and groups.
fn everything(
    has_verb: &dyn Fn(&[&str]) -> bool,
    has_group: &dyn Fn(&[&str]) -> bool,
) -> Option<(Kind, &'static str)> {
    if has_verb(CHANGE) {
        let may = "may change every resource of these API groups, and step into pods with them";
        return Some((Kind::Everything, may));
    }
    (has_verb(READ) && has_group(&[""]))
        .then_some((Kind::Secrets, "can read every resource, secrets among them"))
}

/// The rules of a role with those that are aggregated into it.
pub(super) fn rules_of<'estate>(
    role: &'estate Resource<'estate>,
    estate: &'estate Estate<'_>,
) -> Vec<&'estate Node> {
    let mut rules: Vec<&Node> = role.node.list("rules").iter().collect();
    let selectors = role
        .node
        .at(&["aggregationRule", "clusterRoleSelectors"])
        .map_or(&[][..], Node::items);
    for selector in selectors {
        for other in estate.of_kind("ClusterRole") {
            let labels = pairs(other.node.at(&["metadata", "labels"]));
            if !std::ptr::eq(other, role) && selects(selector, &labels) {
                rules.extend(other.node.list("rules"));
            }
        }
    }
    rules
}

/// What a role that every cluster has lets its holder do; none for a role that is not built in or harmless.
pub(super) fn built_in(name: &str) -> Option<&'static str> {
    match name {
        "cluster-admin" => Some("may do everything in the whole cluster"),
        "admin" => Some("reads secrets, starts and enters pods, and gives roles in the namespace"),
        "edit" => Some("reads secrets, starts pods and enters them"),
        "system:node" | "system:kube-controller-manager" => {
            Some("reads secrets of other workloads")
        }
        _ => None,
    }
}
