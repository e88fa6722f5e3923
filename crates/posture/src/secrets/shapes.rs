//! Secrets that are known by their shape: a prefix that their issuer gives them, and what follows it.

use super::{Secret, entropy, is_placeholder, shown};

/// How one issuer's secrets look.
struct Shape {
    prefix: &'static str,
    /// The fewest and the most characters after the prefix.
    length: (usize, usize),
    alphabet: Alphabet,
    what: &'static str,
}

#[derive(Clone, Copy)]
enum Alphabet {
    /// Letters and digits.
    Word,
    /// The same with `-` and `_`.
    Address,
    /// Upper-case letters and digits.
    Upper,
}

impl Alphabet {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Word => byte.is_ascii_alphanumeric(),
            Self::Address => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        }
    }
}

const fn shape(
    prefix: &'static str,
    length: (usize, usize),
    alphabet: Alphabet,
    what: &'static str,
) -> Shape {
    Shape {
        prefix,
        length,
        alphabet,
        what,
    }
}

const SHAPES: &[Shape] = &[
    shape("nvapi-", (40, 100), Alphabet::Address, "an NVIDIA API key"),
    shape("hf_", (30, 44), Alphabet::Word, "a Hugging Face token"),
    shape("sk-ant-", (24, 200), Alphabet::Address, "an Anthropic key"),
    shape(
        "sk-proj-",
        (24, 250),
        Alphabet::Address,
        "an OpenAI project key",
    ),
    shape("sk-or-", (24, 200), Alphabet::Address, "an OpenRouter key"),
    shape("sk-", (20, 200), Alphabet::Address, "an API key"),
    shape("gsk_", (40, 80), Alphabet::Word, "a Groq key"),
    shape("r8_", (30, 60), Alphabet::Word, "a Replicate token"),
    shape("tgp_v1_", (30, 80), Alphabet::Address, "a Together key"),
    shape(
        "wandb_v1_",
        (40, 120),
        Alphabet::Address,
        "a Weights & Biases key",
    ),
    shape("ghp_", (36, 40), Alphabet::Word, "a GitHub token"),
    shape("gho_", (36, 40), Alphabet::Word, "a GitHub token"),
    shape("ghs_", (36, 40), Alphabet::Word, "a GitHub token"),
    shape(
        "github_pat_",
        (50, 100),
        Alphabet::Address,
        "a GitHub token",
    ),
    shape("glpat-", (20, 60), Alphabet::Address, "a GitLab token"),
    shape("npm_", (36, 40), Alphabet::Word, "a package registry token"),
    shape(
        "pypi-AgE",
        (50, 250),
        Alphabet::Address,
        "a package registry token",
    ),
    shape(
        "dckr_pat_",
        (20, 60),
        Alphabet::Address,
        "a Docker Hub token",
    ),
    shape("xoxb-", (30, 100), Alphabet::Address, "a Slack token"),
    shape("AKIA", (16, 16), Alphabet::Upper, "an AWS access key id"),
    shape("ASIA", (16, 16), Alphabet::Upper, "an AWS access key id"),
    shape("AIza", (35, 35), Alphabet::Address, "a Google API key"),
    shape(
        "AGE-SECRET-KEY-1",
        (50, 60),
        Alphabet::Upper,
        "an age private key",
    ),
];

/// The first secret in `text` that its shape gives away.
pub(crate) fn find(text: &str) -> Option<Secret> {
    if text.len() < SHORTEST {
        return None;
    }
    let by_prefix = SHAPES.iter().filter_map(|shape| prefixed(text, shape));
    by_prefix
        .chain(private_key(text))
        .chain(web_token(text))
        .chain(address(text))
        .min_by_key(|secret| secret.start)
}

