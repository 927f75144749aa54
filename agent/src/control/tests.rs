use lacis_proto::Pin;
use tokio::net::TcpListener;

use super::*;

/// A client for these ports of this host.
fn client(ports: &[u16]) -> ControlClient {
    let urls = ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect();
    let trust = Trust::new(&[Pin::try_new([1; 32]).unwrap()]).unwrap();
    let identity = SigningKey::from_bytes(&[2; 32]);
    ControlClient::new(urls, Dialer::new(trust, None), identity, Clock::start(), &Run::new(3, "host"))
}

#[tokio::test]
async fn a_call_that_was_given_up_is_gone_on_with_where_it_was() {
    let [refused, silent, other] = ["127.0.0.1:0"; 3].map(TcpListener::bind);
    let (refused, silent, other) = (refused.await.unwrap(), silent.await.unwrap(), other.await.unwrap());
    let ports = [&refused, &silent, &other].map(|listener| listener.local_addr().unwrap().port());
    drop(refused);
    let client = client(&ports);
    let signer = Signer::Identity(identity_key(&client.inner.identity));
    let caller = Caller { signer, audience: "control".to_owned() };
    tokio::select! {
        answer = client.proofs(&caller, &[]) => panic!("nobody answers: {answer:?}"),
        connected = silent.accept() => drop(connected.unwrap()),
    }
    drop(silent);
    // The first is not asked again, nor is the one that said nothing waited for.
    tokio::select! {
        answer = client.proofs(&caller, &[]) => panic!("nobody answers: {answer:?}"),
        connected = other.accept() => drop(connected.unwrap()),
    }
    assert_eq!(client.inner.first.load(Ordering::Relaxed), 2);
}
