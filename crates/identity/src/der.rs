//! A reader of DER (X.690) that accepts one encoding of each value and nothing else.
//!
//! Certificates are read here a second time, beside the path builder, because a library that skips
//! what it cannot parse cannot prove "exactly one URI name".

/// The bytes are not the one encoding that DER allows, or not the value that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the DER structure expected at {0}")]
pub(crate) struct DerError(pub(crate) &'static str);

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// A tag of class "context-specific": primitive or constructed.
pub(crate) const fn context(number: u8, constructed: bool) -> u8 {
    0x80 | number | if constructed { 0x20 } else { 0 }
}

/// What is left to read of one structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// One element: its tag, its content, and its full encoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) encoded: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever its tag.
    pub(crate) fn element(&mut self, what: &'static str) -> Result<Element<'a>, DerError> {
        let error = DerError(what);
        let whole = self.rest;
        let (&tag, after_tag) = whole.split_first().ok_or(error)?;
        // No structure here has a tag number above 30.
        if tag & 0x1f == 0x1f {
            return Err(error);
        }
        let (&first, after_first) = after_tag.split_first().ok_or(error)?;
        let (length, after_length) = if first < 0x80 {
            (usize::from(first), after_first)
        } else {
            let count = usize::from(first & 0x7f);
            if !(1..=3).contains(&count) {
                return Err(error); // indefinite, or longer than anything we read
            }
            let (digits, rest) = after_first.split_at_checked(count).ok_or(error)?;
            let length = digits
                .iter()
                .fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
            let shortest = if length < 0x80 {
                0
            } else {
                length.ilog2() as usize / 8 + 1
            };
            if shortest != count {
                return Err(error);
            }
            (length, rest)
        };
        let (content, rest) = after_length.split_at_checked(length).ok_or(error)?;
        let (encoded, _) = whole
            .split_at_checked(whole.len() - rest.len())
            .ok_or(error)?;
        self.rest = rest;
        Ok(Element {
            tag,
            content,
            encoded,
        })
    }

    /// The content of the next element, which must have `tag`.
    pub(crate) fn read(&mut self, tag: u8, what: &'static str) -> Result<&'a [u8], DerError> {
        let element = self.element(what)?;
        if element.tag == tag {
            Ok(element.content)
        } else {
            Err(DerError(what))
        }
    }

    /// The inside of the next element, which must be constructed with `tag`.
    pub(crate) fn enter(&mut self, tag: u8, what: &'static str) -> Result<Self, DerError> {
        Ok(Self::new(self.read(tag, what)?))
    }

    /// The next element's content when it has `tag`; otherwise reads nothing.
    pub(crate) fn optional(
        &mut self,
        tag: u8,
        what: &'static str,
    ) -> Result<Option<&'a [u8]>, DerError> {
        if self.rest.first() == Some(&tag) {
            self.read(tag, what).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Fails when bytes are left.
    pub(crate) const fn finish(self, what: &'static str) -> Result<(), DerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerError(what))
        }
    }
}

/// Enters the one element that `bytes` must consist of.
pub(crate) fn only<'a>(
    bytes: &'a [u8],
    tag: u8,
    what: &'static str,
) -> Result<Reader<'a>, DerError> {
    let mut outer = Reader::new(bytes);
    let inner = outer.enter(tag, what)?;
    outer.finish(what)?;
    Ok(inner)
}

/// A BOOLEAN's value: DER allows 0x00 and 0xff only.
pub(crate) fn boolean(content: &[u8], what: &'static str) -> Result<bool, DerError> {
    match content {
        [0x00] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(DerError(what)),
    }
}

/// The bytes of a BIT STRING with a whole number of bytes.
pub(crate) fn whole_bits<'a>(content: &'a [u8], what: &'static str) -> Result<&'a [u8], DerError> {
    match content.split_first() {
        Some((0, bytes)) => Ok(bytes),
        Some(_) | None => Err(DerError(what)),
    }
}

/// A certificate's time, as seconds since 1970.
pub(crate) fn time(element: Element<'_>, what: &'static str) -> Result<u64, DerError> {
    let error = DerError(what);
    let text = std::str::from_utf8(element.content).ok().ok_or(error)?;
    if !text.is_ascii() {
        return Err(error);
    }
    let number = |from: usize, to: usize| -> Result<u64, DerError> {
        let digits = text.get(from..to).ok_or(error)?;
        if digits.bytes().all(|digit| digit.is_ascii_digit()) {
            digits.parse().ok().ok_or(error)
        } else {
            Err(error)
        }
    };
    // RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on, both to the second, in Z.
    let (year, at) = match (element.tag, text.len()) {
        (UTC_TIME, 13) => {
            let short = number(0, 2)?;
            (
                if short < 50 {
                    2000 + short
                } else {
                    1900 + short
                },
                2,
            )
        }
        (GENERALIZED_TIME, 15) => {
            let year = number(0, 4)?;
            if year < 2050 {
                return Err(error);
            }
            (year, 4)
        }
        _ => return Err(error),
    };
    if text.get(at + 10..) != Some("Z") {
        return Err(error);
    }
    let month = u8::try_from(number(at, at + 2)?).ok().ok_or(error)?;
    let day = u8::try_from(number(at + 2, at + 4)?).ok().ok_or(error)?;
    let hour = u8::try_from(number(at + 4, at + 6)?).ok().ok_or(error)?;
    let minute = u8::try_from(number(at + 6, at + 8)?).ok().ok_or(error)?;
    let second = u8::try_from(number(at + 8, at + 10)?).ok().ok_or(error)?;
    let year = i32::try_from(year).ok().ok_or(error)?;
    let month = time::Month::try_from(month).ok().ok_or(error)?;
    let date = time::Date::from_calendar_date(year, month, day)
        .ok()
        .ok_or(error)?;
    let moment = date
        .with_hms(hour, minute, second)
        .ok()
        .ok_or(error)?
        .assume_utc();
    u64::try_from(moment.unix_timestamp()).ok().ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_must_be_the_shortest() {
        for bad in [
            &[0x04, 0x80][..],
            &[0x04, 0x81, 0x01, 0x00],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x84, 0, 0, 0, 1, 0],
            &[0x04, 0x05, 0x00],
            &[0x1f, 0x81, 0x01, 0x00],
            &[0x04],
            &[],
        ] {
            assert!(Reader::new(bad).element("test").is_err(), "{bad:02x?}");
        }
        let mut long = vec![0x04, 0x81, 0x80];
        long.extend([7; 128]);
        assert_eq!(
            Reader::new(&long).read(OCTET_STRING, "test").unwrap().len(),
            128
        );
    }

    #[test]
    fn times_are_read_to_the_second_and_only_in_utc() {
        let read = |tag, text: &'static str| {
            time(
                Element {
                    tag,
                    content: text.as_bytes(),
                    encoded: &[],
                },
                "test",
            )
        };
        assert_eq!(read(UTC_TIME, "700101000001Z"), Ok(1));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Ok(2_524_608_000));
        for (tag, bad) in [
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "700101000000+0000"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700230000000Z"),
            (UTC_TIME, "-70101000000Z"),
            (GENERALIZED_TIME, "20490101000000Z"),
            (GENERALIZED_TIME, "20500101000000.5Z"),
        ] {
            assert!(read(tag, bad).is_err(), "{bad}");
        }
    }
}
