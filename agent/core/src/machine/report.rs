//! When to report to control: endpoints after they changed, applied cursors when control asks.
//!
//! Life-cycle: something becomes worth telling ([`Reports::endpoints`], [`Reports::acknowledge`]); a
//! moment is set; at that moment, while the stream is live and no report is under way, one report with
//! everything goes out. What control has not confirmed is told again after the next connection.

use std::{collections::BTreeMap, time::Duration};

use lacis_proto::{
    Endpoint, Epoch, GatewayReport, GroupId, MAX_ENDPOINTS, PeerReport, RelayHome, ReportRequest, ScopeId,
};

use crate::{
    Hosted, Local,
    limits::{REPORT_PAUSE, REPORT_SPACING},
};

#[derive(Debug)]
pub(super) struct Reports {
    agent: String,
    seq: u64,
    endpoints: Vec<Endpoint>,
    /// Unknown until relays have answered once: control keeps what it was told by an earlier run.
    homes: Option<Vec<RelayHome>>,
    /// How many plain clients are with this node where it is a gateway.
    clients: BTreeMap<GroupId, u32>,
    applied: BTreeMap<ScopeId, String>,
    /// Control does not know the endpoints yet.
    untold: bool,
    /// Of the last stream.
    epoch: Option<Epoch>,
    due: Option<Duration>,
    under_way: bool,
    /// Until when control asked to be left alone.
    not_before: Duration,
    last_sent: Option<Duration>,
}

impl Reports {
    pub(super) fn new(agent: String, seq: u64, mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.truncate(MAX_ENDPOINTS);
        Self {
            agent,
            seq,
            endpoints,
            homes: None,
            clients: BTreeMap::new(),
            applied: BTreeMap::new(),
            untold: true,
            epoch: None,
            due: None,
            under_way: false,
            not_before: Duration::ZERO,
            last_sent: None,
        }
    }

    /// The endpoints are these now: told after a pause, or after the spacing of reports. `false` where they are
    /// what they were.
    pub(super) fn endpoints(&mut self, now: Duration, mut endpoints: Vec<Endpoint>) -> bool {
        endpoints.truncate(MAX_ENDPOINTS);
        if endpoints == self.endpoints {
            return false;
        }
        self.endpoints = endpoints;
        self.untold = true;
        self.soon(now);
        true
    }

    /// Peers find this node at these relays now: told like endpoints. The first are told without the spacing, because a
    /// node that has just started has told its endpoints a moment ago.
    pub(super) fn homes(&mut self, now: Duration, homes: Vec<RelayHome>) {
        let is_first = self.homes.is_none();
        if self.homes.as_ref() != Some(&homes) {
            self.homes = Some(homes);
            self.untold = true;
            if is_first { self.at(now + REPORT_PAUSE) } else { self.soon(now) }
        }
    }

    /// So many plain clients are with this node now: told like endpoints. Control keeps that in memory alone.
    pub(super) fn clients(&mut self, now: Duration, clients: BTreeMap<GroupId, u32>) {
        if clients != self.clients {
            self.clients = clients;
            self.soon(now);
        }
    }

    /// A peer was added, or has another gateway key: what there is to know of it is to be told.
    pub(super) fn peer_added(&mut self, now: Duration) {
        self.untold = true;
        self.soon(now);
    }

    fn soon(&mut self, now: Duration) {
        let spaced = self.last_sent.map_or(now, |sent| sent + REPORT_SPACING);
        self.at(spaced.max(now + REPORT_PAUSE));
    }

    /// The stream is live: what control may not know is told at once. Returns whether it knows all of it. In another
    /// epoch it was restored, and may have forgotten what it knew.
    pub(super) fn connected(&mut self, now: Duration, epoch: Epoch) -> bool {
        self.untold |= self.epoch.replace(epoch) != Some(epoch);
        // Control may have forgotten who the clients of a gateway are: it started anew, or thinks that this node did.
        if self.untold || !self.clients.is_empty() {
            self.at(now);
        }
        !self.untold
    }

    /// The stream is over. A report under way may have been lost.
    pub(super) const fn disconnected(&mut self) {
        self.under_way = false;
        self.due = None;
    }

    /// These cursors are applied; control wants to know at once.
    pub(super) fn acknowledge(&mut self, now: Duration) {
        self.at(now);
    }

    pub(super) fn applied(&mut self, applied: BTreeMap<ScopeId, String>) {
        self.applied = applied;
    }

    fn at(&mut self, moment: Duration) {
        self.due = Some(self.due.map_or(moment, |due| due.min(moment)));
    }

    /// Control took the report. Returns whether control knows the endpoints of now.
    pub(super) fn done(&mut self, seq: u64) -> bool {
        if seq == self.seq && self.under_way {
            self.under_way = false;
            // A change after it was sent has set a moment of its own.
            self.untold = self.due.is_some();
        }
        !self.untold
    }

    /// Control did not take the report: told again after the spacing, and not before `wait` is over.
    pub(super) fn failed(&mut self, now: Duration, seq: u64, wait: Duration) {
        self.not_before = now + wait;
        if seq == self.seq && self.under_way {
            self.under_way = false;
            self.untold = true;
            self.at(now + REPORT_SPACING);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.map(|due| due.max(self.not_before)).filter(|_| !self.under_way)
    }

    /// The report that is due by now.
    pub(super) fn take_due(&mut self, now: Duration, local: &Local) -> Option<ReportRequest> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.due = None;
        self.under_way = true;
        self.last_sent = Some(now);
        self.seq += 1;
        let peer = |(group, hosted): (&GroupId, &Hosted)| PeerReport {
            peer: hosted.peer.clone(),
            endpoints: self.endpoints.clone(),
            relays: self.homes.clone(),
            statement: hosted.statement.clone(),
            gateway: gateway(local, hosted, self.clients.get(group).copied().unwrap_or_default()),
        };
        Some(ReportRequest {
            seq: self.seq,
            agent: self.agent.clone(),
            peers: local.hosted.iter().map(peer).collect(),
            applied: self.applied.clone(),
        })
    }
}

/// What is to be told of a peer as a gateway.
fn gateway(local: &Local, hosted: &Hosted, clients: u32) -> Option<GatewayReport> {
    let offer = local.offer.clone().unwrap_or_default();
    let (key, rotations) = (hosted.gateway_key, hosted.gateway_rotations);
    let said = GatewayReport { key, rotations, clients, ..offer };
    (said != GatewayReport::default()).then_some(said)
}
