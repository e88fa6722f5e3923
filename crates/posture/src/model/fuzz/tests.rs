//! The committed fixtures, whole, cut at every byte, and with every byte changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}

#[test]
fn no_reader_of_models_breaks_on_a_changed_fixture() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut paths = Vec::new();
    for rule in ["AI-056", "AI-066", "AI-067", "AI-068"] {
        files(&fixtures.join(rule), &mut paths);
    }
    assert!(paths.len() > 20);
    let bodies: [fn(&[u8]); 8] = [
        fuzz_pickle,
        fuzz_safetensors,
        fuzz_gguf,
        fuzz_archive,
        fuzz_template,
        fuzz_signature,
        fuzz_certificate,
        fuzz_model_file,
    ];
    for path in paths {
        let whole = fs::read(&path).unwrap();
        if whole.len() > 1024 {
            continue;
        }
        for at in 0..=whole.len() {
            let mut changed = whole.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte = byte.wrapping_mul(31).wrapping_add(7);
            }
            for body in bodies {
                body(&changed);
                body(whole.get(..at).unwrap());
            }
        }
    }
}
