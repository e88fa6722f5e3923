//! What runs in a stage: its root file system, command and environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::file::RunFile;
use super::super::{Run, join};
use crate::profile::Profile;
use crate::yaml::{Reader, Spanned};

pub(super) fn resolve(
    reader: &mut Reader,
    directory: &Path,
    profile: Option<&Profile>,
    file: &RunFile,
) -> Option<Run> {
    let command: Option<Vec<String>> = file
        .command
        .as_ref()
        .map(|words| words.iter().map(|word| word.value.clone()).collect());
    check_command(reader, profile, file);
    match (&file.image, &file.host) {
        (Some(image), None) => {
            if image.value.contains("://") {
                let help = "copy it first, for example: skopeo copy docker://... oci-archive:FILE";
                let message = "images are read from a directory or archive in this version";
                reader.report(image.span, message, help);
            }
            Some(Run::Image {
                path: join(directory, &image.value),
                command,
            })
        }
        (None, Some(directories)) => {
            let directories = host_directories(reader, directories);
            let Some(command) = command else {
                let help = "add `command: [/path/of/the/server, ...]`";
                reader.report(file.place, "`host` needs a `command`", help);
                return None;
            };
            if let Some(program) = file.command.as_ref().and_then(|words| words.first()) {
                check_program(reader, &directories, program);
            }
            Some(Run::Host {
                directories,
                command,
            })
        }
        (Some(_), Some(_)) => {
            reader.report(
                file.place,
                "`run` has both `image` and `host`",
                "keep one of the two",
            );
            None
        }
        (None, None) => {
            let help = "write `{ image: ./server.oci }` or `{ host: [/usr], command: [...] }`";
            reader.report(file.place, "`run` names neither `image` nor `host`", help);
            None
        }
    }
}

fn check_command(reader: &mut Reader, profile: Option<&Profile>, file: &RunFile) {
    let Some(words) = &file.command else { return };
    for word in words.iter().filter(|word| word.value.contains('\0')) {
        reader.report(
            word.span,
            "an argument cannot contain a NUL character",
            None,
        );
    }
    let Some(profile) = profile else { return };
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let next = rest.peek().map(|next| next.value.as_str());
        if profile.flags.forbids(&word.value, next) {
            let message = format!(
                "`{}` opens what the profile `{}` keeps shut",
                word.value, profile.id
            );
            reader.report(word.span, message, "remove it");
        }
    }
}

fn host_directories(reader: &mut Reader, declared: &[Spanned<String>]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    for one in declared {
        let path = PathBuf::from(&one.value);
        if !is_canonical(&one.value) {
            let message = format!("`{}` is not a plain absolute path", one.value);
            reader.report(
                one.span,
                message,
                "start with `/`, without `.`, `..`, `//` or a final `/`",
            );
        } else if let Some(taken) = TAKEN
            .iter()
            .find(|taken| path == Path::new(taken) || (**taken != "/" && path.starts_with(taken)))
        {
            let message = match *taken {
                "/" => "the whole host is not given to a stage".to_owned(),
                taken => format!("`{taken}` is made by the sandbox or shows the host"),
            };
            let help = match *taken {
                "/tmp" | "/run" | "/var/run" | "/models" => {
                    "move what the server needs, for example to `/opt`, and name it there"
                }
                _ => "name the directories of the server and its libraries",
            };
            reader.report(one.span, message, help);
        } else if let Some(other) = directories
            .iter()
            .find(|other| path.starts_with(other) || other.starts_with(&path))
        {
            let message = format!("`{}` and `{}` overlap", other.display(), one.value);
            reader.report(one.span, message, "keep the outer one");
        }
        directories.push(path);
    }
    directories
}

fn check_program(reader: &mut Reader, directories: &[PathBuf], program: &Spanned<String>) {
    let path = Path::new(&program.value);
    if !is_canonical(&program.value) {
        let message = format!("`{}` is not a plain absolute path", program.value);
        reader.report(
            program.span,
            message,
            "write the server's whole path: nothing is searched",
        );
    } else if !directories.is_empty()
        && !directories
            .iter()
            .any(|directory| path.starts_with(directory))
    {
        let message = format!("`{}` lies in none of the `host` directories", program.value);
        let parent = path
            .parent()
            .map_or_else(String::new, |parent| parent.display().to_string());
        reader.report(program.span, message, format!("add `{parent}` to `host`"));
    }
}

pub(super) fn environment(
    reader: &mut Reader,
    profile: Option<&Profile>,
    file: &RunFile,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in &file.env {
        let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let legal = name.value.bytes().next().is_some_and(first)
            && name.value.bytes().all(rest)
            && name.value.len() <= 128;
        if !legal {
            let message = format!("`{}` is not the name of a variable", name.value);
            reader.report(
                name.span,
                message,
                "use letters, digits and `_`, not starting with a digit",
            );
        } else if name.value.starts_with("CASEMATE_") {
            let message = "variables that start with `CASEMATE_` are set by us";
            reader.report(name.span, message, "use another name");
        } else if profile.is_some_and(|profile| profile.environment.forbids(&name.value)) {
            let id = profile.map_or("", |profile| profile.id.as_str());
            let message = format!("the profile `{id}` does not let `{}` be set", name.value);
            reader.report(name.span, message, "remove it");
        }
        if value.value.contains('\0') {
            reader.report(
                value.span,
                "a variable cannot contain a NUL character",
                None,
            );
        }
        variables.insert(name.value.clone(), value.value.clone());
    }
    variables
}

/// An absolute path with one spelling.
fn is_canonical(path: &str) -> bool {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    path == "/"
        || path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(plain))
}

/// Where the sandbox puts its own mounts, or where the host shows through.
const TAKEN: [&str; 10] = [
    "/",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/tmp",
    "/models",
    "/.casemate",
    "/boot",
];
