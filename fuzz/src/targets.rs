//! Every parser of input that somebody else wrote.

/// A parser under test.
pub(crate) struct Target {
    /// Also the name of its folder in the corpus.
    pub(crate) name: &'static str,
    /// Panics when an invariant does not hold.
    pub(crate) body: fn(&[u8]),
}

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "enclosure",
        body: casemate_core::fuzz::fuzz_enclosure,
    },
    Target {
        name: "profile",
        body: casemate_core::fuzz::fuzz_profile,
    },
    Target {
        name: "route",
        body: casemate_core::fuzz::fuzz_route,
    },
    Target {
        name: "json-body",
        body: casemate_core::fuzz::fuzz_json,
    },
    Target {
        name: "admission",
        body: casemate_core::fuzz::fuzz_admission,
    },
    Target {
        name: "jws",
        body: casemate_identity::fuzz::fuzz_jws,
    },
    Target {
        name: "jwk",
        body: casemate_identity::fuzz::fuzz_jwk,
    },
    Target {
        name: "claims",
        body: casemate_identity::fuzz::fuzz_claims,
    },
    Target {
        name: "discovery",
        body: casemate_identity::fuzz::fuzz_discovery,
    },
    Target {
        name: "x509",
        body: casemate_identity::fuzz::fuzz_x509,
    },
    Target {
        name: "sealed-header",
        body: casemate_weights::fuzz::fuzz_header,
    },
    Target {
        name: "bundle",
        body: casemate_weights::fuzz::fuzz_bundle,
    },
    Target {
        name: "statement",
        body: casemate_weights::fuzz::fuzz_statement,
    },
    Target {
        name: "index",
        body: casemate_weights::fuzz::fuzz_index,
    },
    Target {
        name: "model-path",
        body: casemate_weights::fuzz::fuzz_path,
    },
    Target {
        name: "probe-order",
        body: casemate_isolation::fuzz::fuzz_order,
    },
    Target {
        name: "probe-message",
        body: casemate_isolation::fuzz::fuzz_message,
    },
    Target {
        name: "evidence",
        body: casemate_isolation::fuzz::fuzz_evidence,
    },
    Target {
        name: "image-documents",
        body: casemate_sandbox::fuzz::fuzz_image_documents,
    },
    Target {
        name: "layer-name",
        body: casemate_sandbox::fuzz::fuzz_layer_name,
    },
    Target {
        name: "archive-records",
        body: casemate_sandbox::fuzz::fuzz_archive_records,
    },
    Target {
        name: "mountinfo",
        body: casemate_sandbox::fuzz::fuzz_mountinfo,
    },
    Target {
        name: "request-head",
        body: casemate_gate::fuzz::fuzz_head,
    },
    Target {
        name: "manifests",
        body: casemate_posture::fuzz::fuzz_manifests,
    },
    Target {
        name: "compose",
        body: casemate_posture::fuzz::fuzz_compose,
    },
    Target {
        name: "command-line",
        body: casemate_posture::fuzz::fuzz_command_line,
    },
    Target {
        name: "environment-file",
        body: casemate_posture::fuzz::fuzz_environment_file,
    },
    Target {
        name: "toolkit",
        body: casemate_posture::fuzz::fuzz_toolkit,
    },
    Target {
        name: "image-layout",
        body: casemate_posture::fuzz::fuzz_image_layout,
    },
    Target {
        name: "image-layer",
        body: casemate_posture::fuzz::fuzz_layer,
    },
    Target {
        name: "pickle",
        body: casemate_posture::fuzz::fuzz_pickle,
    },
    Target {
        name: "safetensors",
        body: casemate_posture::fuzz::fuzz_safetensors,
    },
    Target {
        name: "gguf",
        body: casemate_posture::fuzz::fuzz_gguf,
    },
    Target {
        name: "model-archive",
        body: casemate_posture::fuzz::fuzz_archive,
    },
    Target {
        name: "chat-template",
        body: casemate_posture::fuzz::fuzz_template,
    },
    Target {
        name: "model-signature",
        body: casemate_posture::fuzz::fuzz_signature,
    },
    Target {
        name: "certificate-end",
        body: casemate_posture::fuzz::fuzz_certificate,
    },
    Target {
        name: "model-file",
        body: casemate_posture::fuzz::fuzz_model_file,
    },
    Target {
        name: "secrets",
        body: casemate_posture::fuzz::fuzz_secrets,
    },
];
