//! Brings a node into groups: the join, once per token, and a peer for each grant.
//!
//! Each step is on disk before the next begins, and each can be repeated: an agent killed anywhere here
//! goes on at its next start, and control gives the same answers again.

use ed25519_dalek::SigningKey;
use lacis_agent_core::Hosted;
use lacis_proto::{
    ControlId, Endpoint, GroupId, JoinRequest, JoinToken, PeerRequest, PublicKey, Signer, version,
};
use lacis_tunnel::{PrivateKey, generate_private_key};

use super::{AgentError, Options};
use crate::{
    control::{Caller, ControlClient, Trust, identity_key},
    state::{Enrolment, HostedPeer, SignedGrant, State},
};

/// This agent's version.
pub(super) const AGENT: &str = env!("CARGO_PKG_VERSION");

/// A client for the control that a node belongs to, and how the node signs.
pub(super) fn client_of(
    enrolment: &Enrolment,
    identity: &SigningKey,
    options: &Options,
) -> Result<(ControlClient, Caller), AgentError> {
    let trust = Trust::new(&enrolment.pins)?;
    let client = ControlClient::new(enrolment.urls.clone(), trust, identity.clone(), options.clock);
    let audience = ControlId::of(&enrolment.control_key).as_str().to_owned();
    Ok((client, Caller { signer: Signer::Node(enrolment.node.clone()), audience }))
}

/// Where this node belongs, after joining with the token where it has not been used here before.
pub(super) async fn enrolled(
    state: &State,
    identity: &SigningKey,
    options: &Options,
) -> Result<Enrolment, AgentError> {
    let known = state.enrolment()?;
    let Some(token) = &options.token else { return known.ok_or(AgentError::NotEnrolled) };
    if let Some(known) =
        known.as_ref().filter(|known| known.grants.iter().any(|grant| grant.token == token.id))
    {
        return Ok(known.clone());
    }
    let client =
        ControlClient::new(token.urls.clone(), Trust::new(&token.pins)?, identity.clone(), options.clock);
    let request = JoinRequest {
        token: token.id.clone(),
        secret: token.secret.clone(),
        identity: identity_key(identity),
        host_name: options.host_name.clone(),
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
        Some(known) => Enrolment { node: reply.node, urls: reply.urls, pins: reply.pins, ..known },
        None => Enrolment::new(reply.node, reply.control_key, with_the_token(reply.urls, token), reply.pins),
    };
    let grant = SignedGrant { token: token.id.clone(), grant: reply.grant, signature: reply.grant_signature };
    tracing::info!(node = %enrolment.node, group = %grant.grant.group, member = %grant.grant.member, "joined");
    enrolment.grants.push(grant);
    state.save_enrolment(&enrolment)?;
    Ok(enrolment)
}

/// A peer for each grant that has none yet. `Err` only where no group is left to run.
pub(super) async fn host_peers(
    state: &State,
    enrolment: &mut Enrolment,
    client: &(ControlClient, Caller),
    label: &str,
    endpoints: &[Endpoint],
) -> Result<(), AgentError> {
    for SignedGrant { grant, .. } in enrolment.grants.clone() {
        if enrolment.peers.iter().any(|peer| peer.group == grant.group) {
            continue;
        }
        let request = PeerRequest {
            group: grant.group.clone(),
            member: grant.member.clone(),
            instance: enrolment.node.as_str().to_owned(),
            key: public_key(&key_of(state, &grant.group)?),
            label: label.to_owned(),
            endpoints: endpoints.to_vec(),
        };
        match client.0.add_peer(&client.1, &request).await {
            Ok(reply) => {
                let (group, member) = (grant.group, grant.member);
                enrolment.peers.push(HostedPeer { group, member, peer: reply.peer, host: reply.host });
                state.save_enrolment(enrolment)?;
            }
            Err(error) if enrolment.peers.is_empty() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(group = %grant.group, %error, "not in this group yet; tried again at the next start")
            }
        }
    }
    Ok(())
}

/// This node's key in a group, made at the first call.
pub(super) fn key_of(state: &State, group: &GroupId) -> Result<PrivateKey, AgentError> {
    Ok(PrivateKey::from(state.tunnel_key(group, generate_private_key)?))
}

/// What the rules know of a hosted peer.
pub(super) fn hosted(enrolment: &Enrolment, peer: &HostedPeer, key: &PrivateKey) -> Hosted {
    let grant = enrolment.grants.iter().find(|signed| signed.grant.group == peer.group);
    Hosted {
        peer: peer.peer.clone(),
        member: peer.member.clone(),
        host: peer.host,
        key: public_key(key),
        joined_ms: grant.map_or(0, |signed| signed.grant.issued_ms),
    }
}

fn public_key(key: &PrivateKey) -> PublicKey {
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
