//! From asking for a sandbox to the program in it running: ours beside plain runc.
//!
//! Written when the sandbox can be started by itself.
