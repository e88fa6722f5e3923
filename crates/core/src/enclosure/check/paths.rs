//! The paths that a file names, each shown to whoever can look: nothing is opened here.

use std::path::{Path, PathBuf};

use super::super::file::{ModelFile, RunFile, SpecFile};
use super::super::join;
use crate::yaml::{Reader, Spanned};

/// A path that an enclosure names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mentioned {
    /// Where it lies, joined to the file's directory.
    pub path: PathBuf,
    /// What must be there.
    pub expected: Expected,
}

/// What must lie at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A sealed model: a directory.
    SealedModel,
    /// A public key file.
    Signer,
    /// An age identity file.
    Key,
    /// An OCI image: a layout directory or an archive.
    Image,
    /// A directory of the host.
    HostDirectory,
    /// The server's program on the host.
    Program,
}

/// What is wrong at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

pub(super) fn look_at_all(
    reader: &mut Reader,
    directory: &Path,
    spec: &SpecFile,
    look: &dyn Fn(&Mentioned) -> Option<Trouble>,
) {
    let models = spec.models.iter().flat_map(of_model);
    let runs = spec.stages.iter().filter_map(|stage| stage.run.as_ref());
    for (declared, path, expected) in models.chain(runs.flat_map(of_run)) {
        let path = join(directory, path);
        if let Some(trouble) = look(&Mentioned { path, expected }) {
            reader.report(declared.span, trouble.message, trouble.fix);
        }
    }
}

/// Where it is declared, the path itself, and what is expected there.
type Found<'file> = (&'file Spanned<String>, &'file str, Expected);

fn of_model(file: &ModelFile) -> Vec<Found<'_>> {
    let here = |declared: &'_ Spanned<String>| !declared.value.contains("://");
    let sealed = file.sealed.iter().filter(|sealed| here(sealed));
    let sealed = sealed.map(|sealed| (sealed, sealed.value.as_str(), Expected::SealedModel));
    let signers = file.signers.iter();
    let signers = signers.map(|signer| (signer, signer.value.as_str(), Expected::Signer));
    let key = file.key.iter().filter_map(|key| {
        let path = key.value.strip_prefix("file:")?;
        (!path.is_empty()).then_some((key, path, Expected::Key))
    });
    sealed.chain(signers).chain(key).collect()
}

fn of_run(file: &RunFile) -> Vec<Found<'_>> {
    let image = file.image.iter();
    let image = image.filter(|image| !image.value.contains("://"));
    let image = image.map(|image| (image, image.value.as_str(), Expected::Image));
    let directories = file.host.iter().flatten();
    let directories = directories.map(|one| (one, one.value.as_str(), Expected::HostDirectory));
    // With an image, the command's place is in the image.
    let program = file.command.iter().flatten().take(1);
    let program = program.filter(|_| file.host.is_some() && file.image.is_none());
    let program = program.map(|one| (one, one.value.as_str(), Expected::Program));
    image
        .chain(directories)
        .chain(program)
        .filter(|(_, path, expected)| {
            // A host path that is not absolute was reported for that.
            *expected == Expected::Image || path.starts_with('/')
        })
        .collect()
}
