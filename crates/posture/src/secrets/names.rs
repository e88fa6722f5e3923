//! Names that say "what stands here is a secret", and values that only stand in for one.

/// Whether a variable, flag or key of this name holds a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let name = normal(name);
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let ends_with = |ending: &&[&str]| words.ends_with(ending);
    KNOWN.contains(&name.as_str())
        || (ENDINGS.iter().any(ends_with) && !words.iter().any(|word| NOT_SECRET.contains(word)))
}

/// `--api-key`, `apiKey` and `API_KEY` are one name.
pub(crate) fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    let mut lower = false;
    for character in name.trim_start_matches('-').chars() {
        if character.is_ascii_uppercase() && lower {
            normal.push('_');
        }
        lower = character.is_ascii_lowercase();
        match character {
            '-' | '.' | ' ' => normal.push('_'),
            _ => normal.push(character.to_ascii_uppercase()),
        }
    }
    normal
}

/// Whether a value only stands in for a secret.
pub(crate) fn is_placeholder(value: &str) -> bool {
    let lower = value.trim().to_ascii_lowercase();
    let mut distinct: Vec<u8> = lower.bytes().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() < 4
        || lower.starts_with('<')
        || lower.starts_with('$')
        || WHOLE.contains(&lower.as_str())
        || PARTS.iter().any(|part| lower.contains(part))
}

/// The last words of names of secrets.
const ENDINGS: &[&[&str]] = &[
    &["TOKEN"],
    &["API", "KEY"],
    &["APIKEY"],
    &["PASSWORD"],
    &["PASSWD"],
    &["PASSPHRASE"],
    &["SECRET"],
    &["SECRET", "KEY"],
    &["ACCESS", "KEY"],
    &["PRIVATE", "KEY"],
    &["ACCOUNT", "KEY"],
    &["STORAGE", "KEY"],
    &["MASTER", "KEY"],
    &["SIGNING", "KEY"],
    &["ENCRYPTION", "KEY"],
    &["CONNECTION", "STRING"],
    &["CREDENTIALS"],
    &["WEBHOOK", "KEY"],
];

/// Names that no ending tells.
const KNOWN: &[&str] = &[
    "PGPASSWORD",
    "HUGGING_FACE_HUB_TOKEN",
    "NGC_CLI_API_KEY",
    "KAGGLE_KEY",
];

/// With one of these in it, a name is about tokens of text, or says who or where and not the secret.
const NOT_SECRET: &[&str] = &[
    "BOS",
    "EOS",
    "PAD",
    "UNK",
    "SEP",
    "MASK",
    "CLS",
    "STOP",
    "SPECIAL",
    "IMAGE",
    "AUDIO",
    "VIDEO",
    "MAX",
    "MIN",
    "NUM",
    "PER",
    "FIRST",
    "LAST",
    "NEXT",
    "START",
    "END",
    "COST",
    "PRICE",
    "PUBLIC",
    "ENABLE",
    "DISABLE",
    "USE",
    "REQUIRE",
    "ALLOW",
    "TRUST",
    "DRAFT",
    "TOOL",
    "THINK",
    "REASONING",
];

/// What people write where a secret belongs; the whole value.
const WHOLE: &[&str] = &[
    "password",
    "secret",
    "token",
    "none",
    "null",
    "empty",
    "local",
    "ollama",
    "unused",
    "anything",
    "lm-studio",
    "not-needed",
    "notneeded",
    "no-key",
    "no-key-required",
    "sk-no-key-required",
    "token-abc123",
    "disabled",
    "optional",
    "required",
    "default",
    "undefined",
    "testtest",
    "supersecret",
    "mypassword",
    "mysecret",
    "postgres",
];

/// The same as a part of the value.
const PARTS: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "changethis",
    "change-this",
    "your-",
    "your_",
    "yourkey",
    "yourtoken",
    "example",
    "placeholder",
    "xxxx",
    "****",
    "....",
    "…",
    "replace",
    "dummy",
    "fake",
    "insert",
    "redacted",
    "todo",
    "fixme",
    "-here",
    "_here",
    "to-be-",
    "not-a-",
    "no-key",
    "notreal",
    "{{",
    "${",
    "$(",
    "000000",
    "12345678",
    "abcdefgh",
    "goes-",
    "my-api-key",
    "my-token",
    "my_token",
    "sample",
];
