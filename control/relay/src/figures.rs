//! Counters of a relay: workers add what they did once per batch.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a relay has done since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters, shared by all threads.
        #[derive(Debug, Default)]
        pub(crate) struct Figures {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Figures {
            /// The counters as they are.
            pub(crate) fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }

            /// Adds what a worker has counted since, and empties that.
            pub(crate) fn add(&self, counted: &mut Snapshot) {
                $(if counted.$name != 0 {
                    self.$name.fetch_add(counted.$name, Ordering::Relaxed);
                })*
                *counted = Snapshot::default();
            }
        }
    };
}

figures! {
    /// Frames forwarded.
    packets,
    /// Bytes forwarded, with headers.
    bytes,
    /// Frames dropped because a lease or a group sends more than it may.
    over_rate,
    /// Frames dropped because their receiver blocks the sender.
    blocked,
    /// Frames for ends without a lease.
    unknown,
    /// Frames from where their lease is not bound.
    not_bound,
    /// Frames that the kernel did not take.
    refused,
    /// Datagrams that are neither frames nor STUN, or truncated.
    malformed,
    /// HELLOs and REFRESHes dropped because one source sent too many, or the desk had no room.
    flooded,
    /// HELLOs and REFRESHes refused: a bad token, a wrong MAC, a replay.
    forged,
    /// HELLOs that were asked to come again with a cookie.
    retried,
    /// STUN requests and probes answered.
    probes,
    /// Leases granted.
    granted,
    /// Leases that moved to another source.
    moved,
}
