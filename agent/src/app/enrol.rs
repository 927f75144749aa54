//! Brings a node into groups: the join, once per token, and a peer for each grant.
//!
//! Each step is on disk before the next begins, and each can be repeated: an agent killed anywhere here
//! goes on at its next start, and control gives the same answers again.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use ipnetwork::IpNetwork;
use lacis_agent_core::{Hosted, interface_name};
use lacis_proto::{
    Code, ControlId, Endpoint, GroupId, JoinRequest, JoinToken, PeerReply, PeerRequest, PeerStatement, Pin,
    PublicKey, Run, Signature, SignedStatement, Signer, version,
};
use lacis_tunnel::{PrivateKey, generate_private_key};

use super::AgentError;
use crate::{
    clock::Clock,
    control::{Caller, ControlClient, Dialer, FirstUrl, Proxy, Trust, identity_key},
    host::{Host, overlap},
    state::{Enrolment, HostedPeer, SignedGrant, State},
};

/// This agent's version.
pub(super) const AGENT: &str = env!("CARGO_PKG_VERSION");

/// What it takes to bring this node into a group. Cheap to clone, so that a join can have a task of its own.
#[derive(Clone, Debug)]
pub(super) struct Enroller {
    pub(super) state: Arc<State>,
    pub(super) identity: SigningKey,
    pub(super) clock: Clock,
    pub(super) host_name: String,
    /// Tells this process from others of the node.
    pub(super) run: Run,
    /// The way out, where it leads through a proxy.
    pub(super) proxy: Option<Arc<Proxy>>,
    /// Where control was last reached.
    pub(super) first: FirstUrl,
    /// Absent where interfaces are in memory: there are no routes to overlap.
    pub(super) host: Option<Host>,
}

/// A range of a group that this node is in, with the group's name for people.
pub(super) type Range = (String, IpNetwork);

impl Enroller {
    /// A client for the control that this node belongs to, and how the node signs.
    pub(super) fn client_of(&self, enrolment: &Enrolment) -> Result<(ControlClient, Caller), AgentError> {
        let dialer = self.dialer(&enrolment.pins)?;
        let client = self.client(&enrolment.urls, dialer);
        let audience = ControlId::of(&enrolment.control_key).as_str().to_owned();
        Ok((client, Caller { signer: Signer::Node(enrolment.node.clone()), audience }))
    }

    fn client(&self, urls: &[String], dialer: Dialer) -> ControlClient {
        let (identity, first) = (self.identity.clone(), self.first.clone());
        ControlClient::new(urls.to_vec(), dialer, identity, self.clock, &self.run, first)
    }

    /// Reaches whoever these pins stand for.
    pub(super) fn dialer(&self, pins: &[Pin]) -> Result<Dialer, AgentError> {
        Ok(Dialer::new(Trust::new(pins)?, self.proxy.clone()))
    }

    /// Where this node belongs after a join with the token; at once where it has been used here before.
    pub(super) async fn join(
        &self,
        known: Option<Enrolment>,
        token: &JoinToken,
    ) -> Result<Enrolment, AgentError> {
        if let Some(known) = &known
            && known.grants.iter().any(|grant| grant.token == token.id)
        {
            return Ok(known.clone());
        }
        let dialer = self.dialer(&token.pins)?;
        let client = self.client(&token.urls, dialer);
        let request = JoinRequest {
            token: token.id.clone(),
            secret: token.secret.clone(),
            identity: identity_key(&self.identity),
            host_name: self.host_name.clone(),
            agent: AGENT.to_owned(),
            protocol: version::RANGE,
        };
        tracing::info!(urls = token.urls.join(" "), "joining");
        let reply = client.join(token, &request).await?;
        check_grant(&reply)?;
        let mut enrolment = match known {
            Some(known) if known.control_key != reply.control_key => {
                return Err(AgentError::OtherControl { node: known.node });
            }
            // Restored, control has forgotten the node and what it was granted.
            Some(known) if known.node != reply.node => {
                let urls = with_the_token(reply.urls, token);
                let fresh = Enrolment::new(reply.node, reply.control_key, urls, reply.pins);
                Enrolment { port: known.port, ..fresh }
            }
            Some(known) => {
                let urls = with_the_token(reply.urls, token);
                Enrolment { node: reply.node, urls, pins: reply.pins, ..known }
            }
            None => {
                Enrolment::new(reply.node, reply.control_key, with_the_token(reply.urls, token), reply.pins)
            }
        };
        let grant =
            SignedGrant { token: token.id.clone(), grant: reply.grant, signature: reply.grant_signature };
        tracing::info!(node = %enrolment.node, group = %grant.grant.group, member = %grant.grant.member, "joined");
        enrolment.grants.retain(|old| old.grant.group != grant.grant.group);
        enrolment.grants.push(grant);
        self.state.save_enrolment(&enrolment)?;
        Ok(enrolment)
    }

