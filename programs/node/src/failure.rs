//! How an error of ours becomes one that a person can act on: a code, what happened, what to do.
//!
//! Codes are fixed words, never reused; the message is the error and its causes; the fix is written
//! here once for each code.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use casemate_api::v1::ApiError;

/// What went wrong, as one of the fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    NotPermitted,
    RequestMalformed,
    EnclosureInvalid,
    NoSuchEnclosure,
    NoSuchStage,
    NoSuchModel,
    AlreadyUp,
    Busy,
    TrustDomainMismatch,
    NoTrustDomain,
    PortTaken,
    RuntimeAbsent,
    RuntimeTooOld,
    NoFuse,
    ProgramMissing,
    FileRefused,
    ImageRefused,
    SignerUnknown,
    WrongKey,
    ModelRefused,
    ModelMismatch,
    VaultFailed,
    SandboxFailed,
    SandboxMismatch,
    ProbeOpen,
    ProbeFailed,
    GateFailed,
    IssuerFailed,
    StageDied,
    StageNotReady,
    StageNotRunning,
    ReceiptsFull,
    StoreFailed,
    Stopping,
    Internal,
}

impl Code {
    /// The word that scripts compare.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::NotPermitted => "not-permitted",
            Self::RequestMalformed => "request-malformed",
            Self::EnclosureInvalid => "enclosure-invalid",
            Self::NoSuchEnclosure => "no-such-enclosure",
            Self::NoSuchStage => "no-such-stage",
            Self::NoSuchModel => "no-such-model",
            Self::AlreadyUp => "already-up",
            Self::Busy => "busy",
            Self::TrustDomainMismatch => "trust-domain-mismatch",
            Self::NoTrustDomain => "no-trust-domain",
            Self::PortTaken => "port-taken",
            Self::RuntimeAbsent => "runtime-absent",
            Self::RuntimeTooOld => "runtime-too-old",
            Self::NoFuse => "no-fuse",
            Self::ProgramMissing => "program-missing",
            Self::FileRefused => "file-refused",
            Self::ImageRefused => "image-refused",
            Self::SignerUnknown => "signer-unknown",
            Self::WrongKey => "wrong-key",
            Self::ModelRefused => "model-refused",
            Self::ModelMismatch => "model-mismatch",
            Self::VaultFailed => "vault-failed",
            Self::SandboxFailed => "sandbox-failed",
            Self::SandboxMismatch => "sandbox-mismatch",
            Self::ProbeOpen => "probe-open",
            Self::ProbeFailed => "probe-failed",
            Self::GateFailed => "gate-failed",
            Self::IssuerFailed => "issuer-failed",
            Self::StageDied => "stage-died",
            Self::StageNotReady => "stage-not-ready",
            Self::StageNotRunning => "stage-not-running",
            Self::ReceiptsFull => "receipts-full",
            Self::StoreFailed => "store-failed",
            Self::Stopping => "stopping",
            Self::Internal => "internal",
        }
    }

    /// What to do about it.
    const fn fix(self) -> &'static str {
        match self {
            Self::NotPermitted => "be root, or a member of the group given to casemated --group",
            Self::RequestMalformed => "use the casemate program of the same version as the daemon",
            Self::EnclosureInvalid => "correct the file at the places shown",
            Self::NoSuchEnclosure | Self::NoSuchStage => "see `casemate status` for what is up",
            Self::NoSuchModel => "declare the model under spec.models",
            Self::AlreadyUp => "take it down first: `casemate down NAME`",
            Self::Busy => "wait until the work in progress has ended",
            Self::TrustDomainMismatch => {
                "use the node's trust domain in the file; a node serves one trust domain"
            }
            Self::NoTrustDomain => "bring an enclosure up first: it names the trust domain",
            Self::PortTaken => {
                "choose another address under spec.exposes, or stop what listens there (`ss -ltnp`)"
            }
            Self::RuntimeAbsent => "install runc (`apt install runc`), or name one with --runtime",
            Self::RuntimeTooOld => {
                "install what is named, or name another runtime with --runtime, and start casemated again; with --danger-old-runtime it is used as it is"
            }
            Self::NoFuse => {
                "load the module (`modprobe fuse`) so that /dev/fuse exists; in a container, pass the device in"
            }
            Self::ProgramMissing => "build or install the program, or point --bin at its directory",
            Self::FileRefused => {
                "name plain files and directories that you can read yourself: the daemon opens them with your rights"
            }
            Self::ImageRefused => "rebuild the image without what is named; it was not unpacked",
            Self::SignerUnknown => {
                "list the public key of whoever signed it under the model's signers, if you trust it"
            }
            Self::WrongKey => "name the age identity that the model was sealed to",
            Self::ModelRefused => {
                "fetch the sealed model again, then `casemate model verify`; do not use this copy"
            }
            Self::ModelMismatch => {
                "point the model at the sealed directory of that name and version"
            }
            Self::VaultFailed => "see the lines above and the daemon's log",
            Self::SandboxFailed => "see the lines above; `casemate logs STAGE` may say more",
            Self::SandboxMismatch => {
                "nothing was started: the host or the runtime did not build the sandbox that was planned"
            }
            Self::ProbeOpen => {
                "nothing was admitted; close what was found open, or report it to us"
            }
            Self::ProbeFailed => "nothing was admitted; see the daemon's log",
            Self::GateFailed => "see the daemon's log for what the gate wrote",
            Self::IssuerFailed => "see the daemon's log for what the issuer wrote",
            Self::StageDied => "the lines above are the last that its server wrote",
            Self::StageNotReady => {
                "the lines above are the last that its server wrote; check `serves` and the command, or raise --warm-timeout-secs"
            }
            Self::StageNotRunning => "wait until `casemate status` shows it admitting",
            Self::ReceiptsFull => {
                "free space where --state lies: no decision is taken without its receipt"
            }
            Self::StoreFailed => "check the database under --state and the daemon's log",
            Self::Stopping => "the daemon is ending; try again when it is back",
            Self::Internal => "this is our fault: please report it with the daemon's log",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::NotPermitted => StatusCode::FORBIDDEN,
            Self::RequestMalformed | Self::EnclosureInvalid => StatusCode::BAD_REQUEST,
            Self::NoSuchEnclosure | Self::NoSuchStage | Self::NoSuchModel | Self::NoTrustDomain => {
                StatusCode::NOT_FOUND
            }
            Self::AlreadyUp
            | Self::Busy
            | Self::TrustDomainMismatch
            | Self::PortTaken
            | Self::StageNotRunning => StatusCode::CONFLICT,
            Self::RuntimeAbsent
            | Self::RuntimeTooOld
            | Self::NoFuse
            | Self::ProgramMissing
            | Self::FileRefused
            | Self::ImageRefused
            | Self::SignerUnknown
            | Self::WrongKey
            | Self::ModelRefused
            | Self::ModelMismatch
            | Self::VaultFailed
            | Self::SandboxFailed
            | Self::SandboxMismatch
            | Self::ProbeOpen
            | Self::ProbeFailed
            | Self::GateFailed
            | Self::IssuerFailed
            | Self::StageDied
            | Self::StageNotReady => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ReceiptsFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::StoreFailed | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error on its way to whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    /// More to the point than the code's.
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            fix: None,
        }
    }

    /// The error and its causes under one of the codes.
    pub(crate) fn from_error(code: Code, error: &dyn std::error::Error) -> Self {
        Self::new(code, crate::report(error))
    }

    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The same failure with more lines, such as the end of a log.
    pub(crate) fn with_lines<'a>(mut self, lines: impl IntoIterator<Item = &'a str>) -> Self {
        for line in lines {
            self.message.push_str("\n    ");
            self.message.push_str(line);
        }
        self
    }

    /// Says what to do in this case, in place of what is said for the code.
    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The message on one line, for events.
    pub(crate) fn line(&self) -> String {
        self.message
            .split('\n')
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
    }

    pub(crate) fn to_api(&self) -> ApiError {
        ApiError {
            code: self.code.word().to_owned(),
            message: self.message.clone(),
            fix: self
                .fix
                .clone()
                .unwrap_or_else(|| self.code.fix().to_owned()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self.to_api())).into_response()
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        let code = match error {
            crate::store::StoreError::Full => Code::ReceiptsFull,
            crate::store::StoreError::Open { .. }
            | crate::store::StoreError::Database(_)
            | crate::store::StoreError::Receipt { .. }
            | crate::store::StoreError::Event(_)
            | crate::store::StoreError::Sign(_)
            | crate::store::StoreError::Revocation(_)
            | crate::store::StoreError::WriterGone => Code::StoreFailed,
        };
        Self::from_error(code, &error)
    }
}
