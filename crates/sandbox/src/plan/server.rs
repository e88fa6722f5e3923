//! The server of a stage: its command, its environment, its working directory.

use casemate_core::confinement::Server;

use super::{PlanStageError, RootFileSystem, StageRequest, paths};

pub(super) fn server(request: &StageRequest) -> Result<Server, PlanStageError> {
    let image = match &request.root {
        RootFileSystem::Image(image) => Some(&image.config),
        RootFileSystem::HostDirectories(_) => None,
    };
    let arguments = match (request.command.is_empty(), image) {
        (false, _) => request.command.clone(),
        (true, Some(image)) => image
            .entrypoint
            .iter()
            .chain(&image.command)
            .cloned()
            .collect(),
        (true, None) => Vec::new(),
    };
    if arguments.first().is_none_or(String::is_empty)
        || arguments.iter().any(|text| text.contains('\0'))
    {
        return Err(PlanStageError::NoCommand);
    }
    let directory = request
        .directory
        .clone()
        .or_else(|| image.and_then(|image| image.directory.clone()))
        .unwrap_or_else(|| "/tmp".to_owned());
    paths::plain(&directory)?;
    let mut environment = Environment::default();
    environment.set("PATH", DEFAULT_PATH)?;
    environment.set("LANG", "C.UTF-8")?;
    for variable in image
        .map(|image| image.environment.as_slice())
        .unwrap_or_default()
    {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| PlanStageError::Variable(variable.clone()))?;
        environment.set(name, value)?;
    }
    environment.set("HOME", "/tmp")?;
    environment.set("TMPDIR", "/tmp")?;
    for (name, value) in &request.environment {
        environment.set(name, value)?;
    }
    for flow in &request.flows {
        let name: String = flow
            .stage
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        environment.set(
            &format!("CASEMATE_FLOW_{name}"),
            &format!("http://127.0.0.1:{}", flow.port),
        )?;
    }
    Ok(Server {
        arguments,
        environment: environment.0,
        directory,
    })
}

/// Variables in the order of their first setting; a later one replaces the value.
#[derive(Default)]
struct Environment(Vec<String>);

impl Environment {
    fn set(&mut self, name: &str, value: &str) -> Result<(), PlanStageError> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'=';
        if name.is_empty() || !name.bytes().all(legal) || value.contains('\0') {
            return Err(PlanStageError::Variable(name.to_owned()));
        }
        let variable = format!("{name}={value}");
        let same = |known: &&mut String| {
            known
                .split_once('=')
                .is_some_and(|(known, _)| known == name)
        };
        match self.0.iter_mut().find(same) {
            Some(known) => *known = variable,
            None => self.0.push(variable),
        }
        Ok(())
    }
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
