//! Edits of a text by bytes.

use crate::place::FileId;

/// Writes `text` in place of the bytes from `start` to `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The file.
    pub file: FileId,
    /// The first byte that goes.
    pub start: usize,
    /// The byte after the last one that goes.
    pub end: usize,
    /// What comes in their place.
    pub text: String,
    /// The findings that asked for it, by their numbers.
    pub(super) by: Vec<usize>,
}

impl Edit {
    /// Whether both want the same bytes. Two insertions at one place do not.
    pub(super) fn collides(&self, other: &Self) -> bool {
        if self.file != other.file {
            return false;
        }
        let inside = |point: usize, range: &Self| range.start < point && point < range.end;
        match (self.start == self.end, other.start == other.end) {
            (true, true) => false,
            (true, false) => inside(self.start, other),
            (false, true) => inside(other.start, self),
            (false, false) => self.start < other.end && other.start < self.end,
        }
    }
}

/// The text with all edits made; edits come in order and do not collide.
pub(super) fn apply(text: &str, edits: &[&Edit]) -> Option<String> {
    let mut edited = String::with_capacity(text.len().saturating_add(256));
    let mut at = 0;
    for edit in edits {
        edited.push_str(text.get(at..edit.start)?);
        edited.push_str(&edit.text);
        at = edit.end;
    }
    edited.push_str(text.get(at..)?);
    Some(edited)
}
