//! The second half of admission: what the body may say.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Admitted, BodyFault, Entitled, InboundFlow, Permit, Refusal, tighter};
use crate::control::{Control, in_force};
use crate::json::{self, Count, Document, Form};
use crate::name::ModelVersion;
use crate::profile::{Method, Pointer, Route, Stream};

/// Where every server we know reads that the answer shall come in pieces.
static STREAM: LazyLock<Option<Pointer>> = LazyLock::new(|| "/stream".parse().ok());

/// The members of a body that decide, in the order in which they are scanned for.
struct Members<'a> {
    pointers: Vec<&'a Pointer>,
    stream: usize,
    answers: usize,
    bounds: usize,
    forbidden: usize,
    single: usize,
}

impl<'a> Members<'a> {
    fn of(route: &'a Route) -> Self {
        let lists = [&route.max_tokens, &route.forbid, &route.single];
        let mut pointers = Vec::with_capacity(3 + lists.map(Vec::len).iter().sum::<usize>());
        pointers.extend(&route.model);
        let stream = pointers.len();
        pointers.extend(STREAM.as_ref());
        let answers = pointers.len();
        pointers.extend(&route.answers);
        let bounds = pointers.len();
        pointers.extend(&route.max_tokens);
        let forbidden = pointers.len();
        pointers.extend(&route.forbid);
        let single = pointers.len();
        pointers.extend(&route.single);
        Self {
            pointers,
            stream,
            answers,
            bounds,
            forbidden,
            single,
        }
    }
}

impl<'a> Entitled<'a> {
    /// The most bytes of body that are worth reading for this route: none where it takes none.
    #[must_use]
    pub const fn takes_body(&self) -> bool {
        match self.route.method {
            Method::Post | Method::Put | Method::Patch => true,
            Method::Get | Method::Delete => false,
        }
    }

    /// Decides on `body`, which is read only as far as `max_bytes`, and gives the permit.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn admit<'b>(self, body: &'b [u8], max_bytes: usize) -> Result<Admitted<'b>, Refusal> {
        if !self.takes_body() {
            return if body.is_empty() {
                Ok(Admitted {
                    permit: self.permit(self.any_flow()?, None, false),
                    body: Cow::Borrowed(body),
                })
            } else {
                Err(Refusal::BodyMalformed(BodyFault::Unexpected))
            };
        }
        let members = Members::of(self.route);
        let document =
            json::scan(body, &members.pointers, max_bytes).map_err(|error| match error {
                json::ScanError::TooLong(_) => Refusal::BodyTooLarge,
                other => Refusal::BodyMalformed(BodyFault::Json(other)),
            })?;
        let present = |index: usize| document.form(index).is_some_and(|form| form != Form::Null);
        let several = |index: usize| !document.is_single(index);
        if (members.forbidden..members.single).any(present)
            || (members.single..members.pointers.len()).any(several)
        {
            return Err(Refusal::ParameterForbidden);
        }
        let streams = document
            .truth(members.stream)
            .map_err(Refusal::form)?
            .unwrap_or(false);
        if streams && self.route.stream == Stream::None {
            return Err(Refusal::ParameterForbidden);
        }
        let (flow, model) = match &self.route.model {
            Some(_) => self.model(&document)?,
            None => (self.any_flow()?, None),
        };
        let body = self.bound(flow, &document, &members, body)?;
        Ok(Admitted {
            permit: self.permit(flow, model, streams),
            body,
        })
    }

    /// A flow for a call that names no model.
    fn any_flow(&self) -> Result<&'a InboundFlow, Refusal> {
        self.flows().next().ok_or(Refusal::NoFlow)
    }

    /// The model version that the body names, when the grant holds it, and the first flow that holds it
    /// too. Where neither holds any, none may be named.
    fn model(
        &self,
        document: &Document<'_>,
    ) -> Result<(&'a InboundFlow, Option<ModelVersion>), Refusal> {
        let named = match document.form(0) {
            None | Some(Form::Null) => {
                let mut without = self.flows().filter(|flow| flow.models.is_empty());
                let flow = without.next().filter(|_| self.grant.models.is_empty());
                return flow.map(|flow| (flow, None)).ok_or(Refusal::ModelMissing);
            }
            Some(_) => document
                .text(0)
                .map_err(Refusal::form)?
                .ok_or(Refusal::ModelMissing)?,
        };
        let held = |model: &'a ModelVersion| {
            let (name, version) = named.split_once('@').unwrap_or((&named, &model.version));
            let same = name == model.name.as_str() && version == model.version;
            let same = same || !in_force(Control::GrantedModel);
            let mut flows = self.flows().filter(|flow| flow.models.contains(model));
            flows.next().filter(|_| same).map(|flow| (flow, model))
        };
        let mut models = self.grant.models.iter().filter_map(held);
        match (models.next(), models.next()) {
            (Some((flow, model)), None) => Ok((flow, Some(model.clone()))),
            // A bare name that stands for several granted versions names none of them.
            (Some(_) | None, _) => Err(Refusal::ModelNotGranted),
        }
    }

    /// The body, whose answers together are within the bound on tokens: checked where it asks, set where
    /// it does not.
    fn bound<'b>(
        &self,
        flow: &InboundFlow,
        document: &Document<'b>,
        members: &Members<'_>,
        body: &'b [u8],
    ) -> Result<Cow<'b, [u8]>, Refusal> {
        let answers = match &self.route.answers {
            Some(_) => document.count(members.answers).map_err(Refusal::form)?,
            None => Count::Absent,
        };
        let mut asked = None;
        for index in members.bounds..members.forbidden {
            match document.count(index).map_err(Refusal::form)? {
                Count::Absent => {}
                Count::Of(count) => asked = Some(count.max(asked.unwrap_or_default())),
                Count::Unbounded => asked = Some(u64::MAX),
            }
        }
        let limits = (flow.limits.max_tokens, self.grant.limits.max_tokens);
        let (Some(most), Some(pointer)) =
            (tighter(limits.0, limits.1), self.route.max_tokens.first())
        else {
            return Ok(Cow::Borrowed(body));
        };
        let answers = match answers {
            Count::Absent => 1,
            Count::Of(count) => count.max(1),
            Count::Unbounded => u64::MAX,
        };
        let all = asked.unwrap_or(u64::from(most)).saturating_mul(answers);
        match asked {
            _ if all > u64::from(most) => Err(Refusal::TokensOverLimit),
            Some(_) => Ok(Cow::Borrowed(body)),
            None => document
                .with_number(members.bounds, pointer, most)
                .map(Cow::Owned)
                .map_err(Refusal::form),
        }
    }

    fn permit(&self, flow: &InboundFlow, model: Option<ModelVersion>, streams: bool) -> Permit {
        Permit {
            subject: self.subject.clone(),
            peer: self.peer.clone(),
            token_id: self.token_id.to_owned(),
            class: self.route.class.clone(),
            model,
            from: flow.from.clone(),
            issued: self.issued,
            expires: self.expires,
            streams,
        }
    }
}
