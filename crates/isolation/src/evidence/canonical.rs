//! One text for one value: JSON with sorted keys and no spaces.

use serde::Serialize;
use serde_json::Value;

/// The canonical bytes of `value`; empty for a value that JSON cannot hold, which no type here is.
#[must_use]
pub fn canonical_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(value) = serde_json::to_value(value) {
        write(&value, &mut bytes);
    }
    bytes
}

/// Sorts by itself, because another crate may switch on the feature that keeps the order of insertion.
fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            bytes.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write(item, bytes);
            }
            bytes.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(left, _), (right, _)| left.as_bytes().cmp(right.as_bytes()));
            bytes.push(b'{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write(&Value::String(name.clone()), bytes);
                bytes.push(b':');
                write(member, bytes);
            }
            bytes.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            bytes.extend(value.to_string().into_bytes());
        }
    }
}
