//! Rules of a Lacis agent, without I/O.
