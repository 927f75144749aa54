//! I1 and I2 on SQLite: many clients on one writer, and several writers with memories of their own on one
//! file. Checked in SQL.

use std::{path::Path, sync::Arc};

use lacis_control_core::{Command, Reply, State};
use lacis_proto::{GroupId, IdentityKey, PeerRequest, PublicKey, Secret, TokenId};
use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

use crate::{app, live::Live, store::Store, writer::Writer};

const CLIENTS: u8 = 24;
const ROUNDS: u8 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_share_one_writer() {
    let bench = Bench::new().await;
    let (writer, live) = bench.writer().await;
    let clients = (1..=CLIENTS).map(|client| tokio::spawn(bench.clone().client(writer.clone(), client)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    drop(writer);
    bench.check(&[live]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_with_memories_of_their_own_share_one_file() {
    let bench = Bench::new().await;
    let mut writers = Vec::new();
    for _ in 0..3 {
        writers.push(bench.writer().await);
    }
    let clients = (1..=CLIENTS).map(|client| {
        let writer = writers[usize::from(client) % 3].0.clone();
        tokio::spawn(bench.clone().client(writer, client))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let lives: Vec<Arc<Live>> = writers.into_iter().map(|(_, live)| live).collect();
    bench.check(&lives).await;
}

/// An installation on a file, with its first join token.
#[derive(Clone)]
struct Bench {
    folder: Arc<tempfile::TempDir>,
    group: GroupId,
    token: (TokenId, Secret),
    epoch: lacis_proto::Epoch,
}

impl Bench {
    async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let opened = app::open(folder.path()).await.unwrap();
        let group = opened.state.groups().next().unwrap().row.id.clone();
        let epoch = opened.epoch;
        let stopped = opened.without_listening().unwrap();
        let command =
            Command::CreateJoinToken { group: group.clone(), member: None, max_uses: 0, lifetime_ms: None };
        let reply = stopped.control.writer.ask(command).await.unwrap();
        let Reply::JoinToken(row, secret) = reply else { panic!("{reply:?}") };
        drop(stopped.control);
        stopped.writer.await.unwrap();
        Self { folder, group, token: (row.id, secret), epoch }
    }

    /// A writer with its own connection and its own memory.
    async fn writer(&self) -> (Writer, Arc<Live>) {
        let mut store = Store::open(&self.database()).await.unwrap();
        let loaded = store.load().await.unwrap();
        let mut state = State::default();
        state.apply(loaded.rows);
        let live = Arc::new(Live::try_new(self.epoch, state).unwrap());
        (Writer::start(store, loaded.change, Arc::clone(&live)).0, live)
    }

    /// A node that joins, adds its peer, sends everything twice, leaves, and comes back.
    async fn client(self, writer: Writer, client: u8) {
        for round in 0..ROUNDS {
            let join = Command::Join {
                token: self.token.0.clone(),
                secret: self.token.1.clone(),
                identity: IdentityKey::try_new([client; 32]).unwrap(),
                host_name: "web".to_owned(),
                agent: "test".to_owned(),
            };
            let first = writer.ask(join.clone()).await.unwrap();
            let again = writer.ask(join).await.unwrap();
            let Reply::Joined { node, member, .. } = &again else { panic!("{again:?}") };
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
            let request = PeerRequest {
                group: self.group.clone(),
                member: member.clone(),
                instance: format!("instance-{client}"),
                key: PublicKey::try_new([client; 32]).unwrap(),
                label: "peer".to_owned(),
                endpoints: Vec::new(),
            };
            let add = Command::AddPeer { node: node.clone(), request };
            let (one, two) = tokio::join!(writer.ask(add.clone()), writer.ask(add));
            let (Reply::Peer(one), Reply::Peer(two)) = (one.unwrap(), two.unwrap()) else { panic!() };
            assert_eq!((&one.peer, one.host), (&two.peer, two.host));
            if round + 1 < ROUNDS {
                writer.ask(Command::RemovePeer { peer: one.peer, by: Some(node.clone()) }).await.unwrap();
            }
        }
    }

    fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("control.db")
    }

    async fn check(&self, lives: &[Arc<Live>]) {
        let doubled =
            "SELECT count(*) FROM (SELECT 1 FROM peers GROUP BY group_id, host HAVING count(*) > 1)";
        assert_eq!(number(&self.database(), doubled).await, 0);
        let resting = "SELECT count(*) FROM peers p JOIN released_hosts r ON r.group_id = p.group_id AND r.host = p.host";
        assert_eq!(number(&self.database(), resting).await, 0);
        assert_eq!(number(&self.database(), "SELECT count(*) FROM peers").await, i64::from(CLIENTS));
        // Revisions 1, 2, 3 … : as many different ones with an effect as the highest says, for every scope.
        for scopes in [
            "SELECT count(*) FROM groups g WHERE g.revision <> (SELECT count(DISTINCT revision) FROM audit a \
             WHERE a.scope_id = g.id) OR g.revision <> (SELECT max(revision) FROM audit a WHERE a.scope_id = g.id)",
            "SELECT count(*) FROM nodes n WHERE n.revision <> (SELECT count(DISTINCT revision) FROM audit a \
             WHERE a.scope_id = n.id) OR n.revision <> (SELECT max(revision) FROM audit a WHERE a.scope_id = n.id)",
        ] {
            assert_eq!(number(&self.database(), scopes).await, 0, "{scopes}");
        }
        let uses = number(&self.database(), "SELECT max(uses) FROM join_tokens").await;
        assert_eq!(uses, i64::from(CLIENTS), "each identity counts once");
        // A writer that has written last agrees with the file; the others agree with what they last saw.
        let revision = number(&self.database(), "SELECT max(revision) FROM groups").await;
        let seen = lives.iter().map(|live| live.read().state.group(&self.group).unwrap().row.revision.0);
        assert_eq!(seen.max(), Some(revision.cast_unsigned()));
    }
}

async fn number(path: &Path, sql: &'static str) -> i64 {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
}
