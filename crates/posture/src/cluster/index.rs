//! What is asked of an estate again and again, by its key: kinds, the labels that services select, the services
//! that routes lead to. A thousand services before a thousand pods are not a million comparisons.

use std::collections::{HashMap, HashSet};

use super::{POLICIES, is_cluster_wide};
use crate::kubernetes::pairs;
use crate::node::{Node, is_unresolved};
use crate::workload::Resource;

/// Positions in the list of resources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index<'tree> {
    kinds: HashMap<&'tree str, Vec<usize>>,
    /// Services by the first label of their selector.
    services: HashMap<(&'tree str, &'tree str), Vec<usize>>,
    /// Routes with their back ends, by the name of the service.
    routes: HashMap<&'tree str, Vec<(usize, &'tree Node)>>,
    /// Policies of one namespace each, by its name.
    policies: HashMap<&'tree str, Vec<usize>>,
    /// Policies of the whole cluster, and of a namespace that is not known yet.
    policies_anywhere: Vec<usize>,
}

impl<'tree> Index<'tree> {
    pub(crate) fn of(resources: &[Resource<'tree>]) -> Self {
        let mut index = Self::default();
        for (at, resource) in resources.iter().enumerate() {
            index.kinds.entry(resource.kind).or_default().push(at);
            if resource.kind == "Service" {
                let selector = resource.node.at(&["spec", "selector"]);
                if let Some(first) = pairs(selector).first() {
                    index.services.entry(*first).or_default().push(at);
                }
            }
            index.route(at, resource);
            index.policy(at, resource);
        }
        index
    }

    fn route(&mut self, at: usize, resource: &Resource<'tree>) {
        let keys: &[&str] = match resource.kind {
            "Ingress" => &["service", "backend", "defaultBackend"],
            "Route" => &["to"],
            "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" => &["backendRefs"],
            "VirtualService" => &["destination"],
            _ => return,
        };
        resource.node.walk(&mut |node| {
            for key in keys {
                let Some(value) = node.get(key) else { continue };
                for back_end in std::iter::once(value).chain(value.items()) {
                    let named = back_end
                        .text_at("name")
                        .or_else(|| back_end.text_at("host"))
                        .map(|name| name.split('.').next().unwrap_or(name));
                    if let Some(name) = named {
                        self.routes.entry(name).or_default().push((at, back_end));
                    }
                }
            }
        });
    }

    fn policy(&mut self, at: usize, resource: &Resource<'tree>) {
        if !POLICIES.contains(&resource.kind) {
            return;
        }
        let namespace = resource.namespace.unwrap_or("default");
        if is_cluster_wide(resource.kind) || is_unresolved(namespace) {
            self.policies_anywhere.push(at);
        } else {
            self.policies.entry(namespace).or_default().push(at);
        }
    }

    /// The policies that may hold pods of `namespace`, in order; all of them when that is not known yet.
    pub(crate) fn policies(&self, namespace: &str) -> Vec<usize> {
        if is_unresolved(namespace) {
            return self.kinds(POLICIES);
        }
        let own = self.policies.get(namespace).into_iter().flatten();
        let mut found: Vec<usize> = own.chain(&self.policies_anywhere).copied().collect();
        found.sort_unstable();
        found
    }

    /// The resources of a kind, in order.
    pub(crate) fn kind(&self, kind: &str) -> &[usize] {
        self.kinds.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The resources of any of these kinds, in order.
    pub(crate) fn kinds(&self, kinds: &[&str]) -> Vec<usize> {
        let mut found: Vec<usize> = kinds
            .iter()
            .flat_map(|kind| self.kind(kind))
            .copied()
            .collect();
        found.sort_unstable();
        found
    }

    /// The services that may select a workload with these labels, in order.
    pub(crate) fn services(&self, labels: &[(&str, &str)]) -> Vec<usize> {
        let unique: HashSet<_> = labels.iter().collect();
        let mut found: Vec<usize> = unique
            .into_iter()
            .filter_map(|label| self.services.get(label))
            .flatten()
            .copied()
            .collect();
        found.sort_unstable();
        found
    }

    /// Routes with a back end of this name, in order.
    pub(crate) fn routes(&self, service: &str) -> &[(usize, &'tree Node)] {
        self.routes.get(service).map_or(&[], Vec::as_slice)
    }
}