    /// A peer for each grant that has none yet. A group whose ranges overlap `taken`, or a route of this
    /// host, is left again.
    pub(super) async fn host_peers(
        &self,
        enrolment: &mut Enrolment,
        endpoints: &[Endpoint],
        taken: &[Range],
    ) -> Result<(), AgentError> {
        let (client, caller) = self.client_of(enrolment)?;
        for SignedGrant { grant, .. } in enrolment.grants.clone() {
            if enrolment.peers.iter().any(|peer| peer.group == grant.group) {
                continue;
            }
            let request = PeerRequest {
                group: grant.group.clone(),
                member: grant.member.clone(),
                instance: enrolment.node.as_str().to_owned(),
                key: public_key(&key_of(&self.state, &grant.group)?),
                label: self.host_name.clone(),
                endpoints: endpoints.to_vec(),
                statement: None,
            };
            let reply = match client.add_peer(&caller, &request).await {
                Err(error) if error.problem().is_some_and(|problem| problem.code == Code::NoGrant) => {
                    // Taken out at control while this node was away: the token, or a new one, brings it back.
                    self.forget(enrolment, &grant.group)?;
                    return Err(error.into());
                }
                other => other?,
            };
            if let Err(overlap) = self.check_ranges(&grant.group, &reply, taken).await {
                client.remove_peer(&caller, &reply.peer).await?;
                self.forget(enrolment, &grant.group)?;
                return Err(overlap);
            }
            let (group, member) = (grant.group, grant.member);
            // Over restarts and keys it grows, as long as the clock does not go back by more than that.
            let serial = self.clock.unix_ms();
            enrolment.peers.push(HostedPeer { group, member, peer: reply.peer, host: reply.host, serial });
            self.state.save_enrolment(enrolment)?;
        }
        Ok(())
    }

    /// Takes a new key in a group: control hears of it first, with the node's word on it, so that nobody holds it for
    /// another node's. Killed in between, the node starts with the former key and says that one again.
    pub(super) async fn rotate_key(
        &self,
        enrolment: &mut Enrolment,
        group: &GroupId,
        endpoints: &[Endpoint],
    ) -> Result<(), AgentError> {
        let (client, caller) = self.client_of(enrolment)?;
        let Some(at) = enrolment.peers.iter().position(|peer| peer.group == *group) else { return Ok(()) };
        let key = PrivateKey::from(generate_private_key());
        let mut peer = enrolment.peers[at].clone();
        peer.serial = self.clock.unix_ms().max(peer.serial.saturating_add(1));
        let request = PeerRequest {
            group: group.clone(),
            member: peer.member.clone(),
            instance: enrolment.node.as_str().to_owned(),
            key: public_key(&key),
            label: self.host_name.clone(),
            endpoints: endpoints.to_vec(),
            statement: hosted(enrolment, &peer, &key, &self.identity, None).statement,
        };
        client.add_peer(&caller, &request).await?;
        enrolment.peers[at] = peer;
        self.state.replace_tunnel_key(group, &key.to_bytes())?;
        self.state.save_enrolment(enrolment)?;
        tracing::info!(%group, "took a new key");
        Ok(())
    }

