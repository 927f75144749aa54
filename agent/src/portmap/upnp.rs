//! Talks UPnP with a gateway: a search, a description, a call. Each with its limit of time and size, and only with
//! the gateway itself; the texts are in `lacis_agent_core::upnp`.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use lacis_agent_core::{
    Gateway,
    portmap_limits::MAX_TEXT,
    upnp::{Call, Page, Refusal, SEARCH, SEARCH_AT, Service, external_address, location, refusal, service},
};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// A device may take a second for its answer (the search says so), and a slow one a second more.
const SEARCH_WITHIN: Duration = Duration::from_secs(2);

/// One request to a device in the next room; small routers take a second for it.
const FETCH_WITHIN: Duration = Duration::from_secs(4);

/// Longest answer to a search that is read.
const MAX_REPLY: usize = 2_048;

/// Maps a port and gives the address outside.
pub(super) async fn add(
    gateway: Gateway,
    external: u16,
    port: u16,
    lease_s: u32,
) -> Result<SocketAddrV4, Refusal> {
    let service = find(gateway).await.ok_or(Refusal::Other)?;
    call(gateway, &service, Call::Add { external, client: gateway.local, port, lease_s }).await?;
    let reply = call(gateway, &service, Call::Address).await?;
    let address = external_address(&reply).ok_or(Refusal::Other)?;
    Ok(SocketAddrV4::new(address, external))
}

/// Maps a port no longer.
pub(super) async fn delete(gateway: Gateway, external: u16) {
    if let Some(service) = find(gateway).await {
        // A lease that cannot be taken back ends by itself; a permanent one is replaced at the next start.
        let _ = call(gateway, &service, Call::Delete { external }).await;
    }
}

/// The gateway's service that maps ports.
async fn find(gateway: Gateway) -> Option<Service> {
    let page = timeout(SEARCH_WITHIN, search(gateway)).await.ok().flatten()?;
    let (_, description) = fetch(gateway.address, &page, None).await?;
    service(&description, &page, gateway.address)
}

/// Asks everybody, and the gateway by name, until the gateway has answered.
async fn search(gateway: Gateway) -> Option<Page> {
    let socket = UdpSocket::bind((gateway.local, 0)).await.ok()?;
    for to in [SEARCH_AT, (gateway.address, SEARCH_AT.1)] {
        // One way of asking suffices.
        let _ = socket.send_to(SEARCH.as_bytes(), to).await;
    }
    let mut buffer = [0; MAX_REPLY];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if from.ip() == gateway.address
            && let Some(page) = location(&buffer[..length], gateway.address)
        {
            return Some(page);
        }
    }
}

async fn call(gateway: Gateway, service: &Service, call: Call) -> Result<String, Refusal> {
    let request = Some((call.action(service), call.body(service)));
    match fetch(gateway.address, &service.page, request).await {
        Some((true, reply)) => Ok(reply),
        Some((false, reply)) => Err(refusal(&reply)),
        None => Err(Refusal::Other),
    }
}

/// The text of a page, and whether its status is a success; with a call, where there is one.
async fn fetch(address: Ipv4Addr, page: &Page, call: Option<(String, String)>) -> Option<(bool, String)> {
    let fetching = async {
        let stream = TcpStream::connect((address, page.port)).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(if call.is_some() { "POST" } else { "GET" })
            .uri(&page.path)
            .header(HOST, format!("{address}:{}", page.port))
            .header(CONNECTION, "close");
        let (request, body) = match call {
            Some((action, body)) => {
                let request = request.header("SOAPAction", action);
                (request.header(CONTENT_TYPE, "text/xml; charset=\"utf-8\""), body)
            }
            None => (request, String::new()),
        };
        let request = request.body(Full::new(Bytes::from(body))).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let is_success = response.status().is_success();
        let body = Limited::new(response.into_body(), MAX_TEXT).collect().await.ok()?;
        Some((is_success, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    timeout(FETCH_WITHIN, fetching).await.ok().flatten()
}
