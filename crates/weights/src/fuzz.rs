//! The bodies of the fuzz targets: one for each parser of a stranger's bytes.
//!
//! Each asserts what must hold whatever the bytes are. The fuzzer and the stable tests call the same
//! functions.

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::format::header::{ArtifactId, Header, Part};
use crate::format::index::Index;
use crate::format::is_chunk_size;
use crate::format::path::ModelPath;
use crate::oms::Manifest;

/// The header's signed text: what is read is in range and has one spelling.
pub fn fuzz_header(data: &[u8]) {
    if let Ok(header) = Header::parse_payload(data) {
        assert_eq!(header.payload(), data, "two spellings of one header");
        assert!(is_chunk_size(header.chunk_size));
    }
    Header::unverified(data).ok();
    assert!(Header::verify(data, &[]).is_err(), "believed without a key");
}

/// A Sigstore bundle: what is read survives its own spelling and is believed by nobody.
pub fn fuzz_bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else {
        return;
    };
    assert!(bundle.verify(&[]).is_err(), "believed without a key");
    let again = Bundle::parse(&bundle.to_json());
    assert!(
        again.is_ok_and(|again| again == bundle),
        "another bundle after spelling it"
    );
}

/// A model-signing statement: what is read names each file once and has a root digest.
pub fn fuzz_statement(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    assert!(!manifest.resources.is_empty());
    let again = Manifest::parse(&manifest.payload());
    assert!(
        again.is_ok_and(|again| again == manifest),
        "another statement after spelling it"
    );
}

/// A decrypted index: never believed without a signature, and never beyond the header's sizes.
pub fn fuzz_index(data: &[u8]) {
    let nothing = Part {
        size: 0,
        sha256: Digest([0; 32]),
    };
    let Ok(model) = "fuzz@1".parse() else { return };
    let header = Header {
        model,
        root_digest: Digest([0; 32]),
        artifact: ArtifactId([0; 16]),
        epoch: 0,
        chunk_size: 65536,
        key_commitment: Digest([0; 32]),
        key: nothing,
        index: nothing,
        tags: nothing,
        data_bytes: 0,
    };
    assert!(
        Index::parse(data, &header, &[]).is_err(),
        "believed without a key"
    );
}

/// A path in an index: what is accepted stays below the directory that it is joined to.
pub fn fuzz_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = ModelPath::parse(text) else {
        return;
    };
    let joined = std::path::Path::new("/model").join(path.as_str());
    assert!(joined.starts_with("/model") && joined != std::path::Path::new("/model"));
    let plain = joined.components().skip(2);
    assert_eq!(
        plain.count(),
        path.components().count(),
        "a component disappeared"
    );
    assert!(
        joined
            .components()
            .all(|part| part != std::path::Component::ParentDir)
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signing::generate_key;

    fn seeds() -> Vec<Vec<u8>> {
        let key = generate_key().unwrap();
        let manifest = Manifest::new("m".to_owned(), vec![("a/b".to_owned(), Digest([3; 32]))]);
        let bundle = Bundle::sign(manifest.payload(), &key).unwrap();
        let part = Part::of(b"x");
        let header = Header {
            model: "m@1".parse().unwrap(),
            root_digest: manifest.root_digest(),
            artifact: ArtifactId([1; 16]),
            epoch: 7,
            chunk_size: 1 << 20,
            key_commitment: Digest([2; 32]),
            key: part,
            index: part,
            tags: part,
            data_bytes: 4096,
        };
        let path = ModelPath::parse("a/b").unwrap();
        let listed = crate::format::index::Listed {
            path,
            size: 5,
            executable: false,
        };
        vec![
            header.payload(),
            header.sign(&key).unwrap(),
            bundle.to_json(),
            manifest.payload(),
            Index::text(&[listed], &bundle).unwrap(),
            b"weights/model-00001.safetensors".to_vec(),
            b"a/../../etc/passwd".to_vec(),
            Vec::new(),
        ]
    }

    fn all(data: &[u8]) {
        fuzz_header(data);
        fuzz_bundle(data);
        fuzz_statement(data);
        fuzz_index(data);
        fuzz_path(data);
    }

    #[test]
    fn seeds_hold() {
        for seed in seeds() {
            all(&seed);
        }
    }

    proptest! {
        #[test]
        fn changed_seeds_hold(
            which in any::<prop::sample::Index>(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let seeds = seeds();
            let mut data = which.get(&seeds).clone();
            for (place, byte) in changes {
                if !data.is_empty() {
                    let at = place.index(data.len());
                    data[at] = byte;
                }
            }
            all(&data);
            data.truncate(cut.index(data.len() + 1));
            all(&data);
        }

        #[test]
        fn noise_holds(data in proptest::collection::vec(any::<u8>(), 0..512)) {
            all(&data);
        }
    }
}
