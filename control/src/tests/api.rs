//! The management API over the wire: what clients do with groups, members and peers, and what they read back.

use ::http::{Method, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::client::{Answer, Client, start};
use crate::Running;

pub(super) const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A client of the management API with the first token.
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) token: String,
    pub(super) owner: String,
    /// The path of the owner's groups.
    pub(super) base: String,
    /// The path of the first group.
    pub(super) group: String,
}

impl Api {
    pub(super) fn new(running: &Running) -> Self {
        let owner = running.ready.owner.to_string();
        let base = format!("/v4/networkgroups/organisations/{owner}/networkgroups");
        let group = format!("{base}/{}", running.ready.group);
        let token = running.ready.api_token.clone().unwrap();
        Self { client: Client::new(running, 9), token, owner, base, group }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.client.manage(Method::GET, path, &self.token, "").await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client.manage(Method::POST, path, &self.token, &body.to_string()).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.client.manage(Method::PATCH, path, &self.token, &body.to_string()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.client.manage(Method::DELETE, path, &self.token, "").await
    }

    /// The first group, as it is now.
    pub(super) async fn shown(&self) -> Value {
        self.get(&self.group).await.ok()
    }
}

#[tokio::test]
async fn a_group_is_made_changed_and_deleted_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let id = "ng_00000000-0000-4000-8000-000000000001";
    let legacy = format!("app_1.m.{id}.cc-ng.cloud");
    let body = json!({
        "ownerId": api.owner, "id": id, "label": "Shop ñ", "description": "d", "tags": ["a"], "ownership": "customer",
        "members": [{"id": "app_1", "domainName": legacy, "kind": "application"}],
    });
    let made = api.post(&api.base, &body).await;
    assert_eq!(made.status, 202);
    let made: Value = made.ok();
    assert_eq!((&made["id"], &made["version"], &made["label"]), (&json!(id), &json!(1), &json!("Shop ñ")));
    assert_eq!(
        made["members"][0],
        json!({
            "id": "app_1", "kind": "APPLICATION", "label": "app_1", "domainName": legacy
        })
    );
    assert_eq!(api.post(&api.base, &body).await.ok::<Value>(), made, "a replay gives the same answer");

    let path = format!("{}/{id}", api.base);
    let changed: Value = api.patch(&path, &json!({"label": "new", "tags": []})).await.ok();
    assert_eq!(
        (&changed["label"], &changed["description"], &changed["version"]),
        (&json!("new"), &json!("d"), &json!(2))
    );
    let listed: Value = api.get(&api.base).await.ok();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(api.delete(&path).await.status, 204);
    assert_eq!(api.get(&path).await.problem().status, 404);
    let again: Value = api.post(&api.base, &json!({"id": id, "label": "again"})).await.ok();
    assert_eq!((&again["version"], again["members"].as_array().unwrap().len()), (&json!(4), 0));
    running.shutdown().await;

    let running = start(&folder).await;
    let list: Value = Client::new(&running, 1).manage(Method::GET, &path, &api.token, "").await.ok();
    assert_eq!(list["version"], 4, "it is stored as it was answered");
    running.shutdown().await;
}

