//! C28: a body that two parsers could read differently is refused, so that what was checked is what
//! the server reads.

use casemate_core::control::{self, Control};
use serde_json::Value;

use crate::lab::gate::Scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c28_a_model_named_twice_is_refused() {
    // One of the two is granted. Servers differ in which of them they take.
    let last = r#"{"model":"smol@2","messages":[],"model":"smol@1"}"#;
    let first = r#"{"model":"smol@1","messages":[],"model":"smol@2"}"#;
    let ask = |body: &'static str| Scene::with(|scene| body.clone_into(&mut scene.body));
    let ours = ask(last);
    assert!(ask(first).is_err(), "the other order is admitted");
    // The gate reads the last of the two, finds it granted, and passes all bytes on.
    let without = control::without(Control::OneReading, || ask(last));
    let read: Value = serde_json::from_str(first).unwrap();
    let reference = Reference {
        what: "a usual JSON parser behind a gate that reads the first,",
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
