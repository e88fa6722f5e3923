//! When a certificate ends: the one thing of it that is needed here, read from its DER.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// The end of a certificate's validity.
pub(crate) fn not_after(der: &[u8]) -> Option<OffsetDateTime> {
    let certificate = inside(der, SEQUENCE)?.0;
    let mut fields = inside(certificate, SEQUENCE)?.0;
    // [0] version, when it is said; then serial number, algorithm, issuer; then validity.
    if let Some((_, rest)) = inside(fields, VERSION) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        fields = inside(fields, tag)?.1;
    }
    let validity = inside(fields, SEQUENCE)?.0;
    let (_, rest) = moment(validity)?;
    moment(rest).map(|(end, _)| end)
}

/// The content of the value that `bytes` starts with, when it has this tag, and what stands behind it.
fn inside(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let count = usize::from(*length & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(count)?;
    let length = digits
        .iter()
        .fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
    rest.split_at_checked(length)
}

fn moment(bytes: &[u8]) -> Option<(OffsetDateTime, &[u8])> {
    let (text, rest, century) = match inside(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, None),
        None => {
            let (text, rest) = inside(bytes, GENERAL_TIME)?;
            let (century, text) = text.split_at_checked(2)?;
            (text, rest, Some(number(century)?))
        }
    };
    let pair = |at: usize| text.get(at..at + 2).and_then(number);
    let year = pair(0)?;
    // Two digits mean 1950 to 2049.
    let century = century.unwrap_or(if year >= 50 { 19 } else { 20 });
    let month = Month::try_from(u8::try_from(pair(2)?).ok()?).ok()?;
    let small = |at: usize| pair(at).and_then(|number| u8::try_from(number).ok());
    let date = Date::from_calendar_date(century * 100 + year, month, small(4)?).ok()?;
    let time = Time::from_hms(small(6)?, small(8)?, small(10)?).ok()?;
    Some((PrimitiveDateTime::new(date, time).assume_utc(), rest))
}

/// Digits alone: a sign is none, and would make a year before the calendar.
fn number(digits: &[u8]) -> Option<i32> {
    digits
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
