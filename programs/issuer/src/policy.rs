//! Who may be granted what: the declared flows, asked by login or by calling stage.
//!
//! Pure. A grant is never the sum of several flows: routes of one and models of another would make
//! an edge that nobody declared. The first declared flow that allows all that is asked for counts.

use std::collections::{BTreeMap, BTreeSet};

use casemate_api::issuer::EnclosurePolicy;
use casemate_core::admission::{Caller, InboundFlow};
use casemate_core::name::{ModelVersion, Name};
use casemate_core::spiffe::{SpiffeId, TrustDomain};
use casemate_core::ticket::{GRANT_TYPE, Grant, Limits};
use casemate_identity::oidc::{IssuerUrl, IssuerUrlError};

use crate::answer::Refusal;

/// Why an enclosure's policy was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakePolicyError {
    #[error("identity provider `{issuer}` cannot be used")]
    Provider {
        issuer: String,
        source: IssuerUrlError,
    },
    #[error("a flow comes from `{0}`, which is not a stage of this enclosure")]
    Foreign(SpiffeId),
    #[error("stage `{0}` is named twice")]
    Twice(Name),
    #[error("there are {MAX_ENCLOSURES} enclosures already")]
    TooMany,
}

/// A corporate login that counts for one enclosure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) issuer: IssuerUrl,
    pub(crate) audience: String,
    pub(crate) groups_claim: String,
}

#[derive(Clone, Debug)]
struct Enclosure {
    providers: Vec<Provider>,
    stages: BTreeMap<Name, Vec<InboundFlow>>,
}

/// All enclosures of this node.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    trust_domain: TrustDomain,
    enclosures: BTreeMap<Name, Enclosure>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// Route classes; nothing for all that the flow has.
    pub(crate) routes: Option<&'a [String]>,
    /// Models; none for all that the flow has.
    pub(crate) models: &'a [String],
}

impl Policy {
    pub(crate) const fn new(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            enclosures: BTreeMap::new(),
        }
    }

    /// The policy with `added` in it, in place of an older one of that name.
    pub(crate) fn with(mut self, added: EnclosurePolicy) -> Result<Self, TakePolicyError> {
        let EnclosurePolicy {
            enclosure: name,
            identity_providers,
            stages,
        } = added;
        let mut providers = Vec::new();
        for provider in identity_providers {
            let issuer =
                IssuerUrl::parse(&provider.issuer).map_err(|source| TakePolicyError::Provider {
                    issuer: provider.issuer.clone(),
                    source,
                })?;
            providers.push(Provider {
                issuer,
                audience: provider.audience,
                groups_claim: provider.groups_claim,
            });
        }
        let mut known = BTreeMap::new();
        for stage in stages {
            for flow in &stage.flows {
                if let Caller::Stage(id) = &flow.from {
                    let ours = id
                        .as_stage()
                        .is_some_and(|(enclosure, _)| enclosure == name);
                    if !ours || *id.trust_domain() != self.trust_domain {
                        return Err(TakePolicyError::Foreign(id.clone()));
                    }
                }
            }
            if known.insert(stage.stage.clone(), stage.flows).is_some() {
                return Err(TakePolicyError::Twice(stage.stage));
            }
        }
        if self.enclosures.len() >= MAX_ENCLOSURES && !self.enclosures.contains_key(&name) {
            return Err(TakePolicyError::TooMany);
        }
        self.enclosures.insert(
            name,
            Enclosure {
                providers,
                stages: known,
            },
        );
        Ok(self)
    }

    /// The policy without the enclosure `name`.
    pub(crate) fn without(mut self, name: &Name) -> Self {
        self.enclosures.remove(name);
        self
    }

    /// Whether `id` is a declared stage.
    pub(crate) fn has_stage(&self, id: &SpiffeId) -> bool {
        self.place(id).is_some()
    }

    /// Every issuer that any enclosure names.
    pub(crate) fn issuers(&self) -> BTreeSet<IssuerUrl> {
        let providers = self
            .enclosures
            .values()
            .flat_map(|enclosure| &enclosure.providers);
        providers.map(|provider| provider.issuer.clone()).collect()
    }

    /// The providers of any enclosure that name `issuer`: a login is not for one enclosure.
    pub(crate) fn providers_of(&self, issuer: &str) -> Vec<Provider> {
        let all = self
            .enclosures
            .values()
            .flat_map(|enclosure| &enclosure.providers);
        let mut found: Vec<Provider> = Vec::new();
        for provider in all.filter(|provider| provider.issuer.as_str() == issuer) {
            if !found.contains(provider) {
                found.push(provider.clone());
            }
        }
        found
    }

    /// The providers whose logins count at the stage `audience`, of those that name `issuer`.
    pub(crate) fn providers_for(&self, audience: &SpiffeId, issuer: &str) -> Vec<Provider> {
        let Some((enclosure, _, _)) = self.place(audience) else {
            return Vec::new();
        };
        let matching = |provider: &&Provider| provider.issuer.as_str() == issuer;
        enclosure
            .providers
            .iter()
            .filter(matching)
            .cloned()
            .collect()
    }

    /// What a person in `groups` may do at the stage `audience`.
    pub(crate) fn grant_person(
        &self,
        audience: &SpiffeId,
        groups: &[String],
        wish: Wish<'_>,
    ) -> Result<Grant, Refusal> {
        let (_, stage, flows) = self
            .place(audience)
            .ok_or(Refusal::target("unknown_stage"))?;
        let flows: Vec<&InboundFlow> = flows
            .iter()
            .filter(|flow| matches!(&flow.from, Caller::Group(group) if groups.contains(group)))
            .collect();
        choose(stage, &flows, wish)
    }

    /// What the stage `caller` may do at the stage `next` of its enclosure, on behalf of somebody
    /// whom `held` was granted at `caller`: never on more routes, models or budget than that.
    pub(crate) fn grant_chain(
        &self,
        caller: &SpiffeId,
        next: &Name,
        held: &Grant,
        wish: Wish<'_>,
    ) -> Result<Grant, Refusal> {
        let (enclosure, stage, _) = self.place(caller).ok_or(Refusal::client("unknown_stage"))?;
        if held.stage != *stage {
            return Err(Refusal::request("subject_token_of_another_stage"));
        }
        let flows = enclosure
            .stages
            .get(next)
            .ok_or(Refusal::target("unknown_stage"))?;
        let flows: Vec<&InboundFlow> = flows
            .iter()
            .filter(|flow| matches!(&flow.from, Caller::Stage(from) if from == caller))
            .collect();
        let mut grant = choose(next, &flows, wish)?;
        grant.routes.retain(|route| held.routes.contains(route));
        if grant.routes.is_empty() {
            return Err(Refusal::scope("beyond_subject"));
        }
        if wish
            .routes
            .is_some_and(|wanted| wanted.len() != grant.routes.len())
        {
            return Err(Refusal::scope("beyond_subject"));
        }
        // A ticket for a stage without models says nothing about models: then the flow alone does.
        if !held.models.is_empty() && !grant.models.is_empty() {
            grant.models.retain(|model| held.models.contains(model));
            if grant.models.is_empty() {
                return Err(Refusal::target("beyond_subject"));
            }
        }
        grant.limits = tighter(grant.limits, held.limits);
        Ok(grant)
    }

    fn place(&self, id: &SpiffeId) -> Option<(&Enclosure, &Name, &[InboundFlow])> {
        if *id.trust_domain() != self.trust_domain {
            return None;
        }
        let (enclosure, stage) = id.as_stage()?;
        let enclosure = self.enclosures.get(&enclosure)?;
        let (stage, flows) = enclosure.stages.get_key_value(&stage)?;
        Some((enclosure, stage, flows))
    }
}

