//! C28: a body that two parsers could read differently is refused, so that what was checked is what
//! the server reads.

use serde_json::Value;

use crate::lab::gate::Scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c28_a_model_named_twice_is_refused() {
    // The first is granted; many servers take the last.
    let body = r#"{"model":"smol@1","messages":[],"model":"smol@2"}"#;
    let ours = Scene::with(|scene| body.clone_into(&mut scene.body));
    // A lenient gate reads the first of the two, finds it granted, and passes the bytes on.
    let without = Scene::with(|scene| {
        scene.body = body.replace(r#","model":"smol@2""#, "");
    });
    let read: Value = serde_json::from_str(body).unwrap();
    let reference = Reference {
        what: "a usual JSON parser, which reads the other model,",
        attempt: if read["model"] == "smol@2" {
            Attempt::Worked
        } else {
            Attempt::Stopped("its parser".to_owned())
        },
    };
    judge(
        "C28",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}
