use std::io::Cursor;

use super::*;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn text(mut self, text: &str) -> Self {
        self = self.u64(text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    fn start(version: u32, tensors: u64, pairs: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(pairs)
    }

    fn template(self, text: &str) -> Self {
        self.text("tokenizer.chat_template").u32(8).text(text)
    }

    fn tensor(self, name: &str, sides: &[u64], kind: u32, offset: u64) -> Self {
        let count = u32::try_from(sides.len()).unwrap();
        let with_sides = sides
            .iter()
            .fold(self.text(name).u32(count), |writer, side| writer.u64(*side));
        with_sides.u32(kind).u64(offset)
    }

    fn data(mut self, length: usize) -> Vec<u8> {
        while !self.0.len().is_multiple_of(32) {
            self.0.push(0);
        }
        self.0.extend(vec![7; length]);
        self.0
    }
}

fn read_bytes(bytes: Vec<u8>) -> Header {
    let length = bytes.len() as u64;
    read(&mut Cursor::new(bytes), length)
}

#[test]
fn a_sound_file_has_no_fault_and_gives_its_template() {
    let writer = Writer::start(3, 2, 3)
        .template("{{ messages }}")
        .text("general.alignment")
        .u32(4)
        .u32(32)
        .text("tokens")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("b")
        .tensor("a", &[4, 2], 0, 0)
        .tensor("b", &[32], 8, 32);
    let header = read_bytes(writer.data(32 + 34));
    assert_eq!(header.faults, Vec::<String>::new());
    assert_eq!(header.templates.len(), 1);
    assert_eq!(
        read_bytes(Writer::start(2, 0, 0).data(0)).faults,
        Vec::<String>::new()
    );
}

#[test]
fn every_lie_of_a_header_is_told() {
    let one = |sides: &[u64], kind, offset| {
        Writer::start(3, 1, 0)
            .tensor("w", sides, kind, offset)
            .data(64)
    };
    for (bytes, said) in [
        (Writer::start(1, 0, 0).data(0), "version 1"),
        (
            Writer::start(3, u64::MAX, 0).data(0),
            "tensors, which do not fit",
        ),
        (
            Writer::start(3, 0, u64::MAX / 16).data(0),
            "metadata values, which do not fit",
        ),
        (
            Writer::start(3, 0, 1).u64(1 << 40).data(0),
            "more than there is",
        ),
        (
            Writer::start(3, 0, 1)
                .text("k")
                .u32(9)
                .u32(9)
                .u64(1)
                .u64(0)
                .data(0),
            "loaders refuse",
        ),
        (
            Writer::start(3, 0, 1)
                .text("k")
                .u32(9)
                .u32(10)
                .u64(u64::MAX)
                .data(0),
            "more than there is",
        ),
        (
            Writer::start(3, 0, 1)
                .text("general.alignment")
                .u32(4)
                .u32(12)
                .data(0),
            "power of two",
        ),
        (one(&[1 << 40, 1 << 40], 0, 0), "larger than a number"),
        (
            one(&[64], 0, 0),
            "the tensors need 256 bytes, and the file has 64",
        ),
        (one(&[16], 0, 5), "off the alignment"),
        (one(&[16], 0, 32), "hides bytes"),
        (one(&[1, 1, 1, 1, 1], 0, 0), "5 dimensions"),
        (one(&[16], 77, 0), "unknown type 77"),
        (one(&[33], 8, 0), "no multiple of 32"),
        (one(&[1], 0, 0), "behind the last tensor"),
        (b"GGUF\x03".to_vec(), "ends inside"),
    ] {
        let found = read_bytes(bytes).faults.join("; ");
        assert!(found.contains(said), "{said}: {found}");
    }
}
