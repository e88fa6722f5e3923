//! One file per line of CLAIMS.md.
//!
//! Each claim is tried three ways: as we run it, where it must hold; the same with that one control
//! taken away, where it must fail, so that the test is seen to be able to fail; and in something
//! that people run today, which is reported beside it. [`lab`] has what the files share.
#![cfg(test)]

mod lab;

mod c13_changed_weights;
mod c14_cut_weights;
mod c15_older_epoch;
mod c16_unknown_signer;
mod c17_copied_disk;
mod c21_certificate_required;
mod c22_ticket_bound_to_holder;
mod c23_ticket_expires;
mod c24_model_not_granted;
mod c25_admin_routes;
mod c26_paths_in_disguise;
mod c27_revocation_cuts;
mod c28_one_reading_of_a_body;
mod c29_one_type_of_token;
mod c30_receipts_are_a_chain;
