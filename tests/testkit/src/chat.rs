//! The example `chat`, made ready to run.
