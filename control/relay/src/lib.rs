//! The Lacis relay: forwards sealed packets between members of one group, and tells hosts their address from outside.
//!
//! ```text
//!  UDP ─ recvmmsg, merged ─▶ worker ── DATA: forward.rs decides, header rewritten in place ─▶ sendmmsg, segmented ─▶ UDP
//!                              │ HELLO, REFRESH, BLOCK                ▲ reads
//!                              ▼                                     │
//!                            desk: lease.rs decides ── writes ──▶ table.rs
//!  TLS ─ shell ─▶ TlsLeg ─ the same decisions ─▶ UDP, or the queue of another TLS leg
//! ```
//! A relay knows no peer's key and no control but by the public keys it was given. [`lacis_proto::relay`] is what is said.
//! A worker has one socket of its own on the shared port and takes no lock; the desk, one thread, is the only writer of
//! the table that all workers read. A flood of HELLOs therefore never slows DATA: it fills its own queue, and from then
//! on only who can read at its source address gets into it.

#[doc(hidden)]
pub mod bench;
mod clock;
mod cookie;
mod desk;
mod figures;
mod forward;
mod kept;
mod lease;
mod leg;
mod limiter;
mod limits;
mod running;
mod table;
mod tls;
mod told;
mod udp;

pub use figures::Snapshot;
pub use lease::Revocation;
pub use limits::{CLASSES, COME_BACK, ClassRate, Limits};
pub use running::{Relay, RelayKey, Settings, StartError, beside, start};
pub use tls::{TlsLeg, TooFast};
