//! How a person names a stage, and which one they mean.

use std::str::FromStr;

use casemate_api::v1;
use casemate_core::name::Name;
use casemate_core::spiffe::{SpiffeId, TrustDomain};

use crate::commands::Context;
use crate::exit::Failure;

/// A stage as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StageName {
    /// `spiffe://...`
    Identity(SpiffeId),
    /// `enclosure/stage`
    Within(Name, Name),
    /// `stage`
    Alone(Name),
}

impl FromStr for StageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("spiffe://") {
            let id: SpiffeId = text.parse().map_err(|error| format!("{error}"))?;
            return match id.as_stage() {
                Some(_) => Ok(Self::Identity(id)),
                None => Err(format!("`{id}` is not the identity of a stage")),
            };
        }
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        match text.split_once('/') {
            Some((enclosure, stage)) => Ok(Self::Within(name(enclosure)?, name(stage)?)),
            None => Ok(Self::Alone(name(text)?)),
        }
    }
}

impl StageName {
    /// The enclosure, where it was named, and the stage's own name.
    pub(crate) fn parts(&self) -> (Option<Name>, String) {
        match self {
            Self::Identity(id) => match id.as_stage() {
                Some((enclosure, stage)) => (Some(enclosure), stage.to_string()),
                None => (None, String::new()),
            },
            Self::Within(enclosure, stage) => (Some(enclosure.clone()), stage.to_string()),
            Self::Alone(stage) => (None, stage.to_string()),
        }
    }

    /// Whether `status` is what was meant.
    fn fits(&self, enclosure: &v1::EnclosureStatus, stage: &v1::StageStatus) -> bool {
        match self {
            Self::Identity(id) => stage.spiffe_id == id.to_string(),
            Self::Within(within, name) => {
                enclosure.name == within.as_str() && stage.name == name.as_str()
            }
            Self::Alone(name) => stage.name == name.as_str(),
        }
    }

    /// The identity of the stage. A name alone is looked for among the saved tickets, then at the daemon.
    pub(crate) async fn identity(
        &self,
        context: &Context<'_>,
        domain: &TrustDomain,
    ) -> Result<SpiffeId, Failure> {
        match self {
            Self::Identity(id) => Ok(id.clone()),
            Self::Within(enclosure, stage) => Ok(domain.stage(enclosure, stage)),
            Self::Alone(stage) => {
                let held: Vec<SpiffeId> = context
                    .home
                    .ticketed(stage)
                    .into_iter()
                    .filter(|id| id.trust_domain() == domain)
                    .collect();
                if let [one] = held.as_slice() {
                    return Ok(one.clone());
                }
                let (enclosure, _) = self.running(context).await.map_err(|failure| {
                    failure
                        .fix_when_unclear(format!("write ENCLOSURE/{stage}, such as chat/{stage}"))
                })?;
                let enclosure: Name = enclosure
                    .parse()
                    .map_err(|error| Failure::ours("the daemon named an odd enclosure", error))?;
                Ok(domain.stage(&enclosure, stage))
            }
        }
    }

    /// The enclosure's name and the status of the stage, which must be one that the daemon runs.
    pub(crate) async fn running(
        &self,
        context: &Context<'_>,
    ) -> Result<(String, v1::StageStatus), Failure> {
        let status = context.client().status().await?;
        let mut found = Vec::new();
        for enclosure in &status.enclosures {
            for stage in enclosure
                .stages
                .iter()
                .filter(|stage| self.fits(enclosure, stage))
            {
                found.push((enclosure.name.clone(), stage.clone()));
            }
        }
        let (_, name) = self.parts();
        match found.len() {
            1 => found.pop().ok_or_else(|| Failure::found("no stage")),
            0 => {
                let known: Vec<String> = status
                    .enclosures
                    .iter()
                    .flat_map(|enclosure| {
                        enclosure
                            .stages
                            .iter()
                            .map(|stage| format!("{}/{}", enclosure.name, stage.name))
                    })
                    .collect();
                let fix = if known.is_empty() {
                    "bring an enclosure up: casemate up FILE".to_owned()
                } else {
                    format!("the stages are {}", known.join(", "))
                };
                Err(Failure::found(format!("no stage `{name}` is up")).fix(fix))
            }
            _ => {
                let all: Vec<String> = found
                    .iter()
                    .map(|(enclosure, stage)| format!("{enclosure}/{}", stage.name))
                    .collect();
                Err(
                    Failure::usage(format!("`{name}` is the name of several stages"))
                        .fix(format!("write one of {}", all.join(", "))),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_named_in_three_ways() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        assert_eq!("infer".parse(), Ok(StageName::Alone(name("infer"))));
        assert_eq!(
            "chat/infer".parse(),
            Ok(StageName::Within(name("chat"), name("infer")))
        );
        let id = "spiffe://example.internal/enclosure/chat/stage/infer";
        assert_eq!(
            id.parse(),
            Ok(StageName::Identity(id.parse().expect("an id")))
        );
        for bad in [
            "",
            "a/b/c",
            "Infer",
            "../x",
            "spiffe://example.internal/issuer",
        ] {
            assert!(bad.parse::<StageName>().is_err(), "{bad}");
        }
    }
}