#[tokio::test]
async fn members_and_external_peers_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let members = format!("{}/members", api.group);
    let linked = api.post(&members, &json!({"id": "postgresql_1", "kind": "ADDON", "label": null})).await;
    assert_eq!(linked.status, 202);
    let linked: Value = linked.ok();
    assert_eq!(
        (&linked["label"], &linked["kind"], &linked["version"]),
        (&json!("postgresql_1"), &json!("ADDON"), &json!(2))
    );
    let named = json!({"id": "external_1", "kind": "External", "label": "Laptop", "domainName": "laptop.lacis.internal"});
    let parent: Value = api.post(&members, &named).await.ok();
    assert_eq!(parent["domainName"], "laptop.lacis.internal");
    assert_eq!(api.post(&members, &named).await.ok::<Value>(), parent);
    let shown: Value = api.get(&format!("{members}/external_1")).await.ok();
    assert_eq!(shown["label"], "Laptop");
    let renamed: Value = api.patch(&format!("{members}/external_1"), &json!({"label": "Desk"})).await.ok();
    assert_eq!(
        (&renamed["label"], &renamed["domainName"]),
        (&json!("Desk"), &json!("laptop.lacis.internal"))
    );

    let peers = format!("{}/external-peers", api.group);
    let body =
        json!({"peerRole": "client", "publicKey": KEY, "label": "my laptop", "parentMember": "external_1"});
    let made: Value = api.post(&peers, &body).await.ok();
    let id = made["peerId"].as_str().unwrap();
    assert!(
        id.starts_with("external_")
            && made["type"] == "ExternalPeer"
            && made["endpoint"]["type"] == "ClientEndpoint"
    );
    assert_eq!(api.post(&peers, &body).await.ok::<Value>()["peerId"], id, "the same key is the same peer");
    let server = json!({"ip": "192.0.2.7", "port": 51820});
    let dialled: Value = api.patch(&format!("{}/peers/{id}", api.group), &server).await.ok();
    assert_eq!(dialled["endpoint"]["publicTerm"], json!({"host": "192.0.2.7", "port": 51820}));
    let chosen = json!({"id": "00000000-0000-4000-8000-000000000009", "parentMember": "postgresql_1", "peerRole": "SERVER",
        "peerKind": "CLEVER", "ip": "2001:db8::1", "port": "4242", "hostname": "db-1"});
    let chosen: Value = api.post(&format!("{}/peers", api.group), &chosen).await.ok();
    assert_eq!(
        (&chosen["type"], &chosen["publicKey"], &chosen["hostname"]),
        (&json!("CleverPeer"), &Value::Null, &json!("db-1"))
    );

    let version = api.shown().await["version"].clone();
    assert_eq!(api.delete(&format!("{peers}/{id}")).await.status, 204);
    assert_eq!(api.delete(&format!("{peers}/{id}")).await.status, 204, "a replay is harmless");
    assert_eq!(api.delete(&format!("{members}/postgresql_1")).await.status, 204);
    let shown = api.shown().await;
    assert_eq!(shown["version"], version.as_u64().unwrap() + 2);
    assert!(shown["peers"].as_array().unwrap().is_empty(), "unlinking takes the peers along");
    let audit: Value = api.get(&format!("{}/audit?limit=2", api.group)).await.ok();
    let actions: Vec<_> =
        audit.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["member.unlink", "peer.remove"]);
    assert!(audit[0]["actor"].as_str().unwrap().starts_with("token "));
    running.shutdown().await;
}

#[tokio::test]
async fn search_summary_and_self_are_in_the_shape_that_clients_read() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let members = format!("{}/members", api.group);
    api.post(&members, &json!({"id": "app_1", "label": "WebShop"})).await.ok::<Value>();
    let peer = json!({"publicKey": KEY, "label": "shop phone", "parentMember": "app_1"});
    api.post(&format!("{}/external-peers", api.group), &peer).await.ok::<Value>();
    let found: Value = api.get(&format!("{}/search?query=SHOP", api.base)).await.ok();
    let kinds: Vec<_> = found.as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Member", "ExternalPeer"]);
    assert!(
        found.as_array().unwrap().iter().all(|one| one["networkGroupId"] == running.ready.group.as_str())
    );
    let found: Value = api.get(&format!("{}/search?query=main", api.base)).await.ok();
    assert_eq!((&found[0]["type"], found[0]["peers"].as_array().unwrap().len()), (&json!("NetworkGroup"), 1));

    let summary: Value = api.get("/v2/summary").await.ok();
    assert_eq!(summary["user"]["id"], api.owner);
    assert_eq!(summary["organisations"][0]["applications"][0]["id"], "app_1");
    assert_eq!(summary["organisations"][0]["addons"], json!([]));
    let me: Value = api.get("/v2/self").await.ok();
    assert_eq!(me["id"], api.owner);
    running.shutdown().await;
}

