//! Bytes of a text as lines and columns, without walking the text again for each.

use std::ops::Range;

use crate::place::{FileId, Place};

/// Where lines start, and how many characters there are before every block of bytes.
pub(super) struct Places<'text> {
    file: FileId,
    text: &'text str,
    lines: Vec<usize>,
    /// Characters before each block, so that a column of a very long line costs one block and not the line.
    blocks: Vec<usize>,
}

impl<'text> Places<'text> {
    pub(super) fn of(file: FileId, text: &'text str) -> Self {
        let mut lines = vec![0];
        let mut blocks = Vec::with_capacity(text.len() / BLOCK + 1);
        let mut characters = 0;
        for (at, byte) in text.bytes().enumerate() {
            if at % BLOCK == 0 {
                blocks.push(characters);
            }
            characters += usize::from(starts_character(byte));
            if byte == b'\n' {
                lines.push(at + 1);
            }
        }
        Self {
            file,
            text,
            lines,
            blocks,
        }
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.lines.partition_point(|line| *line <= start);
        let line_start = line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .copied()
            .unwrap_or(0);
        let column = self.characters_before(start) - self.characters_before(line_start) + 1;
        Place {
            file: self.file,
            line: number(line.max(1)),
            column: number(column),
            start: number(start),
            end: number(end),
        }
    }

    fn characters_before(&self, byte: usize) -> usize {
        let block = byte / BLOCK;
        let known = self.blocks.get(block).copied();
        // The end of the text may be the start of a block that has no bytes.
        let (first, known) = match known {
            Some(known) => (block * BLOCK, known),
            None => {
                let last = self.blocks.len().saturating_sub(1);
                (last * BLOCK, self.blocks.last().copied().unwrap_or(0))
            }
        };
        let bytes = self.text.as_bytes().get(first..byte).unwrap_or(&[]);
        known + bytes.iter().filter(|byte| starts_character(**byte)).count()
    }
}

/// Whether a byte of UTF-8 is the first of its character.
const fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

const BLOCK: usize = 256;
