//! C25: what changes the server or shows other callers' data is out of reach, even for a flow and a
//! ticket that name it.

use casemate_core::profile::Grantable;

use crate::lab::gate::{Scene, scene};
use crate::lab::{Attempt, judge};

#[test]
fn c25_no_grant_opens_an_administrative_route() {
    for path in ["/slots", "/props", "/lora-adapters"] {
        let admin = scene()
            .stage
            .profile
            .routes
            .into_iter()
            .find(|route| route.method.as_str() == "GET" && route.template.matches(path))
            .unwrap_or_else(|| panic!("the profile knows {path}"));
        let ask = |scene: &mut Scene| {
            scene.method = "GET";
            path.clone_into(&mut scene.path);
            scene.body.clear();
            // Somebody wrote a flow and issued a ticket for it.
            scene.ticket.authorization_details[0]
                .routes
                .push(admin.class.clone());
            scene.standing.flows[0].routes.push(admin.class.clone());
        };
        let ours = Scene::with(ask);
        let without = Scene::with(|scene| {
            ask(scene);
            for class in &mut scene.stage.profile.classes {
                class.grant = Grantable::ByFlow;
            }
        });
        judge(
            &format!("C25 {path}"),
            &Attempt::of(&ours),
            &Attempt::of(&without),
            None,
        );
    }
}
