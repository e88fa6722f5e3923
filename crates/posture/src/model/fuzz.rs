//! The bodies of the fuzz targets for files of models.

use std::io::Cursor;

use super::pickle::{self, Verdict};
use super::{archive, certificate, form, gguf, safetensors, signature, template};

fn length(data: &[u8]) -> u64 {
    data.len() as u64
}

/// A pickle: what is safe is not safe any more once it imports a command.
pub fn fuzz_pickle(data: &[u8]) {
    if pickle::judge(data) != Verdict::Safe {
        return;
    }
    let mut worse = b"cos\nsystem\n0".to_vec();
    worse.extend(data);
    assert!(
        matches!(pickle::judge(&worse), Verdict::Unsafe { attack: true, .. }),
        "a command was not seen"
    );
    let mut longer = data.to_vec();
    longer.extend(b"cos\nsystem\n.");
    assert!(
        pickle::judge(&longer) != Verdict::Safe || is_old_torch(data),
        "a second pickle was not seen"
    );
}

/// Old files of PyTorch end in bytes that no pickle is read from.
fn is_old_torch(data: &[u8]) -> bool {
    data.windows(4)
        .any(|bytes| bytes == [0x6c, 0xfc, 0x9c, 0x46])
}

/// A safetensors file: a sound one is sound to its last byte, and not with one more.
pub fn fuzz_safetensors(data: &[u8]) {
    let faults = safetensors::faults(&mut Cursor::new(data), length(data));
    assert!(faults.len() <= 8, "too many faults are said");
    if faults.is_empty() {
        let mut longer = data.to_vec();
        longer.push(0);
        let faults = safetensors::faults(&mut Cursor::new(&longer), length(&longer));
        assert!(
            !faults.is_empty(),
            "a byte that belongs to nothing was not seen"
        );
    }
}

/// A GGUF file: a sound one starts as one, and what is taken out of it was in it.
pub fn fuzz_gguf(data: &[u8]) {
    let header = gguf::read(&mut Cursor::new(data), length(data));
    assert!(
        !header.faults.is_empty() || data.starts_with(b"GGUF"),
        "anything is one"
    );
    let texts: usize = header
        .templates
        .iter()
        .map(|(key, text)| key.len() + text.len())
        .sum();
    assert!(texts <= data.len(), "a text from nowhere");
}

/// A zip archive: what is unpacked has the size it says and is within the bound.
pub fn fuzz_archive(data: &[u8]) {
    let mut source = Cursor::new(data);
    let Ok(members) = archive::members(&mut source, length(data)) else {
        return;
    };
    for member in members.iter().take(16) {
        if let Ok(bytes) = archive::unpack(&mut source, member, 65_536) {
            assert!(
                length(&bytes) == member.size && bytes.len() <= 65_536,
                "another size"
            );
        }
    }
}

/// A chat template: what is found starts inside the text, at a character.
pub fn fuzz_template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (start, _) in template::gadgets(&text) {
        assert!(
            start < text.len() && text.is_char_boundary(start),
            "starts nowhere"
        );
    }
}

/// A model's signature: it is broken, weak, or says which model it is for.
pub fn fuzz_signature(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let files = ["config.json".to_owned(), "model.safetensors".to_owned()];
    let signature = signature::read(&text, "model.sig", &files, time::OffsetDateTime::UNIX_EPOCH);
    assert!(
        !signature.broken.is_empty() || !signature.weak.is_empty() || signature.root.is_some(),
        "believed without a digest"
    );
}

/// A certificate: whatever it says, reading it ends.
pub fn fuzz_certificate(data: &[u8]) {
    if let Some(end) = certificate::not_after(data) {
        assert!((0..=9999).contains(&end.year()), "a year of no calendar");
    }
}

/// A file of any form, under names that lead to each reader.
pub fn fuzz_model_file(data: &[u8]) {
    for name in [
        "model.safetensors",
        "model.gguf",
        "model.bin",
        "model.pkl",
        "model.npz",
        "README.md",
    ] {
        let examined = form::examine(&mut Cursor::new(data), length(data), name);
        assert!(examined.faults.len() <= 16, "too many faults are said");
    }
}

#[cfg(test)]
mod tests;
