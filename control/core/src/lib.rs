//! Rules of a Lacis control service: who may join, which address, what a node is told. Without I/O.
//!
//! ```text
//! Command ─▶ decide(&State, &Batch, …) ─▶ Decision { reply, rows, changes }   or a Problem
//!                                             │
//!              the store writes the rows ◀────┼────▶ State::apply takes them in
//!              a Scope commits the changes ◀──┘
//! ```
//! `decide` changes nothing; a refusal and a replay have no rows and spend no revision. Time, random
//! bytes and what agents have applied come in as values ([`Facts`]). Rows are the one way into memory:
//! those of a decision and those of the store are taken in by the same [`State::apply`].

#![forbid(unsafe_code)]

mod access;
mod alloc;
mod command;
mod decision;
mod group;
mod join;
pub mod limits;
mod netmap;
mod peer;
mod registered;
mod report;
mod row;
mod state;
mod text;

#[cfg(test)]
mod tests;

pub use access::{api_token, secret_matches};
pub use alloc::{PoolExhausted, allocate};
pub use command::{Command, Facts, Install, NewGroup, Random, Reply, decide};
pub use decision::{Batch, Decision};
pub use netmap::{scope_of_group, scope_of_node, scopes_for};
pub use registered::NewPeer;
pub use row::{
    ApiTokenRow, AuditRow, GrantRow, GroupRow, JoinTokenRow, JoinUseRow, MemberRow, NodeRow, NodeState,
    OwnerRow, PeerRow, ReleasedHost, Row, TombstoneRow,
};
pub use state::{Group, State};
