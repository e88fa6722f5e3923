//! What the claims share: how an attempt is judged, and the places where attempts are made.

pub(crate) mod gate;
pub(crate) mod mounts;
pub(crate) mod sandbox;
pub(crate) mod weights;

/// How an attempt to break a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It was stopped; by what.
    Stopped(String),
    /// It worked.
    Worked,
}

impl Attempt {
    /// From a result whose error says what stopped it.
    pub(crate) fn of<T, E: std::fmt::Debug>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Worked,
            Err(error) => Self::Stopped(format!("{error:?}")),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Stopped(by) => format!("stopped by {by}"),
            Self::Worked => "worked".to_owned(),
        }
    }
}

/// Something that people run today, and how the same attempt ended there.
pub(crate) struct Reference {
    pub(crate) what: &'static str,
    pub(crate) attempt: Attempt,
}

/// Judges one claim: `ours` must be stopped, `without` its control it must work; the reference is
/// only reported.
pub(crate) fn judge(claim: &str, ours: &Attempt, without: &Attempt, reference: Option<Reference>) {
    let beside = reference.map_or_else(
        || "nothing comparable".to_owned(),
        |reference| format!("{} {}", reference.what, reference.attempt.words()),
    );
    println!(
        "{claim}: ours {}; control removed: {}; reference: {beside}",
        ours.words(),
        without.words()
    );
    assert!(matches!(ours, Attempt::Stopped(_)), "{claim} does not hold");
    assert_eq!(
        *without,
        Attempt::Worked,
        "{claim}: the test cannot fail, so it shows nothing"
    );
}
