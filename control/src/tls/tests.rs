use std::net::SocketAddr;

use rcgen::{BasicConstraints, IsCa};
use rustls::{
    ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;
use crate::clock;

const START_MS: u64 = 1_795_000_000_000;
const DAY_MS: u64 = DAY * 1_000;

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    valid_for_days(&mut params, 3_652, START_MS);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Authority::new(params, key, certificate)
}

fn trust(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).unwrap();
    Arc::new(roots)
}

fn names() -> Vec<String> {
    vec!["control.example".to_owned()]
}

/// Whether a client whose clock shows this takes the leaf.
fn is_taken(leaf: &Leaf, authority: &Authority, unix_ms: u64) -> bool {
    let provider = Arc::clone(&leaf.provider);
    let verifier = WebPkiServerVerifier::builder_with_provider(trust(authority), provider).build().unwrap();
    let shown = Arc::clone(&leaf.current.read().unwrap().key);
    let name = ServerName::try_from("control.example").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_millis(unix_ms));
    verifier.verify_server_cert(&shown.cert[0], &shown.cert[1..], &name, &[], now).is_ok()
}

#[test]
fn a_year_passes_without_a_day_on_which_clients_refuse_the_certificate() {
    let authority = authority();
    let leaf = Leaf::try_new(&authority, &names(), START_MS).unwrap();
    assert!(!is_taken(&leaf, &authority, START_MS + 31 * DAY_MS), "left alone it expires");
    let mut renewals = 0;
    for hour in 0..365 * 24 {
        let now_ms = START_MS + hour * LOOK.as_secs() * 1_000;
        renewals += u32::from(leaf.renew_when_due(&authority, &names(), now_ms).unwrap());
        if hour % 24 == 0 {
            // Clients whose clocks differ from control's by most of a day, and two renewals that fail.
            for ms in [now_ms - DAY_MS + 60_000, now_ms, now_ms + 19 * DAY_MS] {
                assert!(is_taken(&leaf, &authority, ms), "hour {hour}");
            }
        }
    }
    assert_eq!(renewals, 36);
}

#[test]
fn a_host_that_slept_or_whose_clock_was_set_back_has_a_good_certificate_at_the_next_look() {
    let authority = authority();
    let leaf = Leaf::try_new(&authority, &names(), START_MS).unwrap();
    for now_ms in [START_MS + 200 * DAY_MS, START_MS - 100 * DAY_MS] {
        assert!(!is_taken(&leaf, &authority, now_ms));
        assert!(leaf.renew_when_due(&authority, &names(), now_ms).unwrap());
        assert!(leaf.current.read().unwrap().unix_ms == now_ms);
    }
}

/// Both ends of TLS, for tests of listeners.
pub(crate) fn both_ends() -> (TlsAcceptor, Connector) {
    let authority = authority();
    let leaf = Arc::new(Leaf::try_new(&authority, &names(), clock::unix_ms()).unwrap());
    (TlsAcceptor::from(leaf.server().unwrap()), Connector(connector(&leaf, trust(&authority))))
}

/// Connects and trusts who listens.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl Connector {
    pub(crate) async fn connect(&self, addr: SocketAddr) -> client::TlsStream<TcpStream> {
        let name = ServerName::try_from("control.example").unwrap();
        self.0.connect(name, TcpStream::connect(addr).await.unwrap()).await.unwrap()
    }
}

fn connector(leaf: &Leaf, trust: Arc<RootCertStore>) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::clone(&leaf.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(trust)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

type Ends = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

async fn connected(leaf: &Arc<Leaf>, trust: Arc<RootCertStore>) -> Ends {
    let (near, far) = duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(leaf.server().unwrap());
    let name = ServerName::try_from("control.example").unwrap();
    let connecting = connector(leaf, trust).connect(name, near);
    let (client, server) = tokio::join!(connecting, acceptor.accept(far));
    (client.unwrap(), server.unwrap())
}

fn shown(ends: &Ends) -> Vec<u8> {
    ends.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn connections_outlive_a_renewal_and_new_ones_see_the_new_certificate() {
    let authority = authority();
    let now_ms = clock::unix_ms();
    let leaf = Arc::new(Leaf::try_new(&authority, &names(), now_ms - 10 * DAY_MS).unwrap());
    let mut before = connected(&leaf, trust(&authority)).await;
    assert!(leaf.renew_when_due(&authority, &names(), now_ms).unwrap());
    let after = connected(&leaf, trust(&authority)).await;
    assert_ne!(shown(&before), shown(&after));
    before.1.write_all(b"beat").await.unwrap();
    before.1.flush().await.unwrap();
    let mut heard = [0; 4];
    before.0.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"beat", "a stream that was open goes on");
}
