//! What the local API may ask of the loop.

use std::net::IpAddr;

use lacis_agent_core::{AgentCore, AnswerCode, Kind, Netmap, Question as DnsQuestion, RrValue};
use lacis_proto::{GroupId, sanitize};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Change, Input, Options, status::peer_label};
use crate::{
    logs::Logs,
    status::{Explained, Netcheck, Pong, Status},
};

/// A peer that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) group: GroupId,
    pub(crate) address: IpAddr,
    pub(crate) name: String,
}

/// One question to the loop, with where the answer goes.
#[derive(Debug)]
pub(crate) enum Question {
    Status(oneshot::Sender<Status>),
    Metrics(oneshot::Sender<String>),
    Explain { peer: Resolved, answer: oneshot::Sender<Option<Explained>> },
    Measure(oneshot::Sender<()>),
    Netcheck(oneshot::Sender<Netcheck>),
    Resolve { target: String, family: Option<u8>, answer: oneshot::Sender<Option<Resolved>> },
    Probe { to: Resolved, seq: u16, answer: oneshot::Sender<Pong> },
    Change { change: Change, answer: oneshot::Sender<Result<(), String>> },
}

/// Asks the loop. Every answer is `None` when the agent has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    inputs: mpsc::Sender<Input>,
    changes: watch::Receiver<u64>,
    logs: Logs,
    journal: Option<String>,
}

impl Ask {
    pub(super) fn new(inputs: mpsc::Sender<Input>, changes: watch::Receiver<u64>, options: &Options) -> Self {
        Self { inputs, changes, logs: options.logs.clone(), journal: options.journal.clone() }
    }

    /// What the agent says.
    pub(crate) const fn logs(&self) -> &Logs {
        &self.logs
    }

    /// The unit under which the journal keeps what the agent says.
    pub(crate) fn journal(&self) -> Option<&str> {
        self.journal.as_deref()
    }

    /// The agent's figures, as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> Option<String> {
        self.ask(Question::Metrics).await
    }

    /// What the agent tells of itself.
    pub(crate) async fn status(&self) -> Option<Status> {
        self.ask(Question::Status).await
    }

    /// Why a peer is reached the way it is; inside `None` for this node itself.
    pub(crate) async fn explain(&self, peer: Resolved) -> Option<Option<Explained>> {
        self.ask(|answer| Question::Explain { peer, answer }).await
    }

    /// Has relays measured and observers asked.
    pub(crate) async fn measure(&self) -> Option<()> {
        self.ask(Question::Measure).await
    }

    /// How this node stands to the outside, as far as it is known now.
    pub(crate) async fn netcheck(&self) -> Option<Netcheck> {
        self.ask(Question::Netcheck).await
    }

    /// The peer of this name, label, id or address.
    pub(crate) async fn resolve(&self, target: &str, family: Option<u8>) -> Option<Option<Resolved>> {
        let target = target.to_owned();
        self.ask(|answer| Question::Resolve { target, family, answer }).await
    }

    /// Asks a peer for an echo. Waits without end for a peer that never answers.
    pub(crate) async fn probe(&self, to: &Resolved, seq: u16) -> Option<Pong> {
        let to = to.clone();
        self.ask(|answer| Question::Probe { to, seq, answer }).await
    }

    /// Changes which groups this node is in, or ends the agent.
    pub(crate) async fn change(&self, change: Change) -> Option<Result<(), String>> {
        self.ask(|answer| Question::Change { change, answer }).await
    }

    /// Hears whenever something about the agent's groups changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (send, receive) = oneshot::channel();
        self.inputs.send(Input::Ask(question(send))).await.ok()?;
        receive.await.ok()
    }
}

/// The peer of this name, label, id or address, the node's own included.
pub(super) fn resolve(core: &AgentCore, target: &str, family: Option<u8>) -> Option<Resolved> {
    if let Ok(address) = target.parse::<IpAddr>() {
        return core.netmaps().iter().find_map(|(group, netmap)| {
            let (peer, _) = netmap.peer_with_addr(address)?;
            Some(Resolved { group: group.clone(), address, name: peer_label(netmap, peer) })
        });
    }
    core.netmaps().iter().find_map(|(group, netmap)| {
        let address = by_name(core, target, family).or_else(|| by_id_or_label(netmap, target, family))?;
        let (peer, _) = netmap.peer_with_addr(address)?;
        Some(Resolved { group: group.clone(), address, name: peer_label(netmap, peer) })
    })
}

fn by_name(core: &AgentCore, target: &str, family: Option<u8>) -> Option<IpAddr> {
    let kinds: &[Kind] = match family {
        Some(4) => &[Kind::A],
        Some(6) => &[Kind::Aaaa],
        Some(_) | None => &[Kind::A, Kind::Aaaa],
    };
    kinds.iter().find_map(|kind| {
        let answer = core.zones().answer(&DnsQuestion::new(target, *kind), None);
        let found = answer.answers.into_iter().find_map(|rr| match rr.value {
            RrValue::A(v4) => Some(IpAddr::V4(v4)),
            RrValue::Aaaa(v6) => Some(IpAddr::V6(v6)),
            RrValue::Ptr(_) | RrValue::Ns(_) | RrValue::Soa { .. } => None,
        });
        found.filter(|_| answer.code == AnswerCode::NoError)
    })
}

fn by_id_or_label(netmap: &Netmap, target: &str, family: Option<u8>) -> Option<IpAddr> {
    let wanted = sanitize(target);
    let is_label = |label: &str| label == target || (wanted.is_some() && sanitize(label) == wanted);
    let (_, peer) = netmap.peers.iter().find(|(id, peer)| {
        let member = netmap.members.get(&peer.member);
        id.as_str() == target
            || peer.member.as_str() == target
            || is_label(&peer.label)
            || member.is_some_and(|member| is_label(&member.label))
    })?;
    Some(if family == Some(6) { peer.addrs.v6.into() } else { peer.addrs.v4.into() })
}
