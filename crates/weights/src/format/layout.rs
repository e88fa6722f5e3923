//! Where each chunk lies: pure arithmetic from the sizes of the files, the same for writer and reader.

use super::{MAX_DATA_BYTES, MAX_TAGS_BYTES, PAGE, TAG_BYTES};

/// The sizes do not fit the limits of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the files are larger than the format allows ({MAX_DATA_BYTES} bytes of data, {MAX_TAGS_BYTES} bytes of tags); seal with a larger chunk size or split the model"
)]
pub struct LayoutError;

/// Where one file lies in `data` and `tags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its plaintext length.
    pub size: u64,
    /// Its first byte in `data`, a multiple of a page.
    pub offset: u64,
    /// Its first tag, counted in tags.
    pub first_tag: u64,
    /// How many chunks it has; none when it is empty.
    pub chunks: u64,
}

/// One chunk of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which chunk of its file.
    pub index: u64,
    /// Its first byte in `data`.
    pub offset: u64,
    /// Its length in `data`: plaintext and zeros up to the next page.
    pub padded: usize,
    /// Its length in the file.
    pub plain: usize,
    /// Its tag, counted in tags.
    pub tag: u64,
    /// Whether it is its file's last.
    pub last: bool,
}

/// All extents, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// One for each file.
    pub extents: Vec<Extent>,
    /// Length of `data`.
    pub data_bytes: u64,
    /// Length of `tags`.
    pub tags_bytes: u64,
    /// Bytes in a chunk.
    pub chunk_size: u32,
}

impl Layout {
    /// Lays files of these sizes out behind each other.
    ///
    /// # Errors
    /// When they exceed the limits of the format.
    pub fn of(sizes: impl Iterator<Item = u64>, chunk_size: u32) -> Result<Self, LayoutError> {
        let (mut offset, mut first_tag) = (0_u64, 0_u64);
        let mut extents = Vec::new();
        for size in sizes {
            let chunks = size.div_ceil(u64::from(chunk_size));
            extents.push(Extent {
                size,
                offset,
                first_tag,
                chunks,
            });
            let padded = size.checked_next_multiple_of(PAGE).ok_or(LayoutError)?;
            offset = offset.checked_add(padded).ok_or(LayoutError)?;
            first_tag = first_tag.checked_add(chunks).ok_or(LayoutError)?;
            // Checked here too, so that the sums of many files cannot wrap.
            if offset > MAX_DATA_BYTES || first_tag > MAX_TAGS_BYTES / TAG_BYTES as u64 {
                return Err(LayoutError);
            }
        }
        let tags_bytes = first_tag * TAG_BYTES as u64;
        Ok(Self {
            extents,
            data_bytes: offset,
            tags_bytes,
            chunk_size,
        })
    }

    /// Chunk `index` of file `ordinal`, when there is one.
    #[must_use]
    pub fn chunk(&self, ordinal: usize, index: u64) -> Option<Chunk> {
        let extent = self.extents.get(ordinal)?;
        if index >= extent.chunks {
            return None;
        }
        let start = index * u64::from(self.chunk_size);
        let plain = (extent.size - start).min(u64::from(self.chunk_size));
        Some(Chunk {
            index,
            offset: extent.offset + start,
            padded: usize::try_from(plain.next_multiple_of(PAGE)).ok()?,
            plain: usize::try_from(plain).ok()?,
            tag: extent.first_tag + index,
            last: index + 1 == extent.chunks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_tile_data_without_gap_or_overlap(
            sizes in proptest::collection::vec(0_u64..600_000, 0..8),
            exponent in 16_u32..20,
        ) {
            let layout = Layout::of(sizes.iter().copied(), 1 << exponent).unwrap();
            let (mut offset, mut tag) = (0, 0);
            for (ordinal, size) in sizes.iter().enumerate() {
                let mut plain = 0;
                for index in 0..layout.extents[ordinal].chunks {
                    let chunk = layout.chunk(ordinal, index).unwrap();
                    prop_assert_eq!(chunk.offset, offset);
                    prop_assert_eq!(chunk.tag, tag);
                    prop_assert_eq!(chunk.offset % PAGE, 0);
                    prop_assert!(chunk.padded >= chunk.plain && chunk.padded <= 1 << exponent);
                    offset += chunk.padded as u64;
                    plain += chunk.plain as u64;
                    tag += 1;
                    prop_assert_eq!(chunk.last, plain == *size);
                }
                prop_assert_eq!(plain, *size);
                prop_assert!(layout.chunk(ordinal, layout.extents[ordinal].chunks).is_none());
            }
            prop_assert_eq!(offset, layout.data_bytes);
            prop_assert_eq!(tag * 16, layout.tags_bytes);
        }
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        assert!(Layout::of([u64::MAX].into_iter(), 1 << 20).is_err());
        assert!(Layout::of([MAX_DATA_BYTES, MAX_DATA_BYTES].into_iter(), 1 << 22).is_err());
        assert!(Layout::of([1 << 44].into_iter(), 1 << 16).is_err());
    }
}