    /// Takes this node out of a group: at control first, then here.
    pub(super) async fn leave(&self, enrolment: &mut Enrolment, group: &GroupId) -> Result<(), AgentError> {
        if let Some(peer) = enrolment.peers.iter().find(|peer| peer.group == *group) {
            let (client, caller) = self.client_of(enrolment)?;
            client.remove_peer(&caller, &peer.peer).await?;
        }
        self.forget(enrolment, group)
    }

    fn forget(&self, enrolment: &mut Enrolment, group: &GroupId) -> Result<(), AgentError> {
        enrolment.forget(group);
        self.state.save_enrolment(enrolment)?;
        Ok(self.state.remove_tunnel_key(group)?)
    }

    async fn check_ranges(
        &self,
        group: &GroupId,
        reply: &PeerReply,
        taken: &[Range],
    ) -> Result<(), AgentError> {
        let ranges = [IpNetwork::V4(reply.pool), IpNetwork::V6(reply.prefix6)];
        for range in ranges {
            if let Some((other, theirs)) = taken.iter().find(|(_, theirs)| overlap(range, *theirs)) {
                let (other, theirs) = (other.clone(), *theirs);
                return Err(AgentError::Overlap { group: group.clone(), range, other, theirs });
            }
        }
        match &self.host {
            Some(host) => Ok(host.check_overlap(&ranges, &interface_name(group)).await?),
            None => Ok(()),
        }
    }
}

/// This node's key in a group, made at the first call.
pub(super) fn key_of(state: &State, group: &GroupId) -> Result<PrivateKey, AgentError> {
    Ok(PrivateKey::from(state.tunnel_key(group, generate_private_key)?))
}

/// The gateway key of a group, where this node holds one.
pub(super) fn gateway_key_of(state: &State, group: &GroupId) -> Result<Option<PrivateKey>, AgentError> {
    Ok(state.gateway_key(group)?.map(PrivateKey::from))
}

/// What the rules know of a hosted peer, with the node's word on its key.
pub(super) fn hosted(
    enrolment: &Enrolment,
    peer: &HostedPeer,
    key: &PrivateKey,
    identity: &SigningKey,
    gateway_key: Option<&PrivateKey>,
) -> Hosted {
    let grant = enrolment.grants.iter().find(|signed| signed.grant.group == peer.group);
    let key = public_key(key);
    let statement = PeerStatement {
        group: peer.group.clone(),
        peer: peer.peer.clone(),
        host: peer.host,
        key,
        serial: peer.serial,
    };
    let signature = Signature(identity.sign(&statement.signed_bytes()).to_bytes());
    Hosted {
        peer: peer.peer.clone(),
        member: peer.member.clone(),
        host: peer.host,
        key,
        statement: Some(SignedStatement { statement, signature }),
        gateway_key: gateway_key.map(public_key),
        gateway_rotations: 0,
        joined_ms: grant.map_or(0, |signed| signed.grant.issued_ms),
    }
}

pub(super) fn public_key(key: &PrivateKey) -> PublicKey {
    PublicKey::try_new(key.public()).expect("no key pair has a zero public half")
}

fn check_grant(reply: &lacis_proto::JoinReply) -> Result<(), AgentError> {
    lacis_proto::verify(&reply.control_key, &reply.grant.signed_bytes(), &reply.grant_signature).map_err(
        |_| AgentError::Join {
            reason: "control's grant is not signed by control".to_owned(),
            passing: false,
        },
    )
}

/// Control's own list of addresses, after those of the token that worked.
fn with_the_token(urls: Vec<String>, token: &JoinToken) -> Vec<String> {
    let mut all = token.urls.clone();
    all.extend(urls.into_iter().filter(|url| !token.urls.contains(url)));
    all
}
