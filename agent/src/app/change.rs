//! Changes of the groups that a running agent is in, one at a time: joins and leaves.
//!
//! A change talks to control in a task of its own, so that the loop goes on; the enrolment on disk is
//! the truth, and the loop takes over what the task wrote there.

use ipnetwork::IpNetwork;
use lacis_agent_core::Event;
use lacis_proto::{Endpoint, GroupId, JoinToken};
use tokio::sync::oneshot;

use super::{
    AgentError, Input,
    enrol::{Enroller, Range, gateway_key_of, hosted, key_of},
    run::{Ending, Running},
};

/// What may be changed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Join with a token.
    Join(Box<JoinToken>),
    /// Leave a group: its id or label.
    Leave(String),
    /// Take a new key in a group, by its id or label, or in all.
    RotateKey(Option<String>),
    /// Leave every group, end, and leave nothing behind on this host.
    Purge,
    /// End; membership stays.
    Down,
}

const NO_SUCH_GROUP: &str = "this node is in no group of that id or label";

/// Where the answer to a change goes.
pub(super) type Answer = oneshot::Sender<Result<(), String>>;

/// A change under way.
#[derive(Debug)]
pub(super) struct Changing {
    /// Whether the agent ends with nothing left once it is done.
    purge: bool,
    answer: Option<Answer>,
}

impl Running {
    /// Asks control for the peers that a former run was granted and did not get.
    pub(super) fn ask_for_missing_peers(&mut self) {
        let enrolment = self.enroller.state.enrolment().ok().flatten();
        let Some(mut enrolment) = enrolment.filter(|known| known.grants.len() > known.peers.len()) else {
            return;
        };
        let (enroller, endpoints, taken) = (self.enroller.clone(), self.endpoints.clone(), self.taken());
        self.set_off(
            false,
            None,
            async move { enroller.host_peers(&mut enrolment, &endpoints, &taken).await },
        );
    }

    /// Asks control anew for this node's peer of a group.
    pub(super) fn host_again(&mut self, group: GroupId) {
        // What is under way may be the very reason; control says it again if it is not.
        let enrolment = self.enroller.state.enrolment().ok().flatten().filter(|_| self.changing.is_none());
        let Some(mut enrolment) = enrolment else { return };
        enrolment.peers.retain(|peer| peer.group != group);
        let (enroller, endpoints, taken) =
            (self.enroller.clone(), self.endpoints.clone(), self.taken_beside(&group));
        self.set_off(
            false,
            None,
            async move { enroller.host_peers(&mut enrolment, &endpoints, &taken).await },
        );
    }

    /// Begins a change; its answer comes when it is done.
    pub(super) fn begin(&mut self, change: Change, answer: Answer) {
        if self.changing.is_some() {
            return tell(answer, Err(&AgentError::Change("another join or leave is under way; try again")));
        }
        let enroller = self.enroller.clone();
        match change {
            Change::Down => {
                self.ending = Some(Ending::Told);
                tell(answer, Ok(()));
            }
            Change::Join(token) => {
                let (endpoints, taken) = (self.endpoints.clone(), self.taken());
                let join = async move { join(&enroller, &token, &endpoints, &taken).await };
                self.set_off(false, Some(answer), join);
            }
            Change::Leave(name) => match self.group_called(&name) {
                Some(group) => {
                    self.set_off(false, Some(answer), async move { leave(&enroller, &[group]).await });
                }
                None => tell(answer, Err(&AgentError::Change(NO_SUCH_GROUP))),
            },
            Change::RotateKey(name) => {
                let found = name.as_ref().map(|name| self.group_called(name));
                let groups: Vec<GroupId> = match found {
                    Some(Some(group)) => vec![group],
                    Some(None) => return tell(answer, Err(&AgentError::Change(NO_SUCH_GROUP))),
                    None => self.core.local().hosted.keys().cloned().collect(),
                };
                let endpoints = self.endpoints.clone();
                let rotate = async move { rotate_keys(&enroller, &groups, &endpoints).await };
                self.set_off(false, Some(answer), rotate);
            }
            Change::Purge => {
                let all: Vec<GroupId> = self.core.local().hosted.keys().cloned().collect();
                self.set_off(true, Some(answer), async move { leave(&enroller, &all).await });
            }
        }
    }

