//! Headers of safetensors files: everything the format promises, checked before a loader believes it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::bytes::{Source, stretch};

/// What is wrong with a file of `length` bytes; nothing when it is as the format says.
pub(crate) fn faults(source: &mut dyn Source, length: u64) -> Vec<String> {
    match read(source, length) {
        Ok(header) => header.faults(),
        Err(fault) => vec![fault],
    }
}

fn read(source: &mut dyn Source, length: u64) -> Result<Header, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let first = stretch(source, 0, 8).map_err(unreadable)?;
    let Ok(first) = <[u8; 8]>::try_from(first.as_slice()) else {
        return Err(format!("{length} bytes hold no header"));
    };
    let size = u64::from_le_bytes(first);
    if size > MAX_HEADER {
        return Err(format!(
            "the header says it has {size} bytes; loaders take at most {MAX_HEADER}"
        ));
    }
    let Some(data) = length
        .checked_sub(8)
        .and_then(|rest| rest.checked_sub(size))
    else {
        return Err(format!(
            "the header says it has {size} bytes, and the file has {length}"
        ));
    };
    if size > MAX_READ {
        return Err(format!(
            "the header has {size} bytes, of which none of a real model's has more than {MAX_READ}"
        ));
    }
    let text = stretch(source, 8, size).map_err(unreadable)?;
    if text.first() != Some(&b'{') {
        return Err("the header does not start with `{`".to_owned());
    }
    let mut header: Header = serde_json::from_slice(&text)
        .map_err(|error| format!("the header is not as it must be: {error}"))?;
    header.data = data;
    Ok(header)
}

#[derive(Default)]
struct Header {
    tensors: Vec<(String, Tensor)>,
    repeated: Vec<String>,
    hints: Vec<String>,
    /// Bytes behind the header.
    data: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Texts, and nothing else: what the format allows as metadata.
struct Texts(Vec<(String, String)>);

impl Header {
    fn faults(mut self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .repeated
            .iter()
            .map(|name| format!("`{name}` is there twice: loaders disagree about which one counts"))
            .chain(
                self.hints
                    .iter()
                    .map(|name| format!("metadata `{name}` holds code")),
            )
            .collect();
        for (name, tensor) in &self.tensors {
            faults.extend(tensor.fault(name));
        }
        self.tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
        let mut end = 0;
        for (name, tensor) in &self.tensors {
            let (start, next) = tensor.data_offsets;
            if start < end {
                faults.push(format!(
                    "`{name}` overlaps the tensor before it: {start} is below {end}"
                ));
            } else if start > end {
                faults.push(format!(
                    "{} bytes before `{name}` belong to no tensor",
                    start - end
                ));
            }
            end = end.max(next);
        }
        if end > self.data {
            faults.push(format!(
                "tensors end at {end}, and the file has {} bytes of data",
                self.data
            ));
        } else if end < self.data {
            faults.push(format!(
                "{} bytes behind the last tensor belong to nothing",
                self.data - end
            ));
        }
        faults.truncate(MAX_FAULTS);
        faults
    }
}

impl Tensor {
    fn fault(&self, name: &str) -> Option<String> {
        let Some(bits) = bits(&self.dtype) else {
            return Some(format!("`{name}` has the unknown type `{}`", self.dtype));
        };
        let (start, end) = self.data_offsets;
        let Some(span) = end.checked_sub(start) else {
            return Some(format!(
                "`{name}` ends at {end}, before it starts at {start}"
            ));
        };
        let wanted = self
            .shape
            .iter()
            .try_fold(bits, |product, side| product.checked_mul(*side));
        let Some(wanted) = wanted else {
            return Some(format!(
                "the shape of `{name}` is larger than a number can say: a loader's buffer overflows"
            ));
        };
        (wanted != span.saturating_mul(8)).then(|| {
            format!(
                "`{name}` needs {} bytes by its shape, and has {span}",
                wanted.div_ceil(8)
            )
        })
    }
}

fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut names = BTreeSet::new();
                while let Some(name) = members.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        header.repeated.push(name.clone());
                    }
                    if name == "__metadata__" {
                        let Texts(texts) = members.next_value()?;
                        let code = |text: &str| CODE.iter().any(|part| text.contains(part));
                        header.hints.extend(
                            texts
                                .into_iter()
                                .filter(|(_, text)| code(text))
                                .map(|(name, _)| name),
                        );
                    } else {
                        header.tensors.push((name, members.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self(texts.into_iter().collect()))
    }
}

/// What no description of a model needs.
const CODE: &[&str] = &[
    "__import__(",
    "os.system(",
    "subprocess.",
    "eval(",
    "exec(",
    "base64.b64decode(",
];
/// The reference's own bound.
const MAX_HEADER: u64 = 100_000_000;
/// What is read here: a hundred thousand tensors fit.
const MAX_READ: u64 = 32 * 1024 * 1024;
const MAX_FAULTS: usize = 8;

#[cfg(test)]
mod tests;
