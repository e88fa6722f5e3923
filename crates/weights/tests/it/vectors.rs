//! The published test vectors still read, by us and by the second reader in Python.
