//! Any byte changed, cut, moved or taken from elsewhere is refused.

use std::fs;

use casemate_weights::open;
use casemate_weights::unlock::ReadChunkError;
use proptest::prelude::*;

use crate::lab::Lab;

const FILES: [&str; 5] = ["header.json", "key.age", "index", "tags", "data"];

#[test]
fn an_untouched_model_is_accepted() {
    let lab = Lab::new();
    lab.seal();
    lab.refusal().unwrap();
}

#[test]
fn every_byte_of_the_header_the_key_and_the_tags_counts() {
    let lab = Lab::new();
    lab.seal();
    for file in ["header.json", "key.age", "tags"] {
        let length = fs::metadata(lab.sealed().join(file)).unwrap().len();
        for at in 0..usize::try_from(length).unwrap() {
            let outcome = lab.with(file, |bytes| bytes[at] ^= 1 << (at % 8));
            assert!(outcome.is_err(), "{file}: byte {at} does not count");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_anywhere_is_refused(
        file in 0_usize..5,
        place in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        // One sealing for all cases: what is changed is put back.
        thread_local! { static LAB: Lab = { let lab = Lab::new(); lab.seal(); lab } }
        LAB.with(|lab| {
            let outcome = lab.with(FILES[file], |bytes| {
                let at = place.index(bytes.len());
                bytes[at] ^= flip;
            });
            prop_assert!(outcome.is_err(), "{}", FILES[file]);
            Ok(())
        })?;
    }
}

#[test]
fn a_cut_or_grown_file_is_refused() {
    let lab = Lab::new();
    lab.seal();
    for file in FILES {
        for cut in [1, 16, 4096] {
            let outcome = lab.with(file, |bytes| {
                bytes.truncate(bytes.len().saturating_sub(cut))
            });
            assert!(outcome.is_err(), "{file} cut by {cut}");
        }
        assert!(lab.with(file, Vec::clear).is_err(), "{file} emptied");
        assert!(
            lab.with(file, |bytes| bytes.push(b'\n')).is_err(),
            "{file} grown"
        );
        assert!(
            lab.with(file, |bytes| bytes.extend_from_slice(&[0; 4096]))
                .is_err(),
            "{file}"
        );
    }
}

#[test]
fn a_missing_renamed_linked_or_extra_file_is_refused() {
    let lab = Lab::new();
    lab.seal();
    for file in FILES {
        let (path, aside) = (lab.sealed().join(file), lab.path("aside"));
        fs::rename(&path, &aside).unwrap();
        assert!(lab.refusal().is_err(), "{file} missing");
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(lab.refusal().is_err(), "{file} is a link");
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let extra = lab.sealed().join("modeling_evil.py");
    fs::write(&extra, "import os").unwrap();
    assert!(lab.refusal().unwrap_err().contains("cannot be opened"));
    fs::remove_file(extra).unwrap();
    fs::rename(lab.sealed().join("tags"), lab.sealed().join("Tags")).unwrap();
    assert!(lab.refusal().is_err());
}

#[test]
fn parts_of_another_sealing_of_the_same_model_are_refused() {
    let lab = Lab::new();
    lab.seal();
    let other = lab.path("other");
    lab.try_seal(&other, 1).unwrap();
    for file in FILES {
        let foreign = fs::read(other.join(file)).unwrap();
        assert!(
            lab.with(file, |bytes| *bytes = foreign).is_err(),
            "{file} spliced"
        );
    }
}

#[test]
fn moved_chunks_are_refused_with_their_tags_and_without() {
    let lab = Lab::new();
    lab.seal();
    let model = lab.open();
    let first = model
        .entries()
        .iter()
        .position(|e| e.path.as_str().ends_with("00001.bin"))
        .unwrap();
    let second = first + 1;
    let place = |file: usize, chunk: u64| {
        let chunk = model.layout().chunk(file, chunk).unwrap();
        (
            usize::try_from(chunk.offset).unwrap(),
            chunk.padded,
            usize::try_from(chunk.tag).unwrap(),
        )
    };
    for (one, two) in [((first, 0), (first, 1)), ((first, 1), (second, 0))] {
        let (a, b) = (place(one.0, one.1), place(two.0, two.1));
        let outcome = lab.with("data", |bytes| swap(bytes, a.0, b.0, a.1));
        assert!(outcome.is_err(), "chunks swapped");
        // The tags are signed, so that they cannot move along; a reader without that check fails too.
        let path = lab.sealed().join("data");
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        swap(&mut bad, a.0, b.0, a.1);
        fs::write(&path, bad).unwrap();
        let outcome = lab.with("tags", |bytes| swap(bytes, a.2 * 16, b.2 * 16, 16));
        assert!(outcome.is_err(), "chunks swapped with their tags");
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_changed_chunk_gives_no_byte_and_leaves_the_others_readable() {
    let lab = Lab::new();
    lab.seal();
    let model = lab.open();
    let file = model
        .entries()
        .iter()
        .position(|e| e.path.as_str().ends_with("00001.bin"))
        .unwrap();
    let chunk = model.layout().chunk(file, 1).unwrap();
    let path = lab.sealed().join("data");
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(chunk.offset).unwrap() + 5] ^= 4;
    fs::write(&path, bytes).unwrap();
    let model = lab.open();
    let mut buffer = vec![0xaa; 65536];
    assert!(matches!(
        model.read_chunk(file, 1, &mut buffer),
        Err(ReadChunkError::Corrupt { chunk: 1, .. })
    ));
    assert!(
        buffer.iter().all(|byte| *byte == 0),
        "the refused chunk is wiped"
    );
    assert!(model.read_chunk(file, 0, &mut buffer).is_ok());
    assert!(model.read_chunk(file, 2, &mut buffer).is_ok());
    let opened = lab.path("opened");
    assert!(open::decrypt_to(&model, &opened, &casemate_weights::no_progress).is_err());
    assert!(!opened.exists());
    assert_no_partials(&lab);
}

fn swap(bytes: &mut [u8], one: usize, other: usize, length: usize) {
    for at in 0..length {
        bytes.swap(one + at, other + at);
    }
}

pub(crate) fn assert_no_partials(lab: &Lab) {
    for entry in fs::read_dir(lab.directory.path()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".partial"), "{name} was left");
    }
}
