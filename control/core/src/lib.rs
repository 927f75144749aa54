//! Rules of a Lacis control service, without I/O.
