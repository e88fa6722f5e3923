//! The names of files inside a model: relative, plain, and without a twin on any file system.

use std::collections::BTreeMap;
use std::fmt;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// Why the name of a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelPathError {
    /// Nothing, or too much.
    #[error(
        "the path `{0}` is empty or longer than 1024 bytes, 255 in a component, or 32 components"
    )]
    Length(String),
    /// A path that leaves the model or does not name a file in one way only.
    #[error(
        "the path `{0}` is not a plain relative path; `..`, `.`, `//`, a leading or trailing `/` and `\\` are refused"
    )]
    Traversal(String),
    /// A character that no file name needs.
    #[error("the path {0:?} has a control character")]
    Control(String),
    /// A name in decomposed Unicode.
    #[error("the path `{0}` is not in Unicode normal form C; rename the file")]
    NotNormal(String),
    /// Bytes that are not text.
    #[error("the path `{0}` is not UTF-8; rename the file")]
    NotText(String),
    /// Two names that some file systems take for one.
    #[error("`{0}` and `{1}` differ only in case or Unicode form; rename one")]
    Alias(String, String),
    /// One name for a file and a directory, or for two files.
    #[error("`{0}` is named twice, or is both a file and a directory")]
    Conflict(String),
    /// Names not in the order of their bytes.
    #[error("`{0}` is out of order; names are sorted by their bytes")]
    Order(String),
}

/// A file's path inside a model.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelPath(String);

impl ModelPath {
    /// Checks one path; [`check_all`] checks them against each other.
    ///
    /// # Errors
    /// When the path could name something outside the model, or something twice.
    pub fn parse(text: &str) -> Result<Self, ModelPathError> {
        let shown = || text.chars().take(120).collect::<String>();
        let components = text.split('/').count();
        if text.is_empty() || text.len() > MAX_PATH_BYTES || components > MAX_COMPONENTS {
            return Err(ModelPathError::Length(shown()));
        }
        if text.split('/').any(|part| part.len() > MAX_COMPONENT_BYTES) {
            return Err(ModelPathError::Length(shown()));
        }
        if text.contains('\\') || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ModelPathError::Traversal(shown()));
        }
        if text.chars().any(char::is_control) {
            return Err(ModelPathError::Control(shown()));
        }
        if !ComposingNormalizerBorrowed::new_nfc().is_normalized(text) {
            return Err(ModelPathError::NotNormal(shown()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, from the top.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for ModelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ModelPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// Checks that no two of `paths` name one file on some file system, and that they are sorted.
///
/// # Errors
/// On the first pair that is out of order, equal, an alias, or a file that is also a directory.
pub fn check_all<'a>(paths: impl Iterator<Item = &'a ModelPath>) -> Result<(), ModelPathError> {
    // Folded path of a file or directory → its spelling, and whether it is a file.
    let mut seen: BTreeMap<String, (&str, bool)> = BTreeMap::new();
    let mut previous: Option<&ModelPath> = None;
    for path in paths {
        match previous {
            Some(before) if before == path => {
                return Err(ModelPathError::Conflict(path.to_string()));
            }
            Some(before) if before > path => return Err(ModelPathError::Order(path.to_string())),
            Some(_) | None => {}
        }
        previous = Some(path);
        let ends = path
            .0
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.0.len()]);
        for end in ends {
            let (part, is_file) = (path.0.get(..end).unwrap_or_default(), end == path.0.len());
            match seen.get(&folded(part)) {
                Some((other, _)) if *other != part => {
                    return Err(ModelPathError::Alias((*other).to_owned(), part.to_owned()));
                }
                Some((_, other_is_file)) if *other_is_file || is_file => {
                    return Err(ModelPathError::Conflict(part.to_owned()));
                }
                Some(_) => {}
                None => {
                    seen.insert(folded(part), (part, is_file));
                }
            }
        }
    }
    Ok(())
}

/// What a file system that ignores case and Unicode form would compare.
fn folded(text: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfd()
        .normalize(text)
        .into_owned();
    let cased = decomposed.to_uppercase().to_lowercase();
    ComposingNormalizerBorrowed::new_nfc()
        .normalize(&cased)
        .into_owned()
}

const MAX_PATH_BYTES: usize = 1024;
const MAX_COMPONENT_BYTES: usize = 255;
const MAX_COMPONENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[&str]) -> Result<(), ModelPathError> {
        let paths: Vec<_> = paths
            .iter()
            .map(|path| ModelPath::parse(path).unwrap())
            .collect();
        check_all(paths.iter())
    }

    #[test]
    fn paths_that_leave_the_model_are_refused() {
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "a\\..\\b",
            "..",
        ] {
            assert!(ModelPath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(ModelPath::parse(&"a/".repeat(40)).is_err());
        assert!(ModelPath::parse(&"x".repeat(256)).is_err());
        assert!(ModelPath::parse("a\nb").is_err());
        assert!(ModelPath::parse("a\0b").is_err());
    }

    #[test]
    fn names_that_some_file_systems_take_for_one_are_refused() {
        assert!(matches!(
            all(&["A.bin", "a.bin"]),
            Err(ModelPathError::Alias(..))
        ));
        assert!(matches!(
            all(&["Dir/x", "dir/y"]),
            Err(ModelPathError::Alias(..))
        ));
        assert!(matches!(
            all(&["strasse", "straße"]),
            Err(ModelPathError::Alias(..))
        ));
        assert!(matches!(
            ModelPath::parse("e\u{301}"),
            Err(ModelPathError::NotNormal(_))
        ));
        assert!(all(&["a-b", "a/b", "a/c", "é"]).is_ok());
    }

    #[test]
    fn a_file_is_not_also_a_directory() {
        assert!(matches!(
            all(&["a", "a/b"]),
            Err(ModelPathError::Conflict(_))
        ));
        assert!(matches!(all(&["a", "a"]), Err(ModelPathError::Conflict(_))));
        assert!(matches!(all(&["b", "a"]), Err(ModelPathError::Order(_))));
    }
}
