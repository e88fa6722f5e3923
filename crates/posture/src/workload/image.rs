//! An image reference, taken apart.

use std::borrow::Cow;

use crate::node::{Node, is_unresolved};
use crate::place::Place;

/// The image of a container. Every part is empty when the reference comes from an unresolved template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'tree> {
    /// The whole reference as it is written, or put together where its parts are written apart.
    pub reference: Cow<'tree, str>,
    /// Registry and repository, without tag and digest. No registry is put in where none is written.
    pub repository: &'tree str,
    /// The tag.
    pub tag: Option<&'tree str>,
    /// The digest, with its algorithm.
    pub digest: Option<&'tree str>,
    /// Where it stands.
    pub place: Place,
}

impl<'tree> Image<'tree> {
    /// Takes the reference in `node` apart; none when it is not a text.
    #[must_use]
    pub fn of(node: &'tree Node) -> Option<Self> {
        Some(Self::parse(node.text()?.trim(), node.place))
    }

    /// Takes `reference` apart.
    #[must_use]
    pub fn parse(reference: &'tree str, place: Place) -> Self {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let name_starts = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest.get(name_starts..).and_then(|name| name.find(':')) {
            Some(colon) => (
                rest.get(..name_starts + colon).unwrap_or(rest),
                rest.get(name_starts + colon + 1..),
            ),
            None => (rest, None),
        };
        Self {
            reference: Cow::Borrowed(reference),
            repository,
            tag,
            digest,
            place,
        }
    }

    /// An image whose repository and tag stand apart.
    #[must_use]
    pub fn of_parts(repository: &'tree Node, tag: Option<&'tree Node>) -> Option<Self> {
        let mut image = Self::of(repository)?;
        let Some((node, tag)) = tag.and_then(|node| Some((node, node.text()?.trim()))) else {
            return Some(image);
        };
        image.reference = Cow::Owned(format!("{}:{tag}", image.reference));
        image.tag = Some(tag);
        image.place = node.place;
        // Some charts put the digest where the tag belongs.
        if let Some((name, digest)) = tag.split_once('@') {
            image.tag = (!name.is_empty()).then_some(name);
            image.digest = Some(digest);
        } else if tag.starts_with("sha256:") {
            image.reference = Cow::Owned(format!("{}@{tag}", image.repository));
            image.tag = None;
            image.digest = Some(tag);
        }
        Some(image)
    }

    /// Whether any part of it is filled in by somebody else later.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        is_unresolved(&self.reference)
    }

    /// The numbers a tag starts with, such as `[26, 3]` for `26.03-py3` or `v26.03`; empty without any.
    #[must_use]
    pub fn version(&self) -> Vec<u64> {
        let tag = self.tag.unwrap_or("");
        let tag = tag.strip_prefix('v').unwrap_or(tag);
        let end = tag
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(tag.len());
        tag.get(..end)
            .unwrap_or("")
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect()
    }
}
