//! JSON Schemas of the types that are written as one string.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::name::{ModelVersion, Name};
use crate::profile::{Pointer, Template};
use crate::spiffe::{SpiffeId, TrustDomain};

macro_rules! string_schema {
    ($($type:ty, $name:literal, $pattern:literal, $about:literal;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    )*};
}

string_schema! {
    Name, "Name", "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", "lower-case letters, digits and `-`";
    ModelVersion, "ModelVersion", "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?@[A-Za-z0-9._-]{1,63}$", "`name@version`";
    TrustDomain, "TrustDomain", "^[a-z0-9._-]{1,255}$", "a SPIFFE trust domain, without a scheme";
    SpiffeId, "SpiffeId", "^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*$", "a SPIFFE ID";
    Template, "Template", "^/", "a path; `{word}` stands for one segment";
    Pointer, "Pointer", "^(/[A-Za-z0-9_.-]+)+$", "a JSON pointer to a member of the body";
}
