//! Event streams: at once, at each change, again from where one was, and to their end.

use std::time::Duration;

use ::http::{HeaderName, Method, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    api::{Api, KEY},
    client::{DEADLINE, start},
};

/// An open stream of events.
struct Events {
    body: Incoming,
    text: String,
}

#[derive(Debug)]
struct Event {
    kind: String,
    id: String,
    data: Value,
}

impl Events {
    async fn open(api: &Api, path: &str, last: Option<&str>) -> Self {
        let bearer = format!("Bearer {}", api.token);
        let mut headers: Vec<(HeaderName, &str)> = vec![(header::AUTHORIZATION, &bearer)];
        headers.extend(last.map(|last| (HeaderName::from_static("last-event-id"), last)));
        let response = api.client.opened(Method::GET, path, &headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                if event.starts_with(':') {
                    self.text = rest.to_owned();
                    continue;
                }
                let line = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(name));
                    found.unwrap_or_default().to_owned()
                };
                let data = serde_json::from_str(&line("data: ")).unwrap();
                let event = Event { kind: line("event: "), id: line("id: "), data };
                self.text = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.unwrap();
            self.text.push_str(std::str::from_utf8(frame?.unwrap().data_ref().unwrap()).unwrap());
        }
    }

    async fn until(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.kind == kind {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn a_group_is_streamed_at_once_and_after_each_change_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let begun = tokio::time::Instant::now();
    let mut stream = Events::open(&api, &format!("{}/stream", api.group), None).await;
    let first = stream.next().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!((first.kind.as_str(), &first.data["version"]), ("", &json!(1)));
    api.post(&format!("{}/members", api.group), &json!({"id": "app_1"})).await.ok::<Value>();
    let second = stream.until("").await;
    assert_eq!((second.id.as_str(), &second.data["members"][0]["id"]), ("2", &json!("app_1")));
    stream.until("HEARTBEAT").await;
    api.delete(&api.group).await;
    assert_eq!(stream.until("END_OF_STREAM").await.data["endedBy"], "gone");
    assert!(stream.next().await.is_none());
    running.shutdown().await;
}

#[tokio::test]
async fn changes_are_streamed_from_where_the_reader_was() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let (path, members) = (format!("{}/events", api.group), format!("{}/members", api.group));
    let mut stream = Events::open(&api, &path, None).await;
    assert_eq!(stream.next().await.unwrap().kind, "reset");
    assert_eq!(stream.next().await.unwrap().data["group"]["label"], "main");
    let at = stream.until("at").await;
    drop(stream);
    api.post(&members, &json!({"id": "app_1"})).await.ok::<Value>();
    api.post(&members, &json!({"id": "app_2"})).await.ok::<Value>();
    api.delete(&format!("{members}/app_1")).await;
    let mut stream = Events::open(&api, &path, Some(&at.id)).await;
    let put = stream.next().await.unwrap();
    assert_eq!((put.kind.as_str(), &put.data["member"]["id"]), ("put", &json!("app_2")));
    let del = stream.next().await.unwrap();
    assert_eq!((del.kind.as_str(), &del.data["id"]), ("del", &json!("app_1")));
    assert_eq!(stream.until("at").await.data["version"], 4);
    let mut odd = Events::open(&api, &path, Some("nonsense")).await;
    assert_eq!(odd.next().await.unwrap().kind, "reset", "an unreadable id leads to everything");
    running.shutdown().await;
}

#[tokio::test]
async fn a_file_is_streamed_as_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    api.post(&format!("{}/members", api.group), &json!({"id": "external_1"})).await.ok::<Value>();
    let peers = format!("{}/external-peers", api.group);
    let peer = json!({"publicKey": KEY, "label": "phone", "parentMember": "external_1"});
    let made: Value = api.post(&peers, &peer).await.ok();
    let path =
        format!("{}/peers/{}/wireguard/configuration/stream", api.group, made["peerId"].as_str().unwrap());
    let mut stream = Events::open(&api, &path, None).await;
    let first = stream.until("").await.data;
    assert_eq!((&first["peerId"], first["peers"].as_array().unwrap().len()), (&made["peerId"], 1));
    let server = json!({"publicKey": KEY.replace('x', "y"), "label": "server", "parentMember": "external_1",
        "peerRole": "SERVER", "ip": "192.0.2.1", "port": 51820});
    api.post(&peers, &server).await.ok::<Value>();
    let second = stream.until("").await.data;
    let text = STANDARD.decode(second["configuration"].as_str().unwrap()).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("Endpoint = 192.0.2.1:51820"));
    running.shutdown().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_credential_and_with_control() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let mut api = Api::new(&running);
    let tokens = format!("/v4/networkgroups/organisations/{}/tokens", api.owner);
    let made: Value = api.post(&tokens, &json!({"access": "read"})).await.ok();
    let first = std::mem::replace(&mut api.token, made["token"].as_str().unwrap().to_owned());
    let mut short = Events::open(&api, &format!("{}/stream", api.group), None).await;
    api.token = first;
    let mut long = Events::open(&api, &format!("{}/stream", api.group), None).await;
    api.delete(&format!("{tokens}/{}", made["id"].as_str().unwrap())).await;
    assert_eq!(short.until("END_OF_STREAM").await.data["endedBy"], "credential");
    long.until("").await;
    let stopping = tokio::spawn(running.shutdown());
    assert_eq!(long.until("END_OF_STREAM").await.data["endedBy"], "drain");
    drop(long);
    stopping.await.unwrap();
}

#[tokio::test]
async fn readers_that_never_read_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder).await;
    let api = Api::new(&running);
    let mut asleep = Vec::new();
    for _ in 0..50 {
        asleep.push(Events::open(&api, &format!("{}/stream", api.group), None).await);
    }
    for number in 0..100 {
        let label = json!({"label": format!("{number} {}", "x".repeat(100))});
        api.patch(&api.group, &label).await.ok::<Value>();
    }
    assert_eq!(api.shown().await["version"], 101);
    drop(asleep);
    running.shutdown().await;
}
