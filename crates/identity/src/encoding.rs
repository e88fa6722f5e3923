//! Unpadded base64url, read only in its canonical form, and SHA-256.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Trailing bits must be zero and padding absent, so one value has exactly one spelling.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(false),
);

pub(crate) fn to_base64url(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// The decoded bytes, or nothing when `text` is not the one canonical spelling.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    // SHA-256 always has 32 bytes; zipping needs no proof of it.
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// `bytes` random bytes as base64url.
pub(crate) fn random_id<const BYTES: usize>() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(to_base64url(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_spelling() {
        assert_eq!(from_base64url("QQ").unwrap(), b"A");
        for other in ["QR", "QQ==", "QQ=", "Q Q", "QQ\n", "+/", "Q"] {
            assert!(from_base64url(other).is_none(), "{other:?}");
        }
    }
}
