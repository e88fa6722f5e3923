//! Everything that was read together: documents, and what they declare.
//!
//! Rules that look at more than one document (a service in front of a pod, a policy that selects it) ask the
//! estate; see [`crate::cluster`] for who can reach whom.

use crate::cluster::index::Index;
use crate::kubernetes;
use crate::node::Node;
use crate::place::{FileId, Files};
use crate::workload::{Resource, Workload};

/// What a document is, by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Kubernetes resource, or a list of them.
    Kubernetes,
    /// A compose file.
    Compose,
    /// One `docker run` or `podman run` line, put into the form of a compose service.
    DockerRun,
    /// The configuration of an OCI image.
    ImageConfiguration,
    /// The configuration of the NVIDIA Container Toolkit.
    Toolkit,
    /// One of our own enclosures.
    Enclosure,
    /// Facts about a folder with a model.
    Model,
    /// A CycloneDX bill of materials.
    BillOfMaterials,
    /// Nothing that is known here; it is counted, and said.
    Unknown,
}

/// One document.
#[derive(Clone, Debug)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// The file it stands in.
    pub file: FileId,
    /// The document.
    pub root: Node,
}

impl Document {
    /// A document of the kind that its shape shows.
    #[must_use]
    pub fn of(file: FileId, root: Node) -> Self {
        Self {
            kind: kind_of(&root),
            file,
            root,
        }
    }
}

fn kind_of(root: &Node) -> Kind {
    let has = |key: &str| root.entries().iter().any(|entry| entry.key == key);
    let version = root.text_at("apiVersion").unwrap_or("");
    if version.starts_with("casemate.") {
        Kind::Enclosure
    } else if has("kind") && (has("apiVersion") || has("metadata") || has("items")) {
        Kind::Kubernetes
    } else if root
        .get("services")
        .is_some_and(|services| !services.entries().is_empty())
    {
        Kind::Compose
    } else if has("rootfs") && has("config") {
        Kind::ImageConfiguration
    } else if root.text_at("bomFormat") == Some("CycloneDX") {
        Kind::BillOfMaterials
    } else {
        Kind::Unknown
    }
}

/// All documents and what they declare.
#[derive(Debug)]
pub struct Estate<'tree> {
    /// The texts, for places.
    pub files: &'tree Files,
    /// The documents, in the order in which they were read.
    pub documents: &'tree [Document],
    /// Kubernetes resources, members of lists one by one.
    pub resources: Vec<Resource<'tree>>,
    /// What runs containers.
    pub workloads: Vec<Workload<'tree>>,
    pub(crate) index: Index<'tree>,
}

impl<'tree> Estate<'tree> {
    /// Works out what the documents declare.
    #[must_use]
    pub fn of(files: &'tree Files, documents: &'tree [Document]) -> Self {
        let mut resources = Vec::new();
        let mut workloads = Vec::new();
        for document in documents {
            match document.kind {
                Kind::Kubernetes => {
                    let first = resources.len();
                    kubernetes::resources(&document.root, &mut resources);
                    for resource in resources.get(first..).unwrap_or(&[]) {
                        kubernetes::workloads(resource, &mut workloads);
                    }
                }
                Kind::Compose | Kind::DockerRun => {
                    crate::compose::workloads(document, &mut workloads);
                }
                Kind::ImageConfiguration
                | Kind::Toolkit
                | Kind::Enclosure
                | Kind::Model
                | Kind::BillOfMaterials
                | Kind::Unknown => {}
            }
        }
        kubernetes::variables::resolve(&resources, &mut workloads);
        crate::server::recognise(&mut workloads);
        Self {
            files,
            documents,
            index: Index::of(&resources),
            resources,
            workloads,
        }
    }

    /// The Kubernetes resources of one kind.
    pub fn of_kind<'estate>(
        &'estate self,
        kind: &'estate str,
    ) -> impl Iterator<Item = &'estate Resource<'tree>> {
        let found = self.index.kind(kind).iter();
        found.filter_map(|at| self.resources.get(*at))
    }

    /// The documents of one kind that is not Kubernetes.
    pub fn documents_of(&self, kind: Kind) -> impl Iterator<Item = &'tree Document> {
        self.documents
            .iter()
            .filter(move |document| document.kind == kind)
    }
}
