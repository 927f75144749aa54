//! This node as a gateway: the rules are fed, and what they ask for is done.

use std::collections::{BTreeMap, BTreeSet};

use lacis_agent_core::{Event, GatewayAction, GatewayEvent, GatewaySecret, Gateways};
use lacis_proto::{GroupId, PublicKey};
use lacis_tunnel::{PrivateKey, Way, generate_private_key};

use super::{Input, enrol::public_key, run::Running};
use crate::gateways::{GatewayPorts, Heard};

/// The rules of gateways, and where this one hears the others.
#[derive(Debug, Default)]
pub(super) struct Gatehouse {
    pub(super) rules: Gateways,
    ports: GatewayPorts,
    /// How many clients were here when control was told last.
    told: BTreeMap<GroupId, u32>,
}

impl From<Heard> for Input {
    fn from(Heard { group, from, bytes }: Heard) -> Self {
        Self::Gateway(GatewayEvent::Said { group, from, bytes })
    }
}

impl Running {
    /// Looks at what there is to know of gateways after it changed.
    pub(super) async fn look_at_gateways(&mut self) {
        let now = self.clock.now();
        self.gateways.rules.look(now, self.core.netmaps(), self.core.local(), self.core.pins());
        let desired = self.core.desired().clone();
        let Gatehouse { rules, ports, .. } = &mut self.gateways;
        ports.keep(|group| rules.fellows(group).next().is_some());
        for (group, interface) in &desired.interfaces {
            let fellows: BTreeSet<_> = self.gateways.rules.fellows(group).collect();
            if fellows.is_empty() || !self.overlay.is_in_kernel(&interface.name) {
                continue;
            }
            let at = (interface.name.as_str(), interface.own.v4.into());
            // The address may not be there yet: it is tried again when the next change is looked at.
            if let Err(error) = self.gateways.ports.open(group, at, fellows, &self.inputs).await {
                tracing::debug!(%group, %error, "other gateways cannot be heard yet");
            }
        }
        self.follow_gateways();
    }

    /// A peer proved its keys, or comes from elsewhere: the gateways want to know that of their clients.
    pub(super) fn client_at(&mut self, group: &GroupId, key: PublicKey, way: Way) {
        let at = GatewayEvent::PeerAt { group: group.clone(), key, endpoint: way.remote };
        self.feed_gateways(at);
    }

    /// Tells the rules of gateways, and does what they ask for.
    pub(super) fn feed_gateways(&mut self, event: GatewayEvent) {
        let is_tick = matches!(event, GatewayEvent::Tick);
        self.gateways.rules.handle(self.clock.now(), event);
        self.follow_gateways();
        if is_tick {
            self.count_clients();
        }
    }

    /// Has control hear how many clients are here, where that has changed.
    fn count_clients(&mut self) {
        let clients = self.gateways.rules.all_clients();
        if self.gateways.told != clients {
            self.gateways.told.clone_from(&clients);
            self.tell(Event::GatewayClients(clients));
        }
    }

    fn follow_gateways(&mut self) {
        while let Some(action) = self.gateways.rules.poll() {
            match action {
                GatewayAction::MakeKey { group, rotations } => {
                    self.hold_gateway_key((group, rotations), generate_private_key(), None);
                }
                GatewayAction::TellKey { group, key, rotations } => {
                    self.tell(Event::GatewayKey { group, key, rotations });
                }
                GatewayAction::TakeKey { group, public, secret, rotations } => {
                    self.hold_gateway_key((group, rotations), *secret.bytes(), Some(public));
                }
                GatewayAction::GiveKey { group, peer, to } => match self.enroller.state.gateway_key(&group) {
                    Ok(Some(secret)) => {
                        tracing::info!(%group, %peer, "gives the gateway key of the group to another gateway");
                        self.gateways.ports.say(&group, to, &GatewaySecret::new(secret).message());
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "the gateway key cannot be given"),
                },
                GatewayAction::Say { group, to, bytes } => self.gateways.ports.say(&group, to, &bytes),
                GatewayAction::Prefer { group, client, via } => self.overlay.prefer(&group, &client, &via),
                GatewayAction::Expect { group, client, at, call } => {
                    if call {
                        tracing::info!(%group, "a gateway is gone: calls a client that was there");
                    }
                    self.overlay.expect(&group, &client, at, call);
                }
            }
        }
    }

    /// Keeps a gateway key on disk, then has the rules and control hear of it.
    fn hold_gateway_key(
        &mut self,
        (group, rotations): (GroupId, u32),
        secret: [u8; 32],
        expected: Option<PublicKey>,
    ) {
        let key = PrivateKey::from(secret);
        let public = public_key(&key);
        if expected.is_some_and(|expected| expected != public) {
            tracing::warn!(%group, "a gateway gave a key that is not the group's");
            return;
        }
        // What is not on disk must not be told: a file that names it would be worthless after a restart.
        if let Err(error) = self.enroller.state.save_gateway_key(&group, &secret) {
            tracing::warn!(%error, "the gateway key cannot be kept");
            return;
        }
        self.overlay.add_gateway_key(group.clone(), key);
        self.tell(Event::GatewayKey { group, key: public, rotations });
    }

    /// Has the rules, and by them control, hear of the key that is held, or of the clients that are here.
    fn tell(&self, event: Event) {
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            // The loop has ended: what stands on disk is told at the next start, and clients come again.
            let _ = inputs.send(Input::Core(Box::new(event))).await;
        });
    }
}
