//! What the tunnel tells the loop.

use lacis_agent_core::{Event, PathEvent};
use lacis_proto::{GroupId, PublicKey};
use lacis_tunnel::{Event as Tunnel, NetworkId};

use super::run::{Ending, Running};
use crate::paths::{Found, from_tunnel};

impl Running {
    pub(super) async fn take_tunnel(&mut self, event: Tunnel) {
        match event {
            Tunnel::HandshakeDone { network, key, way } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.session_at(group.clone(), key, way);
                self.client_at(&group, key, way);
                let (of, way) = (group.clone(), from_tunnel(way));
                self.find(Found::Path(PathEvent::Handshake { group: of, key, way })).await;
                self.feed(Event::HandshakeDone { group, key }).await;
            }
            Tunnel::EndpointChanged { network, key, way } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.session_at(group.clone(), key, way);
                self.client_at(&group, key, way);
            }
            Tunnel::HandshakeUnanswered { network, key } | Tunnel::HandshakeFailed { network, key } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.feed(Event::HandshakeUnanswered { group, key }).await;
            }
            Tunnel::Wanted { network, key } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.find(Found::Path(PathEvent::Wanted { group, key })).await;
            }
            Tunnel::Sending { network, key, carried } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.find(Found::Path(PathEvent::Sending { group, key, carried })).await;
            }
            Tunnel::Silent { network, key } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.find(Found::Path(PathEvent::Silent { group, key })).await;
            }
            Tunnel::Unanswered { network, key } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.find(Found::Path(PathEvent::Unanswered { group, key })).await;
            }
            Tunnel::Heard { network, key, way } => {
                let Some((group, key)) = self.peer(network, key) else { return };
                self.session_at(group.clone(), key, way);
                let way = from_tunnel(way);
                self.find(Found::Path(PathEvent::Heard { group, key, way })).await;
            }
            Tunnel::Refused { to } => self.find(Found::Refused(to)).await,
            Tunnel::Datagram { way, payload, .. } => {
                self.find(Found::Datagram { way: from_tunnel(way), payload }).await;
            }
            Tunnel::ProbeReply { ident, seq, rtt, way, .. } => {
                let via = way.map(from_tunnel).map(|way| (way, self.finder.via(way, None)));
                self.probes.answered(ident, seq, rtt, via);
            }
            // Nobody owns the address: whoever asked waits out its time, as for a silent peer.
            Tunnel::ProbeFailed { .. } => {}
            Tunnel::DeviceGone { network } => {
                tracing::warn!("an overlay interface went away; making it again");
                if let Some(group) = self.overlay.group_of(network).cloned() {
                    self.finder.forget(self.clock.now(), &group, &mut self.overlay);
                }
                self.overlay.device_gone(network);
                self.reconcile().await;
            }
            Tunnel::Fatal { reason } => self.ending = Some(Ending::Broken(reason)),
        }
    }

    fn peer(&self, network: NetworkId, key: [u8; 32]) -> Option<(GroupId, PublicKey)> {
        Some((self.overlay.group_of(network)?.clone(), PublicKey::try_new(key).ok()?))
    }
}
