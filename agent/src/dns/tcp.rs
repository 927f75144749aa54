//! Questions over TCP (RFC 7766): the library's framing under limits of our own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use hickory_proto::op::MessageType;
use hickory_server::{
    net::{
        runtime::{TokioTime, iocompat::AsyncIoTokioAsStd},
        tcp::TcpStream as Framed,
        xfer::Protocol,
    },
    server::{Request, RequestHandler as _, ResponseHandle, TimeoutStream},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use super::handler::Resolver;

/// A connection without a question for so long is closed: longer than a client takes between questions
/// of one look-up, short enough that idle ones do not pile up (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// Most connections of one address at a time; others wait in the listener's queue. A host has one
/// stub resolver, which opens a few.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Answers of one connection that wait to be sent; a client that does not read is not served further.
const MAX_UNSENT: usize = 8;

/// Pause after the operating system refused to accept, so that a shortage of descriptors makes no hot loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and answers until the task is aborted, which ends its connections too.
pub(super) async fn serve(listener: TcpListener, resolver: Resolver) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                let resolver = resolver.clone();
                connections.spawn(async move {
                    converse(stream, client, &resolver).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for names");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the questions of one connection in turn, until it is idle, closed, or sends no question.
async fn converse(stream: TcpStream, client: SocketAddr, resolver: &Resolver) {
    let (framed, answers) =
        Framed::from_stream_with_buffer_size(AsyncIoTokioAsStd(stream), client, MAX_UNSENT);
    let mut questions = TimeoutStream::new(framed, IDLE);
    while let Some(Ok(message)) = questions.next().await {
        let Ok(request) = Request::from_bytes(message.into_parts().0, client, Protocol::Tcp) else { return };
        if request.metadata.message_type != MessageType::Query {
            return;
        }
        let handle = ResponseHandle::new(client, answers.clone(), Protocol::Tcp);
        resolver.handle_request::<_, TokioTime>(&request, handle).await;
    }
}
