//! The form of a token exchange (RFC 8693 section 2.1), read strictly.

use casemate_api::issuer::names;

use crate::answer::Refusal;

/// Which of the two tokens that we issue is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// A ticket for one stage.
    Ticket,
    /// A Transaction Token for the next stage of a chain.
    Transaction,
}

/// What kind of token is brought along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectKind {
    /// A corporate ID token.
    IdToken,
    /// A ticket of ours.
    Ticket,
    /// A Transaction Token of ours.
    Transaction,
}

/// A token exchange as asked for. Tokens in it are not looked at yet.
pub(crate) struct Exchange {
    pub(crate) requested: Requested,
    pub(crate) subject_token: String,
    pub(crate) subject_kind: SubjectKind,
    pub(crate) audience: String,
    /// Route classes; nothing when the form does not say.
    pub(crate) scope: Option<Vec<String>>,
    /// Models, `name@version`.
    pub(crate) resources: Vec<String>,
    /// Seconds, when less than usual is wanted.
    pub(crate) lifetime: Option<u32>,
    /// `request_details`, a JSON text.
    pub(crate) details: Option<String>,
}

impl Exchange {
    /// Reads a form. A parameter that may appear once and appears twice is an error, as RFC 6749
    /// section 3.2 wants; parameters that nobody knows are ignored, as it wants too.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Fields::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            fields.set(&name, value.into_owned())?;
        }
        let Fields {
            once,
            resources,
            audiences,
        } = fields;
        let [
            grant_type,
            subject_token,
            subject_token_type,
            requested_token_type,
            scope,
            lifetime,
            details,
            actor_token,
            actor_token_type,
        ] = once;
        if grant_type.as_deref() != Some(names::GRANT_TYPE) {
            return Err(Refusal::grant_type());
        }
        if actor_token.is_some() || actor_token_type.is_some() {
            return Err(Refusal::request("actor_token"));
        }
        let subject_kind = match subject_token_type.as_deref() {
            Some(names::ID_TOKEN) => SubjectKind::IdToken,
            Some(names::ACCESS_TOKEN) => SubjectKind::Ticket,
            Some(names::TRANSACTION_TOKEN) => SubjectKind::Transaction,
            Some(_) | None => return Err(Refusal::request("subject_token_type")),
        };
        let requested = match requested_token_type.as_deref() {
            Some(names::ACCESS_TOKEN) => Requested::Ticket,
            Some(names::TRANSACTION_TOKEN) => Requested::Transaction,
            Some(_) | None => return Err(Refusal::request("requested_token_type")),
        };
        let subject_token = subject_token.ok_or(Refusal::request("subject_token"))?;
        let audience = match <[String; 1]>::try_from(audiences) {
            Ok([only]) => only,
            Err(none) if none.is_empty() => return Err(Refusal::request("audience")),
            Err(_) => return Err(Refusal::target("several_audiences")),
        };
        let lifetime = match lifetime {
            Some(text) => match text.parse::<u32>() {
                Ok(seconds) if seconds > 0 => Some(seconds),
                Ok(_) | Err(_) => return Err(Refusal::request("requested_lifetime")),
            },
            None => None,
        };
        Ok(Self {
            requested,
            subject_token,
            subject_kind,
            audience,
            scope: scope.map(|text| read_scope(&text)).transpose()?,
            resources,
            lifetime,
            details,
        })
    }
}

/// At least one name, single spaces between them (RFC 6749 section 3.3), none twice.
fn read_scope(text: &str) -> Result<Vec<String>, Refusal> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(' ') {
        if name.is_empty() || names.len() >= MAX_VALUES || names.iter().any(|known| known == name) {
            return Err(Refusal::scope("scope"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

#[derive(Default)]
struct Fields {
    once: [Option<String>; ONCE.len()],
    resources: Vec<String>,
    audiences: Vec<String>,
}

impl Fields {
    fn set(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        let list = match name {
            "resource" => &mut self.resources,
            "audience" => &mut self.audiences,
            _ => {
                let Some(at) = ONCE.iter().position(|known| *known == name) else {
                    return Ok(());
                };
                let field = self.once.get_mut(at).ok_or(Refusal::request("form"))?;
                if field.replace(value).is_some() {
                    return Err(Refusal::request("repeated_parameter"));
                }
                return Ok(());
            }
        };
        if list.len() >= MAX_VALUES {
            return Err(Refusal::target("too_many_targets"));
        }
        list.push(value);
        Ok(())
    }
}

/// In the order in which [`Exchange::read`] takes them.
const ONCE: [&str; 9] = [
    "grant_type",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "scope",
    names::REQUESTED_LIFETIME,
    "request_details",
    "actor_token",
    "actor_token_type",
];
const MAX_VALUES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
        &subject_token=a.b.c&subject_token_type=urn:ietf:params:oauth:token-type:id_token\
        &requested_token_type=urn:ietf:params:oauth:token-type:access_token\
        &audience=spiffe://a/enclosure/e/stage/s";

    fn refused(body: &str) -> Refusal {
        Exchange::read(body.as_bytes())
            .err()
            .expect("must be refused")
    }

    #[test]
    fn the_form_of_the_standard_is_read() {
        let form = Exchange::read(format!("{GOOD}&scope=chat+embed&unknown=1").as_bytes());
        let form = form.ok().unwrap();
        assert_eq!(form.requested, Requested::Ticket);
        assert_eq!(form.subject_kind, SubjectKind::IdToken);
        assert_eq!(form.scope.unwrap(), ["chat", "embed"]);
    }

    #[test]
    fn a_parameter_named_twice_is_refused() {
        for repeated in ["subject_token=x", "scope=a&scope=b", "grant_type=x"] {
            assert_eq!(
                refused(&format!("{GOOD}&{repeated}")).code,
                "repeated_parameter"
            );
        }
        assert_eq!(
            refused(&format!("{GOOD}&audience=other")).code,
            "several_audiences"
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(refused("").code, "grant_type");
        assert_eq!(
            refused(&format!("{GOOD}&actor_token=x")).code,
            "actor_token"
        );
        for scope in ["scope=", "scope=a++b", "scope=a+a", "scope=+a"] {
            assert_eq!(refused(&format!("{GOOD}&{scope}")).code, "scope", "{scope}");
        }
        for lifetime in ["0", "-1", "1e3", "", "99999999999"] {
            let form = format!("{GOOD}&requested_lifetime={lifetime}");
            assert_eq!(refused(&form).code, "requested_lifetime", "{lifetime}");
        }
        let other = GOOD.replace("token-type:id_token", "token-type:refresh_token");
        assert_eq!(refused(&other).code, "subject_token_type");
        let untyped = GOOD.replace("requested_token_type", "requested_token_kind");
        assert_eq!(refused(&untyped).code, "requested_token_type");
    }
}
