//! The addresses at which this node may be reached: those of the host, and the gateway's mapping.

use lacis_agent_core::Event;
use lacis_proto::{Endpoint, EndpointKind};
use tokio::sync::mpsc;

use super::{
    Input, Options,
    run::{Running, endpoints},
};
use crate::{host::Host, portmap::PortMapper};

/// Has the gateway asked for the tunnels' port, where there is a host and nobody forbids it.
pub(super) fn start(
    options: &Options,
    host: Option<&Host>,
    port: u16,
    inputs: mpsc::Sender<Input>,
) -> Option<PortMapper> {
    let host = host.filter(|_| options.portmap)?.clone();
    // The loop is behind: it reads the mapping anew with the next change of the host's addresses.
    let note = Box::new(move || drop(inputs.try_send(Input::Mapped)));
    Some(PortMapper::start(options.clock, host, port, note))
}

impl Running {
    /// Tells everybody who must know the addresses of this node where they are others than before; says whether.
    pub(super) async fn look_at_endpoints(&mut self) -> bool {
        let host = self.enroller.host.as_ref();
        let mut now = endpoints(host, &self.options, &self.overlay.tunnel).await;
        if let Some(addr) = self.mapper.as_ref().and_then(PortMapper::mapped) {
            now.push(Endpoint { kind: EndpointKind::Portmap, addr: addr.into() });
        }
        let is_news = now != self.endpoints;
        self.endpoints.clone_from(&now);
        let has_moved = self.tell_addresses().await;
        if is_news {
            self.feed(Event::EndpointsChanged(now)).await;
        }
        is_news || has_moved
    }
}
