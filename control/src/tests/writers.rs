//! I1 and I2 on SQLite: many clients on one writer, and several writers with memories of their own on one
//! file. Checked in SQL.

use std::{path::Path, sync::Arc};

use lacis_control_core::{Command, Remover, Reply, State};
use lacis_proto::{Code, GroupId, IdentityKey, MemberId, NodeId, PeerRequest, PublicKey, Secret, TokenId};
use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

use crate::{
    app,
    live::Live,
    store::Store,
    writer::{QUEUE, Writer},
};

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

#[tokio::test]
async fn a_failing_write_takes_nobody_with_it_and_spends_nothing() {
    let bench = Bench::new().await;
    let (writer, live) = bench.writer().await;
    let fails = "CREATE TRIGGER fails BEFORE INSERT ON peers WHEN NEW.label = 'bad' \
                 BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END";
    execute(&bench.database(), fails).await;
    let mut adds = Vec::new();
    for (client, label) in (1..).zip(["good", "bad", "fine"]) {
        let reply = writer.ask(bench.join(client)).await.unwrap();
        let Reply::Joined { node, member, .. } = reply else { panic!() };
        adds.push(bench.add(&node, &member, client, label));
    }
    let before = bench.revision(&live);
    let [good, bad, fine] = <[Command; 3]>::try_from(adds).unwrap();
    let (good, refused, fine) = tokio::join!(writer.ask(good), writer.ask(bad.clone()), writer.ask(fine));
    assert!(good.is_ok() && fine.is_ok());
    assert_eq!(refused.unwrap_err().code, Code::StoreUnavailable);
    let shown = live.read().state.group(&bench.group).unwrap().peers.len();
    assert_eq!(shown, 2, "what was not stored is not shown");
    assert!(bench.revision(&live) - before <= 2);

    execute(&bench.database(), "DROP TRIGGER fails").await;
    assert!(writer.ask(bad).await.is_ok());
    bench.check_revisions().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_everybody_else_is_answered() {
    let bench = Bench::new().await;
    let (writer, _live) = bench.writer().await;
    let nobody = GroupId::from_random([9; 16]);
    // All are asked before the writer has its turn, on the one thread of this test.
    let asks = (0..QUEUE + 100).map(|_| {
        let (writer, group) = (writer.clone(), nobody.clone());
        tokio::spawn(async move {
            writer.ask(Command::DeleteGroup { group }).await.map_err(|refused| refused.code)
        })
    });
    let mut busy = 0;
    for ask in asks.collect::<Vec<_>>() {
        match ask.await.unwrap() {
            Ok(reply) => assert!(matches!(reply, Reply::Done), "{reply:?}"),
            Err(code) => {
                assert_eq!(code, Code::Busy);
                busy += 1;
            }
        }
    }
    assert_eq!(busy, 100);
    assert_eq!(writer.waiting(), 0);
}

#[tokio::test]
async fn a_failing_read_shrinks_nothing() {
    let bench = Bench::new().await;
    let (writer, live) = bench.writer().await;
    writer.ask(bench.join(1)).await.unwrap();
    let before = bench.revision(&live);
    // Another process has written, and what it wrote cannot be read.
    execute(&bench.database(), "UPDATE installation SET change = change + 1").await;
    execute(&bench.database(), "UPDATE nodes SET identity = x'00'").await;
    let refused = writer.ask(bench.join(2)).await.unwrap_err();
    assert_eq!(refused.code, Code::StoreUnavailable);
    assert_eq!(bench.revision(&live), before);
    assert_eq!(live.read().state.nodes().count(), 1);
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
        let opened = app::open(folder.path(), &crate::Config::new("").suffixes).await.unwrap();
        let group = opened.state.groups().next().unwrap().row.id.clone();
        let epoch = opened.epoch;
        let stopped = opened.without_listening().await.unwrap();
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
            let join = self.join(client);
            let first = writer.ask(join.clone()).await.unwrap();
            let again = writer.ask(join).await.unwrap();
            let Reply::Joined { node, member, .. } = &again else { panic!("{again:?}") };
            assert_eq!(format!("{first:?}"), format!("{again:?}"));
            let add = self.add(node, member, client, "peer");
            let (one, two) = tokio::join!(writer.ask(add.clone()), writer.ask(add));
            let (Reply::Peer(one), Reply::Peer(two)) = (one.unwrap(), two.unwrap()) else { panic!() };
            assert_eq!((&one.peer, one.host), (&two.peer, two.host));
            if round + 1 < ROUNDS {
                writer
                    .ask(Command::RemovePeer { peer: one.peer, by: Remover::Node(node.clone()) })
                    .await
                    .unwrap();
            }
        }
    }

    fn join(&self, client: u8) -> Command {
        Command::Join {
            token: self.token.0.clone(),
            secret: self.token.1.clone(),
            identity: IdentityKey::try_new([client; 32]).unwrap(),
            host_name: "web".to_owned(),
            agent: "test".to_owned(),
        }
    }

    fn add(&self, node: &NodeId, member: &MemberId, client: u8, label: &str) -> Command {
        let request = PeerRequest {
            group: self.group.clone(),
            member: member.clone(),
            instance: format!("instance-{client}"),
            key: PublicKey::try_new([client; 32]).unwrap(),
            label: label.to_owned(),
            endpoints: Vec::new(),
            statement: None,
        };
        Command::AddPeer { node: node.clone(), request }
    }

    fn revision(&self, live: &Live) -> u64 {
        live.read().state.group(&self.group).unwrap().row.revision.0
    }

    fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("control.db")
    }

    async fn check_revisions(&self) {
        // Revisions 1, 2, 3 … : as many different ones with an effect as the highest says, for every scope.
        for scopes in [
            "SELECT count(*) FROM groups g WHERE g.revision <> (SELECT count(DISTINCT revision) FROM audit a \
             WHERE a.scope_id = g.id) OR g.revision <> (SELECT max(revision) FROM audit a WHERE a.scope_id = g.id)",
            "SELECT count(*) FROM nodes n WHERE n.revision <> (SELECT count(DISTINCT revision) FROM audit a \
             WHERE a.scope_id = n.id) OR n.revision <> (SELECT max(revision) FROM audit a WHERE a.scope_id = n.id)",
        ] {
            assert_eq!(number(&self.database(), scopes).await, 0, "{scopes}");
        }
    }

    async fn check(&self, lives: &[Arc<Live>]) {
        let doubled =
            "SELECT count(*) FROM (SELECT 1 FROM peers GROUP BY group_id, host HAVING count(*) > 1)";
        assert_eq!(number(&self.database(), doubled).await, 0);
        let resting = "SELECT count(*) FROM peers p JOIN released_hosts r ON r.group_id = p.group_id AND r.host = p.host";
        assert_eq!(number(&self.database(), resting).await, 0);
        assert_eq!(number(&self.database(), "SELECT count(*) FROM peers").await, i64::from(CLIENTS));
        self.check_revisions().await;
        let uses = number(&self.database(), "SELECT max(uses) FROM join_tokens").await;
        assert_eq!(uses, i64::from(CLIENTS), "each identity counts once");
        // A writer that has written last agrees with the file; the others agree with what they last saw.
        let revision = number(&self.database(), "SELECT max(revision) FROM groups").await;
        let seen = lives.iter().map(|live| live.read().state.group(&self.group).unwrap().row.revision.0);
        assert_eq!(seen.max(), Some(revision.cast_unsigned()));
    }
}

pub(super) async fn execute(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

pub(super) async fn number(path: &Path, sql: &'static str) -> i64 {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
}
