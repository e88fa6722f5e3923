//! The prober in real containers: hardened, the runtime's own default, and an engine's default.
//!
//! Nothing is tried on the bare machine: every attack runs in a container with namespaces of its own,
//! against canaries that the test owns. Without root, runc or a built prober the tests say so and pass.

#[cfg(test)]
mod lab;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod variants;
