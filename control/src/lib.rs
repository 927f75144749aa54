//! The Lacis control service.