fn prefixed(text: &str, shape: &Shape) -> Option<Secret> {
    text.match_indices(shape.prefix).find_map(|(start, _)| {
        let rest = text.get(start + shape.prefix.len()..)?;
        let length = rest
            .bytes()
            .take(shape.length.1 + 1)
            .take_while(|byte| shape.alphabet.has(*byte))
            .count();
        let tail = rest.get(..length)?;
        let fits = (shape.length.0..=shape.length.1).contains(&length)
            && begins_a_word(text, start)
            && entropy(tail) >= MIN_ENTROPY
            && tail
                .bytes()
                .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && !is_placeholder(tail);
        fits.then(|| Secret {
            what: shape.what,
            shown: shown(
                text.get(start..start + shape.prefix.len() + length)
                    .unwrap_or(""),
            ),
            start,
        })
    })
}

fn begins_a_word(text: &str, start: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
    before.is_none_or(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')))
}

/// The start of a text, as long as a secret may be: what is looked at for each beginning is bounded.
fn start_of(text: &str) -> &str {
    let mut end = text.len().min(MAX_SECRET);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// A private key as PEM. Encrypted ones are none.
fn private_key(text: &str) -> Option<Secret> {
    const OPENING: &str = "-----BEGIN ";
    let labelled = text.match_indices(OPENING).filter_map(|(start, _)| {
        let rest = start_of(text.get(start + OPENING.len()..)?);
        let label = rest
            .split("-----")
            .next()
            .filter(|label| label.len() <= 40)?;
        let private = label.ends_with("PRIVATE KEY") && !label.starts_with("ENCRYPTED");
        private.then_some((start, label, rest.get(label.len() + 5..)?))
    });
    labelled.take(MAX_TRIED).find_map(|(start, label, body)| {
        let body = body.split("-----").next().unwrap_or(body).trim();
        let secret = body.len() >= 40
            && !body.contains("ENCRYPTED")
            && !body.contains("...")
            && entropy(body) >= MIN_ENTROPY;
        secret.then(|| Secret {
            what: "a private key",
            shown: format!("`{label}` ({} characters)", body.len()),
            start,
        })
    })
}

/// A signed web token: three parts of base64, of which the first two are JSON objects.
fn web_token(text: &str) -> Option<Secret> {
    let beginnings = text
        .match_indices("eyJ")
        .filter(|(start, _)| begins_a_word(text, *start));
    beginnings.take(MAX_TRIED).find_map(|(start, _)| {
        let rest = start_of(text.get(start..)?);
        let length = rest
            .bytes()
            .take_while(|byte| Alphabet::Address.has(*byte) || *byte == b'.')
            .count();
        let token = rest.get(..length)?;
        let parts: Vec<&str> = token.split('.').collect();
        let [_, claims, signature] = parts.as_slice() else {
            return None;
        };
        let fits = claims.starts_with("eyJ")
            && claims.len() >= 16
            && signature.len() >= 32
            && entropy(signature) >= MIN_ENTROPY;
        fits.then(|| Secret {
            what: "a signed web token",
            shown: shown(token),
            start,
        })
    })
}

/// A password in an address: `scheme://name:password@host`.
fn address(text: &str) -> Option<Secret> {
    text.match_indices("://").find_map(|(start, _)| {
        let rest = start_of(text.get(start + 3..)?);
        let end = rest
            .find(['/', ' ', '\n', '"', '\'', '?', '#'])
            .unwrap_or(rest.len());
        let (account, _) = rest.get(..end)?.rsplit_once('@')?;
        let (name, password) = account.split_once(':')?;
        let fits = password.len() >= 8
            && password != name
            && !is_placeholder(password)
            && !password.contains(['$', '{', '<', '%', '*']);
        fits.then(|| Secret {
            what: "a password in an address",
            shown: shown(password),
            start,
        })
    })
}

/// How many beginnings of long secrets are followed in one text.
const MAX_TRIED: usize = 256;
/// Private keys are the longest.
const MAX_SECRET: usize = 8192;
/// Random base-62 text of 20 characters has about 4 bits for each; a word repeated has less than 3.
const MIN_ENTROPY: f64 = 3.0;
/// No shape is shorter.
const SHORTEST: usize = 18;
