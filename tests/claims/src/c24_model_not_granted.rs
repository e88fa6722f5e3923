//! C24: a caller reaches only the model versions that the ticket names.

use casemate_core::control::{self, Control};

use crate::lab::gate::Scene;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c24_another_version_is_refused() {
    let other = r#"{"model":"smol@2","messages":[]}"#;
    let ask = |scene: &mut Scene| other.clone_into(&mut scene.body);
    let ours = Scene::with(ask);
    let without = control::without(Control::GrantedModel, || Scene::with(ask));
    // A profile whose rows do not say where the model's name stands, so that nobody looks.
    let routes_alone = Scene::with(|scene| {
        ask(scene);
        for route in &mut scene.stage.profile.routes {
            route.model = None;
        }
        scene.ticket.authorization_details[0].models.clear();
        scene.standing.flows[0].models.clear();
    });
    let reference = Reference {
        what: "a route rule without a look at the body",
        attempt: Attempt::of(&routes_alone),
    };
    judge(
        "C24",
        &Attempt::of(&ours),
        &Attempt::of(&without),
        Some(reference),
    );
}
