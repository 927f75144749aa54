//! Many peers at once, made known through the API of a control that has just made its first group.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Namespace;

/// The member that a crowd belongs to.
const MEMBER: &str = "external_crowd";

/// Requests of one sitting: one program sends them all, one after the other.
struct Requests<'a> {
    ready: &'a Value,
    text: String,
}

impl Requests<'_> {
    /// One more request to the API of the first group.
    fn ask(&mut self, method: &str, path: &str, body: &Value) {
        let told = |key: &str| self.ready[key].as_str().unwrap();
        let (api, owner, group) = (told("api"), told("owner"), told("group"));
        let url = format!("{api}/v4/networkgroups/organisations/{owner}/networkgroups/{group}/{path}");
        let (ca, token) = (told("ca"), told("api_token"));
        if !self.text.is_empty() {
            self.text += "next\n";
        }
        // A string of JSON is one of curl's configuration, too.
        let body = Value::from(body.to_string());
        writeln!(self.text, "request = {method}\nurl = \"{url}\"\ncacert = \"{ca}\"\noutput = \"/dev/null\"")
            .unwrap();
        writeln!(
            self.text,
            "header = \"Authorization: Bearer {token}\"\nheader = \"Content-Type: application/json\""
        )
        .unwrap();
        writeln!(self.text, "fail\ndata = {body}").unwrap();
    }
}

/// Adds plain clients to the first group of a control that told `ready`, asked from `space`. Every other one says
/// where it can be dialled.
#[track_caller]
pub fn crowd_comes(space: &Namespace, ready: &Value, peers: usize) {
    let mut requests = Requests { ready, text: String::new() };
    requests.ask("POST", "members", &json!({"id": MEMBER}));
    for number in 0..peers {
        let key = format!("{number:042}A=");
        let mut peer = json!({"publicKey": key, "parentMember": MEMBER, "peerRole": "client"});
        if number % 2 == 0 {
            peer["peerRole"] = "server".into();
            peer["ip"] = format!("198.51.100.{}", 100 + number % 100).into();
            peer["port"] = 51_820.into();
        }
        requests.ask("POST", "external-peers", &peer);
    }
    send(space, &requests);
}

/// Takes them away again, all at once.
#[track_caller]
pub fn crowd_goes(space: &Namespace, ready: &Value) {
    let mut requests = Requests { ready, text: String::new() };
    requests.ask("DELETE", &format!("members/{MEMBER}"), &json!({}));
    send(space, &requests);
}

#[track_caller]
fn send(space: &Namespace, requests: &Requests<'_>) {
    space.feed("curl", &["-sS", "-K", "-"], &requests.text);
}
