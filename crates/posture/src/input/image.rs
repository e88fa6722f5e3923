//! Images as documents: an OCI layout, or an archive of one as `docker save` and `skopeo` write it.
//!
//! The document is the image's configuration; what its manifest, its index and its layers say is added under
//! members that start with `x-`. Layers are read as streams and listed; nothing is unpacked.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use super::refuse;
use crate::estate::{Document, Kind};
use crate::node::{Entry, Node, Style, Value};
use crate::place::Place;
use crate::scan::Corpus;

mod layer;
mod layout;
mod manifest;
mod tar;

use self::layer::Listing;
use self::layout::Store;
use self::manifest::Packed;

/// Whether a file is an archive by its first bytes.
pub(super) fn is_archive(path: &Path) -> bool {
    let mut head = [0; 512];
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut length = 0;
    while let Ok(count @ 1..) = file.read(head.get_mut(length..).unwrap_or(&mut [])) {
        length += count;
    }
    let head = head.get(..length).unwrap_or(&[]);
    head.starts_with(&[0x1f, 0x8b]) || head.get(257..262) == Some(b"ustar")
}

/// Reads every image of a layout or an archive.
pub(super) fn read(corpus: &mut Corpus, path: &Path, started: Instant) {
    let name = path.display().to_string();
    let store = match Store::open(path, started) {
        Ok(store) => store,
        Err(message) => return refuse(corpus, &name, &message),
    };
    read_store(corpus, &store, &name);
}

/// Reads a layout from its documents, as if they stood in an archive.
pub(super) fn read_parts(corpus: &mut Corpus, parts: &[&[u8]]) {
    let names = [
        "index.json".to_owned(),
        format!("blobs/sha256/{}", "a".repeat(64)),
        format!("blobs/sha256/{}", "b".repeat(64)),
    ];
    let parts = names
        .into_iter()
        .zip(parts.iter().map(|part| part.to_vec()))
        .collect();
    read_store(corpus, &Store::of_parts(parts), "parts");
}

/// The paths that are kept of a layer; none of one that is broken.
pub(super) fn paths_of_layer(bytes: &[u8]) -> Vec<String> {
    let files = Listing::read(bytes)
        .map(|listing| listing.files)
        .unwrap_or_default();
    files.into_iter().map(|file| file.path).collect()
}

fn read_store(corpus: &mut Corpus, store: &Store, name: &str) {
    let found = match manifest::images(store, &mut corpus.files, name) {
        Ok(found) => found,
        Err(message) => return refuse(corpus, name, &message),
    };
    for message in found.faults {
        refuse(corpus, name, &message);
    }
    let wanted: Vec<String> = found
        .images
        .iter()
        .flat_map(|image| image.layers.iter().cloned())
        .collect();
    let listings = match store.listings(&wanted) {
        Ok(listings) => listings,
        Err(message) => return refuse(corpus, name, &message),
    };
    for image in found.images {
        let document = document(corpus, image, &listings, name);
        corpus.add_document(document);
    }
}

/// The configuration with all that is known beside it.
fn document(
    corpus: &mut Corpus,
    image: Packed,
    listings: &HashMap<String, Result<Listing, String>>,
    name: &str,
) -> Document {
    let mut root = image.configuration;
    let place = root.place;
    let mut added: Vec<(&str, Node)> = vec![
        ("x-digest", scalar(place, &image.digest)),
        ("x-annotations", image.annotations),
        ("x-manifest", image.manifest),
        ("x-attached", sequence(place, image.attached)),
    ];
    added.extend(image.reference.map(|reference| ("x-reference", reference)));
    let taken_away = layer::taken_away(&image.layers, listings);
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    for (number, layer) in image.layers.iter().enumerate() {
        match listings.get(layer) {
            Some(Ok(listing)) => {
                unread.extend(
                    listing
                        .faults
                        .iter()
                        .map(|fault| scalar(place, &format!("layer {number}: {fault}"))),
                );
                files.extend(nodes(corpus, listing, number, layer, name, &taken_away));
            }
            Some(Err(message)) => unread.push(scalar(place, &format!("layer {number}: {message}"))),
            None => unread.push(scalar(
                place,
                &format!("layer {number}: `{layer}` is not there"),
            )),
        }
    }
    added.push(("x-files", sequence(place, files)));
    added.push(("x-layers-unread", sequence(place, unread)));
    if let Value::Mapping { entries, .. } = &mut root.value {
        // What a maker writes under these names is not believed.
        entries.retain(|entry| !added.iter().any(|(key, _)| *key == entry.key));
        entries.extend(added.into_iter().map(|(key, value)| Entry {
            place: value.place,
            key: key.to_owned(),
            value,
        }));
    }
    Document {
        kind: Kind::ImageConfiguration,
        file: place.file,
        root,
    }
}

/// The files of a layer, each with its line in a list that is kept as a text of its own.
fn nodes(
    corpus: &mut Corpus,
    listing: &Listing,
    number: usize,
    layer: &str,
    name: &str,
    taken_away: &BTreeMap<String, usize>,
) -> Vec<Node> {
    let text: String = listing
        .files
        .iter()
        .flat_map(|file| [file.path.as_str(), "\n"])
        .collect();
    let file_id = corpus.files.add(&format!("{name}!{layer}"), &text);
    let mut start = 0_usize;
    let mut found = Vec::new();
    for (line, file) in (1_u32..).zip(&listing.files) {
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let place = Place {
            file: file_id,
            line,
            column: 1,
            start: narrow(start),
            end: narrow(start + file.path.len()),
        };
        start += file.path.len() + 1;
        let mut members = vec![
            ("path", file.path.clone()),
            ("layer", number.to_string()),
            ("size", file.size.to_string()),
            ("mode", format!("{:o}", file.mode)),
            ("owner", file.owner.to_string()),
        ];
        members.extend(file.link.clone().map(|link| ("link", link)));
        members.extend(file.head.clone().map(|head| ("head", head)));
        if layer::is_taken_away(taken_away, &file.path, number) {
            members.push(("removed", "true".to_owned()));
        }
        let entries = members
            .into_iter()
            .map(|(key, text)| Entry {
                place,
                key: key.to_owned(),
                value: Node {
                    place,
                    value: Value::Scalar {
                        // Everything but the one switch is a text.
                        style: if key == "removed" {
                            Style::Plain
                        } else {
                            Style::Quoted
                        },
                        text,
                    },
                },
            })
            .collect();
        found.push(Node {
            place,
            value: Value::Mapping {
                entries,
                flow: false,
            },
        });
    }
    found
}

fn scalar(place: Place, text: &str) -> Node {
    Node {
        place,
        value: Value::Scalar {
            text: text.to_owned(),
            style: Style::Quoted,
        },
    }
}

fn sequence(place: Place, items: Vec<Node>) -> Node {
    Node {
        place,
        value: Value::Sequence { items, flow: false },
    }
}
