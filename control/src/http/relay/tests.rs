//! A member behind a stream in memory: who sends faster than it may is read no faster.

use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{
    ControlId, GroupId, IdentityKey, PublicKey, Signature,
    relay::{Frame, Header, Hello, Keys, Kind, Packet, RelayAddress, RelayToken, header as head},
};
use lacis_relay::{Limits, RelayKey, Settings, start};
use tokio::io::{DuplexStream, duplex};
use x25519_dalek::{PublicKey as Point, StaticSecret};

use super::*;
use crate::clock;

/// Bytes per second that a member may send.
const RATE: u64 = 500_000;

/// What the pipe holds: little beside what the rate lets through in a second.
const PIPE: usize = 4_096;

fn relay(signer: &SigningKey) -> Relay {
    start(Settings {
        key: RelayKey::new([7; 32]),
        controls: vec![IdentityKey::try_new(signer.verifying_key().to_bytes()).unwrap()],
        listen: ([127, 0, 0, 1], 0).into(),
        others: Vec::new(),
        workers: Some(1),
        limits: Limits { bytes_per_second: RATE, ..Limits::default() },
        revocations: None,
    })
    .unwrap()
}

struct Member {
    stream: DuplexStream,
    decoder: Decoder,
    address: RelayAddress,
    lease: u32,
}

impl Member {
    async fn new(relay: &Relay, signer: &SigningKey, n: u8) -> Self {
        let (stream, theirs) = duplex(PIPE);
        let leg = relay.connect(([127, 0, 0, n], 1).into()).unwrap();
        tokio::spawn(async move { serve(theirs, &[], leg, CancellationToken::new()).await });
        let (secret, group) = (StaticSecret::from([n; 32]), GroupId::from_random([1; 16]));
        let key = PublicKey::try_new(Point::from(&secret).to_bytes()).unwrap();
        let shared = secret.diffie_hellman(&Point::from(*relay.public().as_bytes())).to_bytes();
        let keys = Keys::derive(&shared, &group, &key, &relay.public());
        let address = RelayAddress::of(&group, &key);
        let mut token = RelayToken {
            class: 0,
            control: ControlId::of(&IdentityKey::try_new(signer.verifying_key().to_bytes()).unwrap()),
            group,
            key,
            not_before_ms: 0,
            expires_ms: clock::unix_ms() + 60_000,
            serial: 1,
            signature: Signature([0; 64]),
        };
        token.signature = Signature(signer.sign(&token.signed_bytes()).to_bytes());
        let token = token.to_bytes();
        let hello = Hello { counter: clock::unix_ms(), cookie: [0; 16], token: &token, first: None };
        let mut bytes = Packet { lease: 0, address, frame: Frame::Hello(hello) }.to_bytes();
        keys.to_relay.seal(&mut bytes);
        let mut member = Self { stream, decoder: Decoder::new(End::Client), address, lease: 0 };
        member.say(&bytes).await;
        let answers = member.hear().await;
        assert!(keys.to_member.check(&answers[0]));
        member.lease = Header::parse(&answers[0]).unwrap().lease;
        member
    }

    async fn say(&mut self, frame: &[u8]) {
        let (mut batch, mut bytes) = (Vec::new(), Vec::new());
        assert!(Batch::push(&mut batch, frame));
        websocket::write(&mut bytes, &Message::Binary(batch), Some([1, 2, 3, 4]));
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The frames of the next message.
    async fn hear(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = vec![0; PIPE];
        loop {
            if let Some(Message::Binary(batch)) = self.decoder.next_message().unwrap() {
                return Batch::parse(&batch).unwrap().map(|frame| frame.unwrap().to_vec()).collect();
            }
            let read = self.stream.read(&mut bytes);
            let length = timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
            assert!(length > 0, "the stream ended");
            self.decoder.push(&bytes[..length]);
        }
    }
}

#[tokio::test]
async fn whoever_sends_faster_than_it_may_is_read_no_faster_and_loses_nothing() {
    const FRAMES: u32 = 400;
    let signer = SigningKey::from_bytes(&[42; 32]);
    let relay = relay(&signer);
    let mut fast = Member::new(&relay, &signer, 1).await;
    let mut other = Member::new(&relay, &signer, 2).await;
    let (lease, to) = (fast.lease, other.address);
    let begin = clock::now();
    let sending = tokio::spawn(async move {
        for number in 0..FRAMES {
            let frame = [&head(Kind::Data, lease, to)[..], &number.to_be_bytes(), &[0; 980]].concat();
            fast.say(&frame).await;
        }
        (clock::now().duration_since(begin), fast)
    });
    let mut expected = 0..FRAMES;
    while !expected.is_empty() {
        for frame in other.hear().await {
            assert_eq!(
                frame[16..20],
                expected.next().unwrap().to_be_bytes(),
                "in order, and none is missing"
            );
        }
    }
    let (took, _fast) = sending.await.unwrap();
    // 400 KB at 500 KB a second, less the 300 ms that may come at once and what the pipe holds.
    assert!(took > Duration::from_millis(400), "the last frame was taken after {took:?}");
    assert_eq!(relay.slow_drops(), 0);
}
