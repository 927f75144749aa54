//! The interfaces, addresses and routes of this machine, through netlink.
//!
//! An overlay address is a /32 or /128, so that what is reachable follows from the routes alone. The
//! resolver address is on the interface too, but must never become the source of a packet (DESIGN
//! ruling 10): routes name their source, and in IPv6 it has a preferred lifetime of 0.
//!
//! Every act is idempotent: what is there already, or gone already, is fine.

pub(crate) mod guard;
mod limits;
mod link;
pub(crate) mod resolver;
mod route;
mod underlay;

pub(crate) use self::{
    limits::Limits,
    route::{DefaultRoute, overlap},
};

use std::sync::Arc;

use ipnetwork::IpNetwork;
use rtnetlink::{Handle, MulticastGroup, packet_core::ErrorMessage};
use tokio::sync::{Mutex, mpsc};

/// Something that the host did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("cannot open a netlink socket")]
    Netlink(#[source] std::io::Error),
    #[error("the kernel refused to {what}{}", remedy(.source))]
    Refused { what: String, source: rtnetlink::Error },
    #[error(
        "the group's range {range} overlaps {route} on {via}, to which this host has a route; leave one of them"
    )]
    Overlap { range: IpNetwork, route: IpNetwork, via: String },
}

/// The host's networking.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    netlink: Handle,
    /// Held during a listing: the kernel refuses a second one on the same socket (EBUSY).
    listing: Arc<Mutex<()>>,
}

impl Host {
    /// Opens netlink; the receiver hears whenever an address of the host comes or goes, or its way to everywhere changes.
    pub(crate) fn open() -> Result<(Self, mpsc::Receiver<()>), HostError> {
        let groups = [
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, netlink, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(HostError::Netlink)?;
        tokio::spawn(connection);
        // One waiting note is enough: whoever hears it reads everything anew.
        let (changed, changes) = mpsc::channel(1);
        tokio::spawn(async move {
            use futures_util::StreamExt as _;
            while let Some((message, _)) = messages.next().await {
                if route::is_of_no_concern(&message) {
                    continue;
                }
                if matches!(changed.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                    return;
                }
            }
        });
        Ok((Self { netlink, listing: Arc::default() }, changes))
    }
}

/// Whether an interface of this host can have IPv6 addresses.
pub(crate) fn has_ipv6(interface: &str) -> bool {
    let disabled = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    std::fs::read_to_string(disabled).is_ok_and(|disabled| disabled.trim() == "0")
}

/// A hint for the refusal that has a known cause.
fn remedy(error: &rtnetlink::Error) -> &'static str {
    match errno(error) {
        Some(1) => {
            "; the agent needs CAP_NET_ADMIN: run it as root, or `setcap cap_net_admin,cap_net_bind_service+ep` its file"
        }
        Some(_) | None => "",
    }
}

/// The error number of a refusal by the kernel.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    let rtnetlink::Error::NetlinkError(message) = error else { return None };
    ErrorMessage::to_io(message).raw_os_error()
}

/// Success, unless the kernel refused for another reason than `fine`.
fn unless(
    result: Result<(), rtnetlink::Error>,
    fine: &[i32],
    what: impl FnOnce() -> String,
) -> Result<(), HostError> {
    match result {
        Err(source) if !errno(&source).is_some_and(|number| fine.contains(&number)) => {
            Err(HostError::Refused { what: what(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// "File exists": there already.
const EEXIST: i32 = 17;
/// "No such device": the interface is gone, and all that was on it.
const ENODEV: i32 = 19;
/// "No such process": no such route.
const ESRCH: i32 = 3;
/// "Cannot assign requested address": no such address.
const EADDRNOTAVAIL: i32 = 99;
