//! Where gateways of a group hear one another: a UDP port on this node's overlay address.
//!
//! Life-cycle: the port is opened when this node may be a gateway of a group and its interface has the address
//! ([`GatewayPorts::open`]); what comes from a fellow goes to the event loop; the port closes when it is dropped.
//! It is bound to the interface, so that nothing gets in that has not come through a tunnel, whose source the tunnel has
//! checked. What is from nobody that may be a gateway ends in the task that reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lacis_proto::GroupId;
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::AbortHandle,
};

/// The port: the one after that of the tunnels, on overlay addresses alone.
const PORT: u16 = 47_821;

/// More than any datagram between gateways, so that none is cut.
const LONGEST: usize = 2_048;

/// What came to the port of a group, from a fellow's overlay address.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) group: GroupId,
    pub(crate) from: IpAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The ports of all groups.
#[derive(Debug, Default)]
pub(crate) struct GatewayPorts {
    open: BTreeMap<GroupId, Port>,
}

#[derive(Debug)]
struct Port {
    at: IpAddr,
    interface: String,
    socket: Arc<UdpSocket>,
    fellows: watch::Sender<BTreeSet<IpAddr>>,
    reading: AbortHandle,
}

impl GatewayPorts {
    /// Hears `fellows` on the overlay address `at` from now on. A port that is open stays so.
    pub(crate) async fn open<I: From<Heard> + Send + 'static>(
        &mut self,
        group: &GroupId,
        (interface, at): (&str, IpAddr),
        fellows: BTreeSet<IpAddr>,
        inputs: &mpsc::Sender<I>,
    ) -> io::Result<()> {
        if let Some(port) = self.open.get(group).filter(|port| port.at == at && port.interface == interface) {
            port.fellows.send_replace(fellows);
            return Ok(());
        }
        self.open.remove(group);
        let socket = Arc::new(UdpSocket::bind(SocketAddr::new(at, PORT)).await?);
        socket.bind_device(Some(interface.as_bytes()))?;
        let (fellows, known) = watch::channel(fellows);
        let reading = tokio::spawn(read(socket.clone(), group.clone(), known, inputs.clone())).abort_handle();
        self.open
            .insert(group.clone(), Port { at, interface: interface.to_owned(), socket, fellows, reading });
        Ok(())
    }

    /// Hears nobody any more but in these groups.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&GroupId) -> bool) {
        self.open.retain(|group, _| wanted(group));
    }

    /// Sends a datagram to a fellow. One that cannot leave now is repeated by the rules.
    pub(crate) fn say(&self, group: &GroupId, to: IpAddr, bytes: &[u8]) {
        if let Some(port) = self.open.get(group)
            && let Err(error) = port.socket.try_send_to(bytes, SocketAddr::new(to, PORT))
        {
            tracing::debug!(%to, %error, "a gateway was not told");
        }
    }
}

async fn read<I: From<Heard>>(
    socket: Arc<UdpSocket>,
    group: GroupId,
    fellows: watch::Receiver<BTreeSet<IpAddr>>,
    inputs: mpsc::Sender<I>,
) {
    let mut buffer = [0; LONGEST];
    loop {
        // Errors of the port are about datagrams that were sent.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let from = from.ip();
        if fellows.borrow().contains(&from) {
            let heard = Heard { group: group.clone(), from, bytes: buffer[..length].to_vec() };
            if inputs.send(heard.into()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.reading.abort();
    }
}
