//! The management API over the wire.

use ::http::Method;
use serde_json::Value;

use super::client::{Client, start};

#[tokio::test]
async fn an_api_token_manages_the_groups_of_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (token, owner) = (running.ready.api_token.clone().unwrap(), running.ready.owner.clone());
    let mut a = Client::new(&running, 1);
    let base = format!("/v4/networkgroups/organisations/{owner}/networkgroups");
    let group = format!("{base}/{}", running.ready.group);

    let suffixes: Value = a.manage(Method::GET, "/networkgroup/configuration", "", "").await.ok();
    assert_eq!(suffixes["dnsSuffixes"][0], "lacis.internal");
    for bad in ["", "lacis_api_x", &format!("{}x", &token[..token.len() - 1])] {
        assert_eq!(a.manage(Method::GET, &base, bad, "").await.problem().status, 401, "{bad}");
    }
    let made: Value =
        a.manage(Method::POST, &format!("{group}/join-tokens"), &token, r#"{"maxUses":1}"#).await.ok();
    let join = a.join(made["token"].as_str().unwrap()).await;
    let peer = a.add_peer(&join, 1).await;
    let mut watch = a.watch(lacis_proto::Follower::default()).await;
    watch.line().await.unwrap();

    let shown: Value = a.manage(Method::GET, &group, &token, "").await.ok();
    assert_eq!(shown["version"], peer.version.0);
    assert_eq!(shown["members"][0]["kind"], "EXTERNAL");
    assert_eq!(shown["peers"][0]["id"], peer.peer.as_str());
    assert_eq!(shown["peers"][0]["presence"]["connected"], true);
    assert_eq!(shown["peers"][0]["endpoint"]["type"], "ClientEndpoint");
    let tokens: Value = a.manage(Method::GET, &format!("{group}/join-tokens"), &token, "").await.ok();
    assert_eq!(tokens.as_array().unwrap().len(), 2);

    let gone = a.manage(Method::DELETE, &format!("{group}/peers/{}", peer.peer), &token, "").await;
    assert_eq!(gone.status, 204);
    watch.until(|line| matches!(line, lacis_proto::Line::Drop(_))).await;
    let id = made["id"].as_str().unwrap();
    let revoked = a.manage(Method::DELETE, &format!("{group}/join-tokens/{id}"), &token, "").await;
    assert_eq!(revoked.status, 204);
    running.shutdown().await;
}

#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let (token, owner) = (running.ready.api_token.clone().unwrap(), running.ready.owner.clone());
    let a = Client::new(&running, 1);
    let groups = |owner: &str| format!("/v4/networkgroups/organisations/{owner}/networkgroups");
    let base = groups(owner.as_str());
    for path in [
        groups("orga_00000000-0000-4000-8000-000000000000"),
        format!("{base}/ng_00000000-0000-4000-8000-000000000000"),
        format!("{base}/nonsense"),
    ] {
        assert_eq!(a.manage(Method::GET, &path, &token, "").await.problem().status, 404, "{path}");
    }
    for (body, field) in [
        (r#"{"label":""}"#, "label"),
        (r#"{"label":"x","id":"x"}"#, "id"),
        (r#"{"label":"x","networkIp":"x"}"#, "networkIp"),
        (r#"{"label":"x","networkIp":"10.0.0.1/16"}"#, "networkIp"),
    ] {
        let problem = a.manage(Method::POST, &base, &token, body).await.problem();
        assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)), "{body}");
    }
    let list: Value = a.manage(Method::GET, &base, &token, "").await.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    running.shutdown().await;
}
