//! The view's directories and files: numbered once, never changed.

use std::collections::BTreeMap;

use crate::format::index::Entry;

/// What an inode number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory and its children by name.
    Directory {
        parent: u64,
        children: BTreeMap<String, u64>,
    },
    /// A file and its number in the model.
    File {
        ordinal: usize,
        size: u64,
        executable: bool,
    },
}

/// All nodes; inode 1 is the root.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// Builds the tree of checked entries, in which no file is also a directory.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let root = Node::Directory {
            parent: ROOT,
            children: BTreeMap::new(),
        };
        let mut tree = Self { nodes: vec![root] };
        for (ordinal, entry) in entries.iter().enumerate() {
            let mut at = ROOT;
            let mut components = entry.path.components().peekable();
            while let Some(name) = components.next() {
                let node = if components.peek().is_some() {
                    Node::Directory {
                        parent: at,
                        children: BTreeMap::new(),
                    }
                } else {
                    Node::File {
                        ordinal,
                        size: entry.size,
                        executable: entry.executable,
                    }
                };
                at = tree.child(at, name, node);
            }
        }
        tree
    }

    /// The child `name` of directory `parent`, made from `node` when there is none yet.
    fn child(&mut self, parent: u64, name: &str, node: Node) -> u64 {
        let next = self.nodes.len() as u64 + ROOT;
        let Some(Node::Directory { children, .. }) = self.node_mut(parent) else {
            return parent;
        };
        if let Some(existing) = children.get(name) {
            return *existing;
        }
        children.insert(name.to_owned(), next);
        self.nodes.push(node);
        next
    }

    pub(super) fn node(&self, inode: u64) -> Option<&Node> {
        self.nodes
            .get(usize::try_from(inode.checked_sub(ROOT)?).ok()?)
    }

    fn node_mut(&mut self, inode: u64) -> Option<&mut Node> {
        self.nodes
            .get_mut(usize::try_from(inode.checked_sub(ROOT)?).ok()?)
    }

    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64
    }
}

/// The root's inode number.
pub(super) const ROOT: u64 = 1;
