//! Bad input over the wire: each is refused with the field and changes nothing.

use ::http::{Method, header};
use serde_json::{Value, json};

use crate::admin::Call;

use super::{
    api::{Api, KEY},
    client::start,
};

#[tokio::test]
async fn every_odd_field_of_a_group_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let long = "a".repeat(129);
    let tags = vec!["t"; 33];
    let cases = [
        (&api.base, json!({}), "label"),
        (&api.base, json!({"label": ""}), "label"),
        (&api.base, json!({"label": "  "}), "label"),
        (&api.base, json!({"label": long}), "label"),
        (&api.base, json!({"label": 5}), "label"),
        (&api.base, json!({"label": "a\u{202e}b"}), "label"),
        (&api.base, json!({"label": "a\nb"}), "label"),
        (&api.base, json!({"label": "x", "id": "x"}), "id"),
        (&api.base, json!({"label": "x", "id": "NG_00000000-0000-4000-8000-000000000001"}), "id"),
        (&api.base, json!({"label": "x", "id": ""}), "id"),
        (&api.base, json!({"label": "x", "ownerId": "orga_00000000-0000-4000-8000-000000000000"}), "ownerId"),
        (&api.base, json!({"label": "x", "description": "d".repeat(1025)}), "description"),
        (&api.base, json!({"label": "x", "description": ["d"]}), "description"),
        (&api.base, json!({"label": "x", "tags": tags}), "tags"),
        (&api.base, json!({"label": "x", "tags": "a,b"}), "tags"),
        (&api.base, json!({"label": "x", "tags": [""]}), "tags"),
        (&api.base, json!({"label": "x", "tags": [1]}), "tags[0]"),
        (&api.base, json!({"label": "x", "networkIp": "8.8.8.0/24"}), "networkIp"),
        (&api.base, json!({"label": "x", "networkIp": "10.0.0.1/16"}), "networkIp"),
        (&api.base, json!({"label": "x", "networkIp": "10.0.0.0/31"}), "networkIp"),
        (&api.base, json!({"label": "x", "networkIp": "fd00::/64"}), "networkIp"),
        (&api.base, json!({"label": "x", "networkIp": "10.128.0.0/24"}), "networkIp"),
        (&api.base, json!({"label": "x", "networkIp": ""}), "networkIp"),
        (&api.base, json!({"label": "x", "ownership": "ours"}), "ownership"),
        (&api.base, json!({"label": "x", "members": [{"label": "y"}]}), "id"),
        (&api.base, json!({"label": "x", "members": [{"id": 1}]}), "members[0].id"),
        (&api.base, json!({"label": "x", "members": [{"id": "app_2", "label": ""}]}), "members.label"),
    ];
    refused(&api, &cases).await;
    running.shutdown().await;
}

#[tokio::test]
async fn every_odd_field_of_a_member_or_peer_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let members = format!("{}/members", api.group);
    let external = format!("{}/external-peers", api.group);
    let peers = format!("{}/peers", api.group);
    let web = json!({"id": "app_1", "label": "web", "domainName": "web.lacis.internal"});
    api.post(&members, &web).await.ok::<Value>();
    let long = "a".repeat(129);
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let peer = |field: &str, value: Value| {
        let mut body = json!({"label": "x", "parentMember": "app_1", "peerRole": "CLIENT", "publicKey": KEY});
        body[field] = value;
        body
    };
    let cases = [
        (&members, json!({}), "id"),
        (&members, json!({"id": "App_1"}), "id"),
        (&members, json!({"id": "x"}), "id"),
        (&members, json!({"id": format!("app_{long}")}), "id"),
        (&members, json!({"id": "app_2", "kind": "robot"}), "kind"),
        (&members, json!({"id": "app_2", "kind": 1}), "kind"),
        (&members, json!({"id": "app_2", "label": long}), "label"),
        (&members, json!({"id": "app_2", "domainName": "a.example.com"}), "domainName"),
        (&members, json!({"id": "app_2", "domainName": "\u{0441}.lacis.internal"}), "domainName"),
        (&members, json!({"id": "app_2", "domainName": "web.lacis.internal"}), "domainName"),
        (&members, json!({"id": "app_2", "domainName": "web.main.lacis.internal"}), "domainName"),
        (&external, peer("parentMember", Value::Null), "parentMember"),
        (&external, peer("parentMember", json!("app_9")), "parentMember"),
        (&external, peer("parentMember", json!("app 9")), "parentMember"),
        (&external, peer("peerRole", json!("BOSS")), "peerRole"),
        (&external, peer("peerRole", json!("SERVER")), "ip"),
        (&external, peer("publicKey", Value::Null), "publicKey"),
        (&external, peer("publicKey", json!("")), "publicKey"),
        (&external, peer("publicKey", json!(zero)), "publicKey"),
        (&external, peer("publicKey", json!(&KEY[..43])), "publicKey"),
        (&external, peer("publicKey", json!(KEY.to_lowercase().replace('=', "-"))), "publicKey"),
        (&external, peer("port", json!(0)), "port"),
        (&external, peer("port", json!(70_000)), "port"),
        (&external, peer("port", json!("x")), "port"),
        (&external, peer("ip", json!("300.0.0.1")), "ip"),
        (&external, peer("hostname", json!("h".repeat(254))), "hostname"),
        (&external, peer("label", json!("")), "label"),
        (&peers, peer("id", json!("7")), "id"),
    ];
    refused(&api, &cases).await;
    let server = json!({"parentMember": "app_1", "peerRole": "SERVER", "publicKey": KEY, "ip": "192.0.2.1"});
    refused(&api, &[(&external, server, "port")]).await;
    running.shutdown().await;
}

