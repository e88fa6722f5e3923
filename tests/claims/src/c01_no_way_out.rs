//! C01: nothing that a stage sends reaches anything outside its own network namespace.

use casemate_testkit::needs_host;

use crate::lab::sandbox::Lab;
use crate::lab::{Attempt, Reference, judge};

#[test]
fn c01_a_datagram_does_not_arrive_anywhere() {
    needs_host!();
    let lab = Lab::new();
    let address = lab.witness_address();
    let words = ["udp", address.as_str()];
    // Judged by who it arrives at, not by what the sender was told.
    let arrived = |lab: &Lab| {
        if lab.witnessed() {
            Attempt::Worked
        } else {
            Attempt::Stopped("the network namespace".to_owned())
        }
    };
    lab.ours(&words);
    let ours = arrived(&lab);
    let neighbour = lab.neighbour().display().to_string();
    lab.without(&words, |plan| plan.network = lab.neighbour());
    let without = arrived(&lab);
    // A container on a bridge shares a network with the host; here, with the witness.
    lab.reference(&words, |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = neighbour.clone().into();
            }
        }
    });
    let reference = Reference {
        what: "a container on a shared network",
        attempt: arrived(&lab),
    };
    judge("C01", &ours, &without, Some(reference));
}
