//! What ended long ago goes from memory and from the file.

use std::time::Duration;

use lacis_control_core::{Command, Reply};
use lacis_proto::IdentityKey;

use crate::{Keep, app, clock, retention};

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
    let count = |rows: &'static str| super::writers::number(&database, rows);
    assert_eq!(count("SELECT count(*) FROM nodes").await, 0);
    assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'node.revoke'").await, 0);
    assert_eq!(count("SELECT count(*) FROM tombstones").await, 0);
}
