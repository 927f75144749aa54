use lacis_proto::Pin;
use tokio::net::TcpListener;

use super::*;

/// A client for these ports of this host.
fn client(ports: &[u16]) -> ControlClient {
    let urls = ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect();
    let trust = Trust::new(&[Pin::try_new([1; 32]).unwrap()]).unwrap();
    let identity = SigningKey::from_bytes(&[2; 32]);
    ControlClient::new(
        urls,
        Dialer::new(trust, None),
        identity,
        Clock::start(),
        &Run::new(3, "host"),
        FirstUrl::default(),
    )
}

/// Patience with what takes a second.
const PATIENCE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn addresses_that_say_nothing_are_asked_beside_each_other_and_a_call_that_is_given_up_changes_nothing()
{
    let silent = [
        TcpListener::bind("127.0.0.1:0"),
        TcpListener::bind("127.0.0.1:0"),
        TcpListener::bind("127.0.0.1:0"),
    ];
    let [one, two, three] = silent.map(|binding| async move { binding.await.unwrap() });
    let (one, two, three) = tokio::join!(one, two, three);
    let client = client(&[&one, &two, &three].map(|listener| listener.local_addr().unwrap().port()));
    let signer = Signer::Identity(identity_key(&client.inner.identity));
    let caller = Caller { signer, audience: "control".to_owned() };
    // They take connections and never say who they are: what a dead address is to a caller.
    let connected = async { tokio::join!(one.accept(), two.accept(), three.accept()) };
    tokio::select! {
        answer = client.proofs(&caller, &[]) => panic!("nobody answers: {answer:?}"),
        connected = tokio::time::timeout(PATIENCE, connected) => drop(connected.unwrap()),
    }
    assert_eq!(client.inner.first.place(&client.inner.urls), 0);
}
