//! The Lacis agent and command line.