/// The first flow that allows all of the wish, narrowed to the wish.
fn choose(stage: &Name, flows: &[&InboundFlow], wish: Wish<'_>) -> Result<Grant, Refusal> {
    if flows.is_empty() {
        return Err(Refusal::target("no_flow"));
    }
    let has_routes = |flow: &&InboundFlow| {
        let known = |wanted: &String| flow.routes.iter().any(|route| route.as_str() == wanted);
        wish.routes.is_none_or(|routes| routes.iter().all(known))
    };
    let has_models = |flow: &&InboundFlow| {
        let known = |wanted: &String| flow.models.iter().any(|model| model.to_string() == *wanted);
        wish.models.iter().all(known)
    };
    let with_routes: Vec<&InboundFlow> = flows.iter().copied().filter(has_routes).collect();
    if with_routes.is_empty() {
        return Err(Refusal::scope("routes"));
    }
    let flow = with_routes
        .iter()
        .copied()
        .find(has_models)
        .ok_or(Refusal::target("models"))?;
    let routes = flow.routes.iter().filter(|route| {
        wish.routes
            .is_none_or(|routes| routes.iter().any(|wanted| wanted == route.as_str()))
    });
    let models = flow.models.iter().filter(|model| {
        wish.models.is_empty()
            || wish
                .models
                .iter()
                .any(|wanted| *wanted == model.to_string())
    });
    let (routes, models): (Vec<Name>, Vec<ModelVersion>) =
        (routes.cloned().collect(), models.cloned().collect());
    if routes.is_empty() {
        return Err(Refusal::scope("routes"));
    }
    Ok(Grant {
        kind: GRANT_TYPE.to_owned(),
        stage: stage.clone(),
        routes,
        models,
        limits: flow.limits,
    })
}

/// Of two bounds the lower; an absent one bounds nothing.
fn tighter(one: Limits, other: Limits) -> Limits {
    let lower = |one: Option<u32>, other: Option<u32>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Limits {
        max_tokens: lower(one.max_tokens, other.max_tokens),
        requests_per_minute: lower(one.requests_per_minute, other.requests_per_minute),
    }
}

const MAX_ENCLOSURES: usize = 256;

#[cfg(test)]
mod tests;
