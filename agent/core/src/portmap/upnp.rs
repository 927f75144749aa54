//! The texts of UPnP that map one UDP port: search, description, calls.
//!
//! Only the few elements that matter are looked for, by name; no tree of the document is built, so that no
//! document can be too deep. Whatever a gateway says is used with that gateway alone.

use std::net::{Ipv4Addr, SocketAddr};

use super::limits::{MAX_PATH, MAX_TEXT};

/// Where devices are searched for (UPnP Device Architecture 1.1 §1.3.2).
pub const SEARCH_AT: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 255, 255, 250), 1900);

/// Searches for a gateway. One of the second version answers to the first.
pub const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\n\
     ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";

/// Services that map ports, by the start of their type.
const SERVICES: [&str; 2] =
    ["urn:schemas-upnp-org:service:WANIPConnection:", "urn:schemas-upnp-org:service:WANPPPConnection:"];

/// "Only permanent leases are supported" (WANIPConnection:1 §2.4.16).
const ONLY_PERMANENT: &str = "725";
/// "The port is mapped to another client" (the same).
const CONFLICT: &str = "718";

/// A page on a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its port.
    pub port: u16,
    /// Its path, from the slash on.
    pub path: String,
}

/// The service of a gateway that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its type, to be named in calls.
    pub kind: String,
    /// Where it is called.
    pub page: Page,
}

/// Why a gateway mapped nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It knows permanent mappings only.
    OnlyPermanent,
    /// The port is somebody else's.
    Conflict,
    /// Anything else, or silence.
    Other,
}

/// What is asked of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To map a port.
    Add {
        /// The port outside.
        external: u16,
        /// Who gets the packets.
        client: Ipv4Addr,
        /// The port inside.
        port: u16,
        /// For how long; 0 for ever.
        lease_s: u32,
    },
    /// To map it no longer.
    Delete {
        /// The port outside.
        external: u16,
    },
    /// Its outer address.
    Address,
}

/// Where a gateway's description is, from its answer to the search; only on the gateway itself.
#[must_use]
pub fn location(reply: &[u8], gateway: Ipv4Addr) -> Option<Page> {
    let text = std::str::from_utf8(reply).ok()?;
    let line = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim())
    })?;
    page(line, gateway)
}

/// A page by its address.
fn page(address: &str, gateway: Ipv4Addr) -> Option<Page> {
    let rest = address.strip_prefix("http://")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    let port = match host.split_once(':') {
        Some(_) => host.parse::<SocketAddr>().ok().filter(|host| host.ip() == gateway)?.port(),
        None => host.parse::<Ipv4Addr>().ok().filter(|host| *host == gateway).map(|_| 80)?,
    };
    let path = if path.is_empty() { "/" } else { path };
    is_path(path).then(|| Page { port, path: path.to_owned() })
}

/// A path that can stand in the first line of a request as it is.
fn is_path(path: &str) -> bool {
    path.len() <= MAX_PATH && path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The service that maps ports, from a gateway's description, which was read on `described`.
#[must_use]
pub fn service(description: &str, described: &Page, gateway: Ipv4Addr) -> Option<Service> {
    let text = description.get(..description.len().min(MAX_TEXT))?;
    text.split("<service>").skip(1).find_map(|rest| {
        let block = rest.split("</service>").next()?;
        let kind = element(block, "serviceType")?;
        let known = SERVICES.iter().any(|start| {
            kind.strip_prefix(start).is_some_and(|version| {
                !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
            })
        });
        let address = element(block, "controlURL")?.replace("&amp;", "&");
        let page = if address.starts_with("http") {
            page(&address, gateway)?
        } else {
            let path = if address.starts_with('/') { address } else { format!("/{address}") };
            is_path(&path).then_some(Page { port: described.port, path })?
        };
        known.then(|| Service { kind: kind.to_owned(), page })
    })
}

/// The text of the first element of a name, without attributes.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim())
}

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Self::Add { .. } => "AddPortMapping",
            Self::Delete { .. } => "DeletePortMapping",
            Self::Address => "GetExternalIPAddress",
        }
    }

    /// The value of the header `SOAPAction`.
    #[must_use]
    pub fn action(self, service: &Service) -> String {
        format!("\"{}#{}\"", service.kind, self.name())
    }

    /// The body of the request.
    #[must_use]
    pub fn body(self, service: &Service) -> String {
        let (name, kind) = (self.name(), &service.kind);
        let port = |external: u16| {
            format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort>\
                 <NewProtocol>UDP</NewProtocol>"
            )
        };
        let arguments = match self {
            Self::Add { external, client, port: inner, lease_s } => format!(
                "{}<NewInternalPort>{inner}</NewInternalPort><NewInternalClient>{client}</NewInternalClient>\
                 <NewEnabled>1</NewEnabled><NewPortMappingDescription>lacis</NewPortMappingDescription>\
                 <NewLeaseDuration>{lease_s}</NewLeaseDuration>",
                port(external)
            ),
            Self::Delete { external } => port(external),
            Self::Address => String::new(),
        };
        format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{name} xmlns:u=\"{kind}\">{arguments}</u:{name}></s:Body></s:Envelope>"
        )
    }
}

/// The outer address, from the answer to [`Call::Address`].
#[must_use]
pub fn external_address(reply: &str) -> Option<Ipv4Addr> {
    element(reply, "NewExternalIPAddress")?.parse().ok()
}

/// Why a call failed, from its answer.
#[must_use]
pub fn refusal(reply: &str) -> Refusal {
    match element(reply, "errorCode") {
        Some(ONLY_PERMANENT) => Refusal::OnlyPermanent,
        Some(CONFLICT) => Refusal::Conflict,
        Some(_) | None => Refusal::Other,
    }
}