    /// Has a change made beside the loop, which hears of its end.
    fn set_off(
        &mut self,
        purge: bool,
        answer: Option<Answer>,
        change: impl Future<Output = Result<(), AgentError>> + Send + 'static,
    ) {
        self.changing = Some(Changing { purge, answer });
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let result = change.await;
            // The loop has ended: what stands on disk is followed at the next start.
            let _ = inputs.send(Input::Changed(result)).await;
        });
    }

    /// Takes over what a change came to.
    pub(super) async fn changed(&mut self, result: Result<(), AgentError>) {
        let Some(changing) = self.changing.take() else { return };
        if let Err(error) = self.follow_enrolment().await {
            tracing::warn!(%error, "the change is not followed");
        }
        if result.is_ok() && changing.purge {
            self.ending = Some(Ending::Purge);
        }
        if let Err(error) = &result {
            tracing::warn!(%error, "the change failed");
        }
        if let Some(answer) = changing.answer {
            tell(answer, result.as_ref().copied());
        }
    }

    /// Brings the loop to what the enrolment on disk says.
    async fn follow_enrolment(&mut self) -> Result<(), AgentError> {
        let Some(enrolment) = self.enroller.state.enrolment()? else { return Ok(()) };
        self.client = self.enroller.client_of(&enrolment)?;
        if enrolment.node != self.core.local().node {
            let reason = "control was restored and knows this node by another id; start the agent again";
            self.ending = Some(Ending::Broken(reason.to_owned()));
            return Ok(());
        }
        for peer in &enrolment.peers {
            let hosted_now = self.core.local().hosted.get(&peer.group);
            let key = key_of(&self.enroller.state, &peer.group)?;
            let gateway = gateway_key_of(&self.enroller.state, &peer.group)?;
            let hosted = hosted(&enrolment, peer, &key, &self.enroller.identity, gateway.as_ref());
            if hosted_now.is_none_or(|now| now.peer != hosted.peer || now.key != hosted.key) {
                self.overlay.add_key(peer.group.clone(), key);
                if let Some(key) = gateway {
                    self.overlay.add_gateway_key(peer.group.clone(), key);
                }
                self.feed(Event::PeerReady { group: peer.group.clone(), hosted }).await;
            }
        }
        let gone: Vec<GroupId> = self.core.local().hosted.keys().cloned().collect();
        for group in gone.into_iter().filter(|group| !enrolment.peers.iter().any(|peer| peer.group == *group))
        {
            self.say_goodbye(group.clone()).await;
            self.feed(Event::Left { group }).await;
        }
        Ok(())
    }

    fn group_called(&self, name: &str) -> Option<GroupId> {
        let is_it = |group: &GroupId| {
            let label = self.core.netmaps().get(group).map(|netmap| netmap.label.as_str());
            group.as_str() == name || label == Some(name)
        };
        self.core.local().hosted.keys().find(|group| is_it(group)).cloned()
    }

    /// Ranges of the groups that this node is in.
    fn taken(&self) -> Vec<Range> {
        self.ranges(|_| true)
    }

    fn taken_beside(&self, group: &GroupId) -> Vec<Range> {
        self.ranges(|other| other != group)
    }

    fn ranges(&self, wanted: impl Fn(&GroupId) -> bool) -> Vec<Range> {
        let netmaps = self.core.netmaps().iter().filter(|(group, _)| wanted(group)).map(|(_, netmap)| netmap);
        netmaps
            .flat_map(|netmap| {
                let ranges = [IpNetwork::V4(netmap.pool), IpNetwork::V6(netmap.prefix6)];
                ranges.map(|range| (netmap.label.clone(), range))
            })
            .collect()
    }
}

async fn join(
    enroller: &Enroller,
    token: &JoinToken,
    endpoints: &[Endpoint],
    taken: &[Range],
) -> Result<(), AgentError> {
    let known = enroller.state.enrolment()?.ok_or(AgentError::NotEnrolled)?;
    let mut enrolment = enroller.join(Some(known), token).await?;
    enroller.host_peers(&mut enrolment, endpoints, taken).await
}

async fn rotate_keys(
    enroller: &Enroller,
    groups: &[GroupId],
    endpoints: &[Endpoint],
) -> Result<(), AgentError> {
    let mut enrolment = enroller.state.enrolment()?.ok_or(AgentError::NotEnrolled)?;
    for group in groups {
        enroller.rotate_key(&mut enrolment, group, endpoints).await?;
    }
    Ok(())
}

async fn leave(enroller: &Enroller, groups: &[GroupId]) -> Result<(), AgentError> {
    let mut enrolment = enroller.state.enrolment()?.ok_or(AgentError::NotEnrolled)?;
    for group in groups {
        enroller.leave(&mut enrolment, group).await?;
    }
    Ok(())
}

fn tell(answer: Answer, result: Result<(), &AgentError>) {
    // Whoever asked may have gone away; the change stands.
    let _ = answer.send(result.map_err(|error| crate::overlay::report(error)));
}