/// Each is refused for its field, and nothing has changed.
async fn refused(api: &Api, cases: &[(&String, Value, &str)]) {
    let before = (api.shown().await, api.get(&api.base).await.ok::<Value>());
    for (path, body, field) in cases {
        let problem = api.post(path, body).await.problem();
        assert_eq!(problem.field.as_deref(), Some(*field), "{body}: {problem:?}");
        assert!((400..=409).contains(&problem.status), "{body}: {problem:?}");
    }
    assert_eq!((api.shown().await, api.get(&api.base).await.ok::<Value>()), before, "nothing has changed");
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let bearer = format!("Bearer {}", api.token);
    let headers = [(header::AUTHORIZATION, bearer.as_str())];
    let deep = format!("{{\"label\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    for body in
        ["[", "null", "\"x\"", "[1]", "{\"label\":\"x\"} {}", "{\"label\":\"\u{0}\"}", "\u{feff}{}", &deep]
    {
        let problem = api.client.with(Method::POST, &api.base, &headers, body.to_owned()).await.problem();
        assert_eq!(problem.status, 400, "{}", &body[..body.len().min(40)]);
    }
    let huge = vec![b' '; 100 << 20];
    // The answer comes before all of it is sent, and the connection ends with it.
    let answer = api.client.sent(Method::POST, &api.base, &headers, huge).await;
    assert_eq!(answer, Some(413));
    let twice = r#"{"label":"a","label":"b"}"#;
    assert_eq!(api.client.with(Method::POST, &api.base, &headers, twice).await.problem().status, 400);
    assert_eq!(api.get(&api.base).await.status, 200);
    running.shutdown().await;
}

#[tokio::test]
async fn what_is_anothers_and_what_is_not_there_are_answered_alike() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let (foreign, theirs) = another_owner(&folder, &api).await;
    let missing = format!("{}/ng_00000000-0000-4000-8000-000000000000", api.base);
    let elsewhere = "/v4/networkgroups/organisations/orga_00000000-0000-4000-8000-000000000000";
    let paths = [
        format!("{elsewhere}/networkgroups"),
        format!("{elsewhere}/networkgroups/{}", running.ready.group),
        format!("{elsewhere}/tokens"),
        format!("{elsewhere}/nodes"),
        foreign.clone(),
        format!("{foreign}/{theirs}"),
        format!("{}/{theirs}", api.base),
        format!("{}/{theirs}/members", api.base),
        missing.clone(),
        format!("{missing}/members"),
        format!("{missing}/peers/x"),
        format!("{missing}/stream"),
        format!("{}/members/app_9", api.group),
        format!("{}/members/%FF", api.group),
        format!("{}/peers/00000000-0000-4000-8000-000000000000", api.group),
        format!("{}/receipts/x", api.group),
        format!("{}/%00", api.base),
    ];
    for path in &paths {
        assert_eq!(api.get(path).await.problem().status, 404, "{path}");
    }
    let absent = api.get(&missing).await.problem();
    let hidden = api.get(&format!("{}/{theirs}", api.base)).await.problem();
    let absent = absent.message.replace("ng_00000000-0000-4000-8000-000000000000", "it");
    assert_eq!(absent, hidden.message.replace(&theirs, "it"), "told alike");
    let overlapping = json!({"label": "x", "networkIp": "172.20.0.0/16"});
    assert_eq!(api.post(&api.base, &overlapping).await.status, 202, "their ranges tell nothing");
    let found: Value = api.get(&format!("{}/search?query=secret", api.base)).await.ok();
    assert_eq!(found, json!([]));
    let wrong_method = api.client.manage(Method::PUT, &api.group, &api.token, "{}").await;
    assert_eq!(wrong_method.problem().status, 405);
    assert!(wrong_method.headers.contains_key(header::ALLOW));
    for query in ["wait=x", "wait=-1"] {
        let problem =
            api.post(&format!("{}/members?{query}", api.group), &json!({"id": "app_1"})).await.problem();
        assert_eq!(problem.status, 400, "{query}");
    }
    running.shutdown().await;
}

/// Another owner with a group; gives the path of the owner's groups and the group.
async fn another_owner(folder: &tempfile::TempDir, api: &Api) -> (String, String) {
    let data = folder.path().join("data");
    let owner = Call::PutOwner { id: None, label: "another".to_owned() };
    let owner = crate::cli::ask_for_tests(&data, owner).await["id"].as_str().unwrap().to_owned();
    let token = Call::CreateApiToken {
        owner: Some(owner.parse().unwrap()),
        label: String::new(),
        may_write: true,
        groups: Vec::new(),
        lifetime_ms: None,
    };
    let token = crate::cli::ask_for_tests(&data, token).await["token"].as_str().unwrap().to_owned();
    let base = format!("/v4/networkgroups/organisations/{owner}/networkgroups");
    let body = json!({"label": "secret", "networkIp": "172.20.0.0/16"}).to_string();
    let made: Value = api.client.manage(Method::POST, &base, &token, &body).await.ok();
    (base, made["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn slow_clients_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(api.client.half_a_request(&api.base, &api.token).await);
    }
    let begun = tokio::time::Instant::now();
    api.post(&api.base, &json!({"label": "quick"})).await.ok::<Value>();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    drop(slow);
    running.shutdown().await;
}
