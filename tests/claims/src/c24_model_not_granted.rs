//! C24: a caller reaches only the model versions that the ticket names.

use crate::lab::gate::Scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c24_another_version_is_refused() {
    let other = r#"{"model":"smol@2","messages":[]}"#;
    let ours = Scene::with(|scene| other.clone_into(&mut scene.body));
    // The profile's row says where the model's name stands; without it, nobody looks.
    let without = Scene::with(|scene| {
        other.clone_into(&mut scene.body);
        for route in &mut scene.stage.profile.routes {
            route.model = None;
        }
        scene.ticket.authorization_details[0].models.clear();
        scene.standing.flows[0].models.clear();
    });
    let reference = Reference {
        what: "a route rule without a look at the body",
        attempt: Attempt::of(&without),
    };
    judge(
        "C24",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}
