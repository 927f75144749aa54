//! The platform's own command line runs its whole `ng` family, unmodified.

use std::{path::PathBuf, process::Command};

use serde_json::Value;
use support::run;

use crate::lab::{Lab, ids, platform};

const APP: &str = "app_1c0e5ae2-2d5b-4c4f-9a2f-3c1d0c1d0a01";
const DATABASE: &str = "postgresql_1c0e5ae2-2d5b-4c4f-9a2f-3c1d0c1d0a02";
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// The command line, pointed at a control.
struct Clever {
    lab: Lab,
    modules: PathBuf,
    token: Value,
}

impl Clever {
    fn new() -> Option<Self> {
        let modules = platform()?;
        let lab = Lab::new();
        let token = lab.json(&["token", "create", "--label", "clever"]);
        let clever = Self { lab, modules, token };
        clever.ok(&["features", "enable", "ng"]);
        Some(clever)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(self.modules.join("node/bin/node"));
        command.arg(self.modules.join("clever-tools/bin/clever.js")).args(arguments);
        command.args(["--no-update-notifier"]);
        command.env("API_HOST", self.lab.word("api")).env("NODE_EXTRA_CA_CERTS", self.lab.word("ca"));
        for name in ["CLEVER_TOKEN", "CLEVER_SECRET"] {
            command.env(name, self.token[name.to_lowercase()].as_str().unwrap());
        }
        command
    }

    /// What a command prints that succeeds.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.command(arguments));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "clever {arguments:?}: {out}{err}");
        out.into_owned()
    }

    #[track_caller]
    fn ng(&self, arguments: &[&str]) -> String {
        self.ok(&[&["ng"], arguments].concat())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ng(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("clever ng {arguments:?} printed {text}"))
    }

    /// What a command says that fails.
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = run(&mut self.command(&[&["ng"], arguments].concat()));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!output.status.success(), "clever ng {arguments:?}: {text}");
        text
    }
}

#[test]
fn groups_and_members_come_and_go() {
    let Some(clever) = Clever::new() else { return };
    let lab = &clever.lab;
    let links = format!("{APP},{DATABASE}");
    let said = clever.ng(&[
        "create",
        "shop",
        "--link",
        &links,
        "--description",
        "where it is sold",
        "--tags",
        "eu,live",
    ]);
    assert!(said.contains("successfully created") && said.contains(APP), "{said}");
    let shop = lab.group("shop");
    assert_eq!(ids(&shop, "members"), [APP, DATABASE]);
    assert_eq!(shop["description"], "where it is sold");
    assert_eq!(shop["tags"], serde_json::json!(["eu", "live"]));
    let id = shop["id"].as_str().unwrap();
    assert_eq!(shop["members"][0]["domainName"], format!("{APP}.m.{id}.cc-ng.cloud"));

    let listed = clever.ng(&[]);
    assert!(listed.contains(id) && listed.contains("shop") && listed.contains("main"), "{listed}");
    assert_eq!(clever.json(&["--org", lab.word("owner")]), Value::Array(lab.groups()));
    for name in ["shop", id] {
        assert_eq!(clever.json(&["get", name])["members"], shop["members"], "{name}");
    }
    let shown = clever.ng(&["get", APP]);
    assert!(shown.contains(&format!("{APP}.m.{id}")), "{shown}");
    assert_eq!(clever.json(&["search", "POSTGRES"])["id"], DATABASE);
    assert!(clever.ng(&["search", "sho"]).contains(id));
    assert!(clever.ng(&["get", "nobody"]).contains("No Network Group or resource found"));

    clever.ng(&["unlink", DATABASE, "shop"]);
    assert_eq!(ids(&lab.group("shop"), "members"), [APP]);
    assert!(clever.fails(&["unlink", DATABASE, "shop"]).contains("not found"));
    clever.ng(&["link", DATABASE, id]);
    assert_eq!(ids(&lab.group("shop"), "members"), [APP, DATABASE]);
    assert!(clever.fails(&["link", DATABASE, "shop"]).contains("already linked"));

    clever.ng(&["delete", "shop"]);
    assert!(lab.groups().iter().all(|group| group["id"] != id));
    assert!(clever.fails(&["delete", "shop"]).contains("not found"));
}

#[test]
fn external_peers_get_their_configuration() {
    let Some(clever) = Clever::new() else { return };
    let lab = &clever.lab;
    clever.ng(&["create", "shop"]);
    clever.ng(&["create", "external", "phone", "shop", KEY]);
    let shop = lab.group("shop");
    let (peer, member) = (&shop["peers"][0], &shop["members"][0]);
    assert_eq!(peer["type"], "ExternalPeer");
    assert_eq!((&peer["label"], &peer["publicKey"]), (&"phone".into(), &KEY.into()));
    assert_eq!(peer["parentMember"], member["id"]);
    assert_eq!(member["label"], "Parent of phone");

    let id = peer["id"].as_str().unwrap();
    for name in ["phone", id] {
        let text = clever.ng(&["get-config", name, "shop"]);
        let address = peer["endpoint"]["ngIp"].as_str().unwrap();
        assert!(text.contains("[Interface]") && text.contains(address), "{text}");
    }
    assert_eq!(clever.json(&["get", "phone", "--type", "ExternalPeer"])["id"], id);
    assert!(clever.ng(&["get", id]).contains(KEY));

    let taken = clever.fails(&["create", "external", "tablet", "shop", KEY]);
    assert!(taken.contains("key") && !taken.contains('{'), "{taken}");
    clever.ng(&["delete", "external", "phone", "shop"]);
    let left = lab.group("shop");
    assert!(ids(&left, "peers").is_empty() && !ids(&left, "members").contains(&member["id"].to_string()));
}

#[test]
fn owners_are_found_by_name_and_strangers_are_refused() {
    let Some(clever) = Clever::new() else { return };
    let lab = &clever.lab;
    let me = lab.json(&["whoami"]);
    let name = me["self"]["name"].as_str().unwrap();
    assert!(clever.ng(&["--org", name]).contains("main"));
    assert!(clever.fails(&["--org", "nobody"]).contains("not found"));
    let id = clever.token["id"].as_str().unwrap();
    lab.ng(&["token", "revoke", id]);
    assert!(clever.fails(&[]).contains("not logged in"));
}
