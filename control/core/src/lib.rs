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
mod api_token;
mod command;
mod decision;
mod departure;
mod domain;
mod gateway;
mod group;
mod join;
pub mod limits;
mod member;
mod netmap;
mod node;
mod owner;
mod peer;
mod range;
mod receipt;
mod registered;
mod report;
mod retention;
mod row;
mod scopes;
mod search;
mod state;
mod text;
mod wg_quick;

#[cfg(test)]
mod tests;

pub use access::secret_matches;
pub use alloc::{PoolExhausted, allocate};
pub use api_token::{NewApiToken, api_token, api_token_by_id};
pub use command::{Command, Facts, Install, Random, Remover, Reply, decide};
pub use decision::{Batch, Decision};
pub use gateway::{Front, GatewayEdit, clients, dialled_at, front};
pub use group::{GroupEdit, NewGroup};
pub use member::NewMember;
pub use netmap::{scope_of_group, scope_of_node, scopes_for};
pub use receipt::{Receipt, confirm_within_ms, receipt};
pub use registered::{NewPeer, PeerEdit};
pub use retention::Kept;
pub use row::{
    Access, Actor, ApiTokenRow, AuditRow, DeletedGroupRow, DepartedRow, GatewayRow, GrantRow, GroupRow,
    JoinTokenRow, JoinUseRow, MemberRow, NodeRow, NodeState, OwnerRow, PeerRow, ReleasedHost, Row,
    TombstoneRow,
};
pub use scopes::{Scopes, floors};
pub use search::{Found, search};
pub use state::{Group, State};
pub use wg_quick::{PRIVATE_KEY, by_host, wg_quick};
