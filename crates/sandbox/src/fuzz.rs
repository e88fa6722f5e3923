//! The bodies of the fuzz targets of this crate's parsers.

use std::path::Component;

use crate::image;

/// Documents of an image: none of them may make a parser panic.
pub fn fuzz_image_documents(data: &[u8]) {
    drop(image::parse_index(data));
    drop(image::parse_manifest(data));
    drop(image::parse_configuration(data));
}

/// Names in a layer: what is accepted stays below the root.
pub fn fuzz_layer_name(data: &[u8]) {
    if let Ok(path) = image::check_name(data) {
        let below = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        assert!(
            below && !path.is_absolute(),
            "`{}` leaves the root",
            path.display()
        );
    }
}

/// Extension headers of an archive: no text may make their parser panic.
pub fn fuzz_archive_records(data: &[u8]) {
    drop(image::parse_records(data));
}

/// The mount table as the kernel writes it: no text may make its parser panic, and what it
/// understands has absolute mount points or none at all.
pub fn fuzz_mountinfo(data: &[u8]) {
    drop(casemate_linux::mount::parse(&String::from_utf8_lossy(data)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator: the same bytes on every run.
    fn mutations(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..2000).map(move |_| {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state % 65_521).unwrap()
            };
            let mut bytes = seed.to_vec();
            for _ in 0..=next() % 4 {
                if bytes.is_empty() {
                    break;
                }
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = u8::try_from(next() % 256).unwrap(),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, u8::try_from(next() % 256).unwrap()),
                }
            }
            bytes
        })
    }

    #[test]
    fn seeds_and_their_mutations_break_no_parser() {
        let documents = [
            br#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:00","size":1}]}"#
                .as_slice(),
            br#"{"architecture":"amd64","os":"linux","config":{"Env":["A=b"]},"rootfs":{"diff_ids":[]}}"#,
        ];
        for seed in documents {
            mutations(seed).for_each(|bytes| fuzz_image_documents(&bytes));
        }
        for seed in [b"usr/lib/../x".as_slice(), b"./a/b", b"/../etc/passwd"] {
            mutations(seed).for_each(|bytes| fuzz_layer_name(&bytes));
        }
        let records = b"12 path=a=\n\n14 linkpath=b\n";
        mutations(records).for_each(|bytes| fuzz_archive_records(&bytes));
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 ro,noatime master:1 - ext3 /dev/root rw,errors=x";
        mutations(line).for_each(|bytes| fuzz_mountinfo(&bytes));
    }
}
