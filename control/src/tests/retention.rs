//! What ended long ago goes from memory and from the file.

use std::time::Duration;

use lacis_control_core::{Command, Kept, Reply};
use lacis_proto::IdentityKey;

use super::writers::{execute, number};
use crate::{Keep, app, clock, retention, store::MAX_AUDIT_GONE};

#[tokio::test]
async fn what_ended_long_ago_goes_from_memory_and_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let opened = app::open(&data, &["lacis.internal".to_owned()]).await.unwrap();
    let stopped = opened.without_listening().await.unwrap();
    let group = stopped.control.live.read().state.groups().next().unwrap().row.id.clone();
    let make =
        Command::CreateJoinToken { group: group.clone(), member: None, max_uses: 0, lifetime_ms: None };
    let Reply::JoinToken(row, secret) = stopped.control.writer.ask(make).await.unwrap() else {
        panic!("a token is answered");
    };
    let (host_name, agent) = ("web".to_owned(), "lacis".to_owned());
    let identity = IdentityKey::try_new([1; 32]).unwrap();
    let join = Command::Join { token: row.id, secret, identity, host_name, agent };
    let Reply::Joined { node, .. } = stopped.control.writer.ask(join).await.unwrap() else {
        panic!("a node is let in");
    };
    // Its grant and its member, which never came with a peer, go with the group.
    stopped.control.writer.ask(Command::DeleteGroup { group }).await.unwrap();
    stopped.control.writer.ask(Command::RevokeNode { node: node.clone(), owner: None }).await.unwrap();

    let long = Some(Duration::from_secs(3_600));
    retention::forget(&stopped.control, Keep { audit: long, ended: long }).await;
    let noted = stopped.control.live.read().state.node(&node).and_then(|row| row.ended_ms);
    assert!(noted.is_some_and(|ended| ended <= clock::unix_ms()));
    let (now, database) = (Some(Duration::ZERO), data.join("control.db"));
    while stopped.control.live.read().state.node(&node).is_some() {
        retention::forget(&stopped.control, Keep { audit: now, ended: now }).await;
    }
    let count = |rows: &'static str| number(&database, rows);
    assert_eq!(count("SELECT count(*) FROM nodes").await, 0);
    assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'node.revoke'").await, 0);
    assert_eq!(count("SELECT count(*) FROM tombstones").await, 0);
}

#[tokio::test]
async fn an_audit_of_years_is_forgotten_by_short_commits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let opened = app::open(&data, &["lacis.internal".to_owned()]).await.unwrap();
    let control = opened.without_listening().await.unwrap().control;
    let database = data.join("control.db");
    let old = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 25000) \
               INSERT INTO audit (scope_id, revision, at_ms, action, target) \
               SELECT NULL, n, n, 'made', 'up' FROM n";
    execute(&database, old).await;
    let left = || number(&database, "SELECT count(*) FROM audit WHERE action = 'made'");
    let once = Kept { audit_since_ms: Some(clock::unix_ms() / 2), ..Kept::default() };
    control.writer.ask(Command::Forget(once)).await.unwrap();
    assert_eq!(left().await, 25_000 - MAX_AUDIT_GONE, "the oldest, as many as one commit takes");
    let half = Some(Duration::from_millis(clock::unix_ms() / 2));
    retention::forget(&control, Keep { audit: half, ended: None }).await;
    assert_eq!(left().await, 0);
    assert!(number(&database, "SELECT count(*) FROM audit").await > 0, "what is young is kept");
}
