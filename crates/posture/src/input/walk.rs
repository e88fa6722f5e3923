//! Finds what is to be read below the paths that were given.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{cannot_tell, refuse};
use crate::scan::Corpus;

/// A file that is read as text.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) path: PathBuf,
    /// Whether somebody named it: then it is an answer when it is nothing that is known.
    pub(super) named: bool,
}

/// What there is to read, in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) texts: Vec<Text>,
    /// Image layouts and archives.
    pub(super) images: Vec<PathBuf>,
    /// Folders with a kustomization.
    pub(super) kustomizations: Vec<PathBuf>,
    /// Folders with a model.
    pub(super) models: Vec<PathBuf>,
    /// Files of weights that were named by themselves.
    pub(super) model_files: Vec<PathBuf>,
}

/// Finds everything below `paths`.
pub(super) fn walk(corpus: &mut Corpus, paths: &[PathBuf]) -> Found {
    let mut walker = Walker {
        corpus,
        found: Found::default(),
        seen: HashSet::new(),
        entries: 0,
        root: PathBuf::new(),
    };
    for path in paths {
        walker.given(path);
    }
    walker.found
}

struct Walker<'corpus> {
    corpus: &'corpus mut Corpus,
    found: Found,
    /// Folders and files that were met already, by device and number: a loop of links ends here.
    seen: HashSet<(u64, u64)>,
    entries: usize,
    /// The folder that was given; a link does not lead out of it.
    root: PathBuf,
}

impl Walker<'_> {
    /// A path that somebody named: it is followed wherever it leads.
    fn given(&mut self, path: &Path) {
        let name = path.display().to_string();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return refuse(self.corpus, &name, &reason(&error)),
        };
        if !self.first_time(&metadata) {
            return;
        }
        if metadata.is_dir() {
            self.root = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            self.folder(path, 0);
        } else if !metadata.is_file() {
            refuse(self.corpus, &name, "this is neither a file nor a folder");
        } else if crate::model::is_model_file(&name) {
            self.found.model_files.push(path.to_owned());
        } else if super::image::is_archive(path) {
            self.found.images.push(path.to_owned());
        } else {
            self.found.texts.push(Text {
                path: path.to_owned(),
                named: true,
            });
        }
    }

    fn first_time(&mut self, metadata: &Metadata) -> bool {
        self.seen.insert((metadata.dev(), metadata.ino()))
    }

    fn folder(&mut self, path: &Path, depth: usize) {
        let name = path.display().to_string();
        let mut names = match self.names(path) {
            Ok(names) => names,
            Err(message) => return refuse(self.corpus, &name, &message),
        };
        names.sort();
        let has = |name: &str| names.iter().any(|own| own.as_os_str() == name);
        if has("oci-layout") && has("index.json") {
            self.found.images.push(path.to_owned());
            return;
        }
        if has("Chart.yaml") {
            let name = path.join("Chart.yaml").display().to_string();
            let message = "a Helm chart: its templates say nothing before they are rendered; scan what `helm template` prints";
            cannot_tell(self.corpus, &name, message);
            return;
        }
        // Manifests may lie beside a model, so the walk goes on; what is below it belongs to it.
        if !self
            .models_last()
            .is_some_and(|model| path.starts_with(model))
            && crate::model::is_folder(path)
        {
            self.found.models.push(path.to_owned());
        }
        let kustomization = super::kustomize::NAMES.iter().any(|name| has(name));
        if kustomization {
            self.found.kustomizations.push(path.to_owned());
        }
        if depth >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} folders deep");
            return refuse(self.corpus, &name, &message);
        }
        for name in names {
            let path = path.join(&name);
            let name = name.to_string_lossy();
            if name.starts_with('.') || SKIPPED.contains(&name.as_ref()) {
                continue;
            }
            // The files of a kustomization are parts: it says what they become.
            self.member(&path, &name, depth, !kustomization);
        }
    }

    fn models_last(&self) -> Option<&PathBuf> {
        self.found.models.last()
    }

    fn names(&mut self, path: &Path) -> Result<Vec<std::ffi::OsString>, String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| reason(&error))? {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(format!("more than {MAX_ENTRIES} files and folders in all"));
            }
            names.push(entry.map_err(|error| reason(&error))?.file_name());
        }
        Ok(names)
    }

    fn member(&mut self, path: &Path, name: &str, depth: usize, files: bool) {
        let shown = path.display().to_string();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_text(name) => return refuse(self.corpus, &shown, &reason(&error)),
            // A link that leads nowhere, under a name that would not be read.
            Err(_) => return,
        };
        let wanted = is_text(name) || metadata.is_dir();
        if !wanted || (metadata.is_file() && !files) {
            return;
        }
        let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
        if is_link && !fs::canonicalize(path).is_ok_and(|target| target.starts_with(&self.root)) {
            let message =
                "a link that leads out of the folder is not followed; name its target to scan it";
            return cannot_tell(self.corpus, &shown, message);
        }
        if !self.first_time(&metadata) {
            return;
        }
        if metadata.is_dir() {
            // What a kustomization has below it are its parts too, unless they are one of their own.
            if files || has_kustomization(path) {
                self.folder(path, depth + 1);
            }
        } else if !metadata.is_file() {
            refuse(self.corpus, &shown, "this is neither a file nor a folder");
        } else if self.found.texts.len() >= MAX_FILES {
            refuse(
                self.corpus,
                &shown,
                &format!("more than {MAX_FILES} files in all"),
            );
        } else {
            self.found.texts.push(Text {
                path: path.to_owned(),
                named: false,
            });
        }
    }
}

fn has_kustomization(path: &Path) -> bool {
    super::kustomize::NAMES
        .iter()
        .any(|name| path.join(name).is_file())
}

fn is_text(name: &str) -> bool {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    matches!(end, "yaml" | "yml" | "json" | "toml" | "sh" | "bash")
}

/// What the system says, in one line.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        // The system's own words are about levels of links.
        Some(40) => "a loop of symbolic links".to_owned(),
        _ => error.to_string(),
    }
}

const SKIPPED: &[&str] = &["node_modules"];
const MAX_DEPTH: usize = 64;
const MAX_ENTRIES: usize = 400_000;
const MAX_FILES: usize = 50_000;