#[tokio::test]
async fn a_plain_client_gets_its_file_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let members = format!("{}/members", api.group);
    api.post(&members, &json!({"id": "external_1"})).await.ok::<Value>();
    let peer = json!({"publicKey": KEY, "label": "phone", "parentMember": "external_1"});
    let made: Value = api.post(&format!("{}/external-peers", api.group), &peer).await.ok();
    let id = made["peerId"].as_str().unwrap();
    let path = format!("{}/peers/{id}/wireguard/configuration", api.group);
    let bearer = format!("Bearer {}", api.token);
    let text = async |accept: &str| {
        let headers = [(header::AUTHORIZATION, bearer.as_str()), (header::ACCEPT, accept)];
        api.client.with(Method::GET, &path, &headers, "").await
    };
    let plain = text("text/plain").await;
    assert!(plain.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    assert!(plain.body.starts_with(b"# phone"), "{:?}", plain.body);
    assert_eq!(text("*/*").await.body, plain.body);
    let wrapped: Value = text("application/json").await.ok();
    assert_eq!(STANDARD.decode(wrapped["configuration"].as_str().unwrap()).unwrap(), plain.body);
    assert_eq!((&wrapped["peerId"], &wrapped["peers"][0]["peer_id"]), (&json!(id), &json!(id)));

    let url: Value = api.get(&format!("{path}/presigned-url")).await.ok();
    let url = url["url"].as_str().unwrap().strip_prefix("https://localhost").unwrap().to_owned();
    let without_login = api.client.with(Method::GET, &url, &[], "").await;
    assert_eq!((without_login.status.as_u16(), &without_login.body), (200, &plain.body));
    let later = url.replace("expires=1", "expires=9");
    let other = url.replace(id, "external_00000000-0000-4000-8000-000000000000");
    for forged in [&later, &other, &format!("{}x", url), &url[..url.len() - 3].to_owned()] {
        assert_eq!(api.client.with(Method::GET, forged, &[], "").await.problem().status, 403, "{forged}");
    }
    assert_eq!(api.get(&path.replace(id, "nobody")).await.problem().status, 404);
    running.shutdown().await;
}

#[tokio::test]
async fn a_write_waits_until_connected_agents_have_applied_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let mut agent = Client::new(&running, 1);
    let join = agent.join(running.ready.join_token.as_ref().unwrap()).await;
    agent.add_peer(&join, 1).await;
    let mut watch = agent.watch(lacis_proto::Follower::default()).await;
    watch
        .until(|line| matches!(line, lacis_proto::Line::At(at) if at.scope.as_str().starts_with("ng_")))
        .await;

    let (members, body) = (format!("{}/members?wait=10", api.group), json!({"id": "app_1"}));
    let confirm = async {
        let awaited = |line: &lacis_proto::Line| {
            matches!(line, lacis_proto::Line::At(at)
                if at.scope.as_str().starts_with("ng_") && at.ack_within_ms.is_some_and(|ms| ms < 1_000))
        };
        watch.until(awaited).await;
        let report = lacis_proto::ReportRequest {
            seq: 1,
            agent: "test".to_owned(),
            peers: Vec::new(),
            applied: watch.follower.have(),
        };
        agent.call(Method::POST, "/agent/v1/report", &report).await.ok::<Value>();
    };
    let (linked, ()) = tokio::join!(api.post(&members, &body), confirm);
    let linked: Value = linked.ok();
    assert_eq!((&linked["receipt"]["complete"], &linked["receipt"]["applied"]), (&json!(true), &json!(1)));

    let late: Value = api.patch(&format!("{}?wait=0", api.group), &json!({"label": "new"})).await.ok();
    assert_eq!(
        (&late["receipt"]["complete"], late["receipt"]["missing"].as_array().unwrap().len()),
        (&json!(false), 1)
    );
    let version = late["version"].as_u64().unwrap();
    let receipt: Value = api.get(&format!("{}/receipts/{}", api.group, version - 1)).await.ok();
    assert_eq!(receipt["complete"], true);
    assert_eq!(api.get(&format!("{}/receipts/{}", api.group, version + 1)).await.problem().status, 404);
    let nodes: Value = api.get(&format!("/v4/networkgroups/organisations/{}/nodes", api.owner)).await.ok();
    assert_eq!(
        (&nodes[0]["presence"]["connected"], &nodes[0]["presence"]["agent"]),
        (&json!(true), &json!("test"))
    );
    let node = format!("/v4/networkgroups/organisations/{}/nodes/{}", api.owner, join.node);
    assert_eq!(api.delete(&node).await.status, 204);
    assert_eq!(api.get(&node).await.ok::<Value>()["revoked"], true);
    drop(watch);
    running.shutdown().await;
}
