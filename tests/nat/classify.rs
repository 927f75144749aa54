//! What a NAT is, judged from behind it alone (RFC 5780, in spirit).

use std::net::SocketAddr;

use support::Namespace;

use crate::responder::{Asker, From, Responder};

/// How a socket's outer port depends on where it sends to (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    EndpointIndependent,
    AddressDependent,
    /// Another for each address and port; with the step from one to the next where it is constant.
    AddressAndPortDependent {
        step: Option<i32>,
    },
}

/// Who may answer through a mapping (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtering {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) mapping: Mapping,
    pub(crate) filtering: Filtering,
    pub(crate) keeps_port: bool,
    /// Whether the port is kept even where the other side's datagram came first.
    pub(crate) holds_port: bool,
}

/// Judges from a client; none where no datagram comes back at all.
pub(crate) fn classify(client: &Namespace, responder: &Responder) -> Option<Verdict> {
    let (mapping, keeps_port) = mapping(client, responder)?;
    let holds_port = holds_port(client, responder);
    Some(Verdict { mapping, filtering: filtering(client, responder), keeps_port, holds_port })
}

fn mapping(client: &Namespace, responder: &Responder) -> Option<(Mapping, bool)> {
    let asker = Asker::new(client, responder);
    let mut ports = [0; 4];
    for (port, to) in ports.iter_mut().zip(responder.addresses()) {
        *port = i32::from(asker.seen_by(to)?.port());
    }
    let [a, b, c, d] = ports;
    let keeps_port = a == i32::from(asker.port());
    let steps = [b - a, c - b, d - c];
    let mapping = if steps == [0; 3] {
        Mapping::EndpointIndependent
    } else if a == b && c == d {
        Mapping::AddressDependent
    } else {
        // The table of a sequential NAT begins anew every 256 ports.
        let same = steps.iter().all(|step| step.rem_euclid(256) == steps[0].rem_euclid(256));
        Mapping::AddressAndPortDependent { step: same.then(|| steps[0].rem_euclid(256)) }
    };
    Some((mapping, keeps_port))
}

fn filtering(client: &Namespace, responder: &Responder) -> Filtering {
    let comes = |from| Asker::new(client, responder).ask(responder.addresses()[0], from).is_some();
    if comes(From::OtherAddress) {
        Filtering::EndpointIndependent
    } else if comes(From::OtherPort) {
        Filtering::AddressDependent
    } else {
        Filtering::AddressAndPortDependent
    }
}

/// Has the service send first to where the client will be seen, as the other side of a punch may.
fn holds_port(client: &Namespace, responder: &Responder) -> bool {
    let [first, second, ..] = responder.addresses();
    let asker = Asker::new(client, responder);
    let Some(outer) = asker.seen_by(second) else { return false };
    responder.strike(0, SocketAddr::new(outer.ip(), asker.port()));
    // It has arrived when what was sent after it on the same way is back.
    asker.seen_by(second);
    asker.seen_by(first).is_some_and(|seen| seen.port() == asker.port())
}
