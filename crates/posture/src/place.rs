//! Where something stands in the files that were read.

use std::sync::Arc;

/// A file by its number in [`Files`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A stretch of one file. Lines and columns count from 1, columns in characters; `start` and `end` are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The line of the first character.
    pub line: u32,
    /// The column of the first character.
    pub column: u32,
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

/// One file that was read, as text.
#[derive(Clone, Debug)]
pub struct File {
    /// The name that people know it by: the path as it was given, or `-`.
    pub name: Arc<str>,
    /// What is in it. Places count bytes of this text.
    pub text: Arc<str>,
}

/// All files of one scan.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<File>);

impl Files {
    /// Takes one more file. After `u32::MAX` files the last number is given again; a scan is bounded far below.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        let id = FileId(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(File {
            name: name.into(),
            text: text.into(),
        });
        id
    }

    /// The file with this number.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&File> {
        self.0.get(usize::try_from(id.0).ok()?)
    }

    /// The name of a file; empty when there is none with this number.
    #[must_use]
    pub fn name(&self, id: FileId) -> &str {
        self.get(id).map_or("", |file| &file.name)
    }

    /// The bytes of a place as text; empty when the place is not in its file.
    #[must_use]
    pub fn text(&self, place: Place) -> &str {
        let range = usize::try_from(place.start)
            .ok()
            .zip(usize::try_from(place.end).ok());
        self.get(place.file)
            .zip(range)
            .and_then(|(file, (start, end))| file.text.get(start..end))
            .unwrap_or("")
    }

    /// Every file, in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &File)> {
        (0_u32..).map(FileId).zip(&self.0)
    }
}
