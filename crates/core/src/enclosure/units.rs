//! Sizes and processor counts as people write them.

use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// A text that is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number with a unit, such as `512MiB` or `2GiB`")]
pub(super) struct ParseBytesError(String);

impl FromStr for Bytes {
    type Err = ParseBytesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseBytesError(text.chars().take(64).collect());
        let digits = text.find(|character: char| !character.is_ascii_digit());
        let (number, unit) = digits.map_or((text, ""), |at| text.split_at(at));
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .ok_or_else(error)?;
        let number: u64 = number.parse().map_err(|_| error())?;
        number
            .checked_mul(*factor)
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(error)
    }
}

/// Thousandths of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millicpus(pub(super) u32);

/// A text that is not a number of processors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a number of processors: write `2` or `0.5`, from 0.01 to 1024")]
pub(super) struct ParseMillicpusError(String);

impl FromStr for Millicpus {
    type Err = ParseMillicpusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Read digit by digit: a floating-point number would also take `1e3`, `inf` and `NaN`.
        let error = || ParseMillicpusError(text.chars().take(64).collect());
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 3 || whole.len() > 4 {
            return Err(error());
        }
        let part = format!("{part:0<3}").parse::<u32>().map_err(|_| error())?;
        let whole = whole.parse::<u32>().map_err(|_| error())?;
        let total = whole.saturating_mul(1000).saturating_add(part);
        if (10..=1_024_000).contains(&total) {
            Ok(Self(total))
        } else {
            Err(error())
        }
    }
}

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(bytes("500MB"), Ok(500_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        for bad in [
            "",
            "0",
            "GiB",
            "2G",
            "2gib",
            "-1",
            "1.5GiB",
            "99999999999TiB",
            "2GiBx",
            "0x10",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_read_as_thousandths() {
        let cpus = |text: &str| text.parse::<Millicpus>().map(|cpus| cpus.0);
        assert_eq!(cpus("2"), Ok(2000));
        assert_eq!(cpus("0.5"), Ok(500));
        assert_eq!(cpus("1.25"), Ok(1250));
        for bad in [
            "", "0", "0.001", "1e3", "inf", "NaN", "-1", ".5", "2.", "5000", "1.2345",
        ] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }
}
