//! How things stand with relays, for people.

use std::{net::SocketAddr, time::Duration};

use lacis_proto::RelayId;

use super::Relays;
use crate::path::NatSummary;

/// How things stand with all relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaysView {
    /// The relays of the map.
    pub relays: Vec<RelayView>,
    /// What stands between this node and the outside.
    pub nat: NatSummary,
    /// This node as it is seen from outside.
    pub outside: Vec<SocketAddr>,
    /// Whether measurements are under way.
    pub measuring: bool,
}

/// How things stand with one relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayView {
    /// The relay.
    pub id: RelayId,
    /// What people call it.
    pub label: String,
    /// 0 for the home, 1 for the backup.
    pub rank: Option<u8>,
    /// How leases are held there: over TLS or UDP; `None` where there is none.
    pub tls: Option<bool>,
    /// Where it is reached.
    pub remote: Option<SocketAddr>,
    /// Round trip.
    pub rtt: Option<Duration>,
    /// Whether it is about to stop.
    pub leaving: bool,
    /// Why it cannot be reached over TLS.
    pub trouble: Option<String>,
}

impl Relays {
    /// How things stand.
    #[must_use]
    pub fn view(&self) -> RelaysView {
        let (outside, nat) = self.judge();
        let relays = self.sites.values().map(|site| {
            let bound = site.bound().next();
            let rank = self.choice.chosen().position(|id| *id == site.entry.id);
            RelayView {
                id: site.entry.id.clone(),
                label: site.entry.label.clone(),
                rank: rank.and_then(|rank| u8::try_from(rank).ok()),
                tls: bound.as_ref().map(|lease| lease.tls),
                remote: bound.map(|lease| lease.remote),
                rtt: site.distance(Duration::ZERO),
                leaving: site.is_leaving(),
                trouble: site.trouble().map(str::to_owned),
            }
        });
        let measuring = self.measured_since.is_some() || self.stun.is_asking();
        RelaysView { relays: relays.collect(), nat, outside, measuring }
    }
}
