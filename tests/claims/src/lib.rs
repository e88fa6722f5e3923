//! One file per line of CLAIMS.md.
//!
//! Each claim is tried three ways: as we run it, where it must hold; the same with that one control
//! taken away, where it must fail, so that the test is seen to be able to fail; and in something
//! that people run today, which is reported beside it. [`lab`] has what the files share.
#![cfg(test)]

mod lab;

mod c01_no_way_out;
mod c02_only_plain_sockets;
mod c03_no_new_namespaces;
mod c04_scratch_is_not_executable;
mod c05_one_port_to_serve;
mod c06_only_declared_flows;
mod c07_one_daemon_on_a_host;
mod c08_kernel_files_are_masked;
mod c09_processes_are_bounded;
mod c10_memory_is_bounded;
mod c11_nothing_left_in_the_kernel;
mod c12_a_weaker_sandbox_is_noticed;
mod c13_changed_weights;
mod c14_cut_weights;
mod c15_older_epoch;
mod c16_unknown_signer;
mod c17_copied_disk;
mod c18_view_hidden_from_host;
mod c19_no_plaintext_on_disk;
mod c20_dead_daemon_closes_doors;
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
mod c31_rendered_policies_close;
