//! Lines and columns of bytes.

use std::collections::BTreeMap;

use super::Replacement;
use crate::fix;
use crate::place::{Files, Place};

/// Where the lines of files start, worked out once for each.
pub(super) struct Lines<'files> {
    files: &'files Files,
    starts: BTreeMap<u32, Vec<usize>>,
}

impl<'files> Lines<'files> {
    pub(super) const fn new(files: &'files Files) -> Self {
        Self {
            files,
            starts: BTreeMap::new(),
        }
    }

    pub(super) fn at(&mut self, place: Place, byte: u32) -> (u32, u32) {
        let text = self.files.get(place.file).map_or("", |file| &file.text);
        let starts = self.starts.entry(place.file.0).or_insert_with(|| {
            let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect()
        });
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
        let line = starts.partition_point(|start| *start <= byte).max(1);
        let start = starts.get(line - 1).copied().unwrap_or(0);
        let column = text
            .get(start..byte)
            .map_or(0, |before| before.chars().count());
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        (number(line), number(column + 1))
    }

    pub(super) fn replacements(&mut self, edits: Vec<fix::Edit>) -> Vec<Replacement> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        edits
            .into_iter()
            .map(|edit| {
                let place = Place {
                    file: edit.file,
                    ..Place::default()
                };
                Replacement {
                    file: self.files.name(edit.file).to_owned(),
                    start: self.at(place, number(edit.start)),
                    end: self.at(place, number(edit.end)),
                    text: edit.text,
                }
            })
            .collect()
    }
}
