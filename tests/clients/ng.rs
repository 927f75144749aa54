//! `lacis ng` manages groups, members, tokens and nodes, by label or id, and says what came of it.

use std::process::Command;

use serde_json::json;
use support::{Process, binary, eventually, run, run_ok};

use crate::lab::{Lab, ids};

#[test]
fn groups_are_made_changed_and_deleted_by_label() {
    let lab = Lab::new();
    let said = lab.ng(&["create", "shop", "--link", "app_1,postgresql_1", "--tags", "eu,live"]);
    assert!(said.contains("shop is made") && said.contains("app_1.m."), "{said}");
    let shop = lab.group("shop");
    assert_eq!(ids(&shop, "members"), ["app_1", "postgresql_1"]);
    assert_eq!(shop["members"][1]["kind"], "ADDON");
    let id = shop["id"].as_str().unwrap();

    let table = lab.ng(&[]);
    assert!(table.lines().any(|line| line.starts_with("shop") && line.ends_with(id)), "{table}");
    assert_eq!(lab.json(&["list"]), json!(lab.groups()));
    assert_eq!(lab.json(&["get", "SHOP"])["id"], id);
    assert_eq!(lab.json(&["get", "app_1", "--type", "member"])["type"], "Member");
    assert!(lab.ng(&["search", "sho"]).contains(id));

    lab.ng(&["edit", "shop", "--label", "store", "--description", "where it is sold", "--tags", "eu"]);
    let store = lab.group("store");
    assert_eq!((&store["id"], &store["tags"]), (&json!(id), &json!(["eu"])));
    assert!(lab.ng(&["get", "store"]).contains("where it is sold"));
    assert!(store["version"].as_u64() > shop["version"].as_u64());

    let again =
        lab.json(&["create", "store", "--id", id, "--description", "where it is sold", "--tags", "eu"]);
    assert_eq!(again["id"], id, "making a group again by its id is harmless");
    assert!(lab.ng(&["delete", "store"]).contains("deleted store"));
    lab.fails(&["get", id], 5, &["there is no"]);
    lab.fails(&["delete", "store"], 5, &["there is no group \"store\""]);
}

#[test]
fn members_are_linked_changed_and_unlinked() {
    let lab = Lab::new();
    lab.ng(&["create", "shop"]);
    lab.ng(&["link", "app_1", "shop", "--label", "web"]);
    lab.ng(&["link", "app_1", "shop", "--label", "web"]);
    assert_eq!(ids(&lab.group("shop"), "members"), ["app_1"], "linking again is harmless");
    let name = "the-front.lacis.internal";
    lab.ng(&["member", "edit", "web", "shop", "--label", "front", "--domain-name", name]);
    let member = &lab.json(&["member", "list", "shop"])[0];
    assert_eq!((&member["label"], &member["domainName"]), (&json!("front"), &json!(name)));
    assert!(lab.ng(&["member", "list", "shop"]).contains("front"));
    lab.fails(&["link", "app_2", "shop", "--domain-name", "www.example.org"], 1, &["lacis.internal"]);
    lab.ng(&["unlink", name, "shop"]);
    assert!(ids(&lab.group("shop"), "members").is_empty());
    lab.fails(&["unlink", "front", "shop"], 5, &["there is no member"]);
}

#[test]
fn a_dry_run_names_what_would_go_and_removes_nothing() {
    let lab = Lab::new();
    lab.ng(&["create", "shop", "--link", "app_1"]);
    lab.ng(&["external", "create", "phone", "shop"]);
    let token = lab.json(&["join-token", "create", "shop"])["id"].as_str().unwrap().to_owned();
    let api_token = lab.json(&["token", "create", "--label", "ci"])["id"].as_str().unwrap().to_owned();
    let before = lab.groups();
    let whole = lab.json(&["delete", "shop", "--dry-run"]);
    assert_eq!(whole["members"].as_array().unwrap().len(), 2, "{whole}");
    assert_eq!(whole["peers"].as_array().unwrap().len(), 1, "{whole}");
    for line in [
        &["unlink", "app_1", "shop"][..],
        &["delete", "external", "phone", "shop"],
        &["external", "delete", "phone", "shop"],
        &["peer", "delete", "phone", "shop"],
        &["join-token", "revoke", &token, "shop"],
        &["token", "revoke", &api_token],
    ] {
        let arguments = [line, &["--dry-run"]].concat();
        assert!(lab.ng(&arguments).starts_with("would "), "{line:?}");
        assert_eq!(lab.json(&arguments)["dryRun"], true, "{line:?}");
    }
    assert_eq!(lab.groups(), before);
    assert_eq!(lab.json(&["join-token", "list", "shop"])[0]["state"], "usable");
}

#[test]
fn a_label_that_several_have_lists_them() {
    let lab = Lab::new();
    for id in ["app_1", "app_2"] {
        lab.ng(&["link", id, "main", "--label", "web"]);
    }
    lab.fails(&["unlink", "web", "main"], 2, &["app_1 (web)", "app_2 (web)", "use the id"]);
    lab.ng(&["unlink", "app_1", "main"]);
    lab.ng(&["unlink", "web", "main"]);
    lab.fails(&["unlink", "we", "main"], 5, &["there is no member \"we\""]);
    lab.ng(&["create", "shop", "--link", "app_3"]);
    lab.ng(&["link", "app_3", "main"]);
    let (shop, main) = (lab.group("shop"), lab.group("main"));
    let groups = [&shop, &main].map(|group| group["id"].as_str().unwrap());
    lab.fails(&["get", "app_3"], 2, &groups);
    lab.fails(&["get", "mai"], 5, &["(main)"]);
}

#[test]
fn exit_codes_tell_what_happened() {
    let lab = Lab::new();
    let code = |change: fn(&mut Command) -> &mut Command| {
        let mut command = lab.ng_command(&["list"]);
        run(change(&mut command)).status.code()
    };
    assert_eq!(code(|command| command), Some(0));
    assert_eq!(code(|command| command.arg("--no-such")), Some(2));
    assert_eq!(code(|command| command.env("LACIS_API", "control")), Some(2));
    assert_eq!(code(|command| command.env("LACIS_CA", "/nowhere")), Some(2));
    assert_eq!(code(|command| command.env_remove("LACIS_API")), Some(2));
    assert_eq!(code(|command| command.env("LACIS_API", "https://127.0.0.1:1")), Some(4));
    assert_eq!(code(|command| command.env_remove("LACIS_CA")), Some(4));
    assert_eq!(code(|command| command.env("LACIS_API_TOKEN", "lacis_api_x")), Some(6));
    assert_eq!(code(|command| command.env_remove("LACIS_API_TOKEN")), Some(6));
    let stranger = "orga_00000000-0000-4000-8000-000000000000";
    lab.fails(&["list", "--owner", stranger], 5, &["no such owner"]);
    lab.fails(&["create", ""], 1, &["label"]);
    lab.fails(&["create", "wide", "--range", "8.8.0.0/16"], 1, &["networkIp"]);
}

#[test]
fn api_tokens_have_rights_an_end_and_two_forms() {
    let lab = Lab::new();
    lab.ng(&["create", "shop"]);
    let made = lab.json(&["token", "create", "--label", "watcher", "--access", "read", "--group", "shop"]);
    let reader = made["token"].as_str().unwrap();
    assert!(made["clever_token"].is_string() && made["clever_secret"].is_string(), "{made}");
    let with = |arguments: &[&str]| run(lab.ng_command(arguments).env("LACIS_API_TOKEN", reader));
    assert!(with(&["get", "shop"]).status.success());
    assert_eq!(with(&["get", "main"]).status.code(), Some(5), "a group that it does not show");
    assert_eq!(with(&["link", "app_1", "shop"]).status.code(), Some(6));
    let listed = lab.ng(&["token", "list"]);
    assert!(listed.contains("watcher") && !listed.contains(reader), "{listed}");

    let file = lab.dir.path().join("token");
    lab.ng(&["token", "create", "--output", file.to_str().unwrap()]);
    let mut from_file = lab.ng_command(&["list", "--token-file"]);
    run_ok(from_file.arg(&file).env_remove("LACIS_API_TOKEN"));
    lab.ng(&["token", "revoke", "watcher"]);
    assert_eq!(with(&["get", "shop"]).status.code(), Some(6));
}

#[test]
fn join_tokens_let_in_until_they_are_revoked() {
    let lab = Lab::new();
    lab.ng(&["create", "shop", "--link", "app_1"]);
    let said =
        lab.ng(&["join-token", "create", "shop", "--member", "app_1", "--uses", "2", "--expires", "1h"]);
    assert!(said.starts_with("lacis up lacis_join_"), "{said}");
    let listed = lab.json(&["join-token", "list", "shop"]);
    assert_eq!((&listed[0]["member"], &listed[0]["maxUses"]), (&json!("app_1"), &json!(2)));
    let id = listed[0]["id"].as_str().unwrap();
    lab.ng(&["join-token", "revoke", id, "shop"]);
    assert_ne!(lab.json(&["join-token", "list", "shop"])[0]["state"], "usable");

    let file = lab.dir.path().join("join");
    let said = lab.json(&["join-token", "create", "shop", "--output", file.to_str().unwrap()]);
    assert!(said["token"].is_null(), "what stands in a file is not printed: {said}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("lacis_join_"));
}

#[test]
fn events_are_printed_as_they_happen_and_recorded() {
    let lab = Lab::new();
    lab.ng(&["create", "shop"]);
    let mut command = lab.ng_command(&["watch", "shop", "--count", "2"]);
    let mut watching = Process::start(&mut command, &lab.dir.path().join("watch.log"));
    // The first version is what there is; once it is told, what comes is news.
    while !watching.line().starts_with("version ") {}
    lab.ng(&["link", "app_1", "shop", "--label", "web"]);
    let line = watching.line();
    assert!(line.contains("+ member  app_1  web"), "{line}");
    assert_eq!(watching.exit_code(), Some(0), "it ends after the second version");
    let rest = watching.rest();
    let (_, place) = rest.trim().rsplit_once("place ").unwrap();

    // What came after that is still to be had, and only that.
    lab.ng(&["unlink", "web", "shop"]);
    assert!(lab.ng(&["watch", "shop", "--since", place, "--count", "1"]).starts_with("  - app_1\nversion "));
    let audit = lab.json(&["audit", "shop"]);
    let targets: Vec<_> = audit.as_array().unwrap().iter().map(|entry| entry["target"].clone()).collect();
    assert_eq!(targets.iter().filter(|target| **target == "app_1").count(), 2, "{audit}");
    assert_eq!(lab.ng(&["audit", "shop", "--limit", "1"]).lines().count(), 2);
    assert_eq!(lab.json(&["audit", "shop", "--offset", "1"])[0], audit[1]);
}

#[test]
fn a_receipt_is_whole_where_nobody_is_concerned() {
    let lab = Lab::new();
    lab.ng(&["create", "shop", "--wait", "5"]);
    lab.ng(&["link", "app_1", "shop", "--wait", "5"]);
    let receipt = lab.json(&["receipt", "shop"]);
    assert_eq!(receipt["version"], lab.group("shop")["version"]);
    assert!(lab.ng(&["receipt", "shop"]).contains("0 of 0"));
}

#[test]
fn tables_fit_the_terminal_and_files_get_everything() {
    let lab = Lab::new();
    let id = lab.group("main")["id"].as_str().unwrap().to_owned();
    assert!(lab.ng(&["list"]).contains(&id));
    // script(1) gives a command a terminal.
    let inside = format!("stty rows 24 cols 60; {} ng list", binary("lacis").display());
    let mut script = lab.command("script");
    script.args(["-qec", &inside, "/dev/null"]);
    for (name, word) in [("LACIS_API", "api"), ("LACIS_CA", "ca"), ("LACIS_API_TOKEN", "api_token")] {
        script.env(name, lab.word(word));
    }
    let shown = run_ok(&mut script);
    assert!(
        shown.contains('…') && shown.lines().all(|line| line.trim_end().chars().count() <= 60),
        "{shown}"
    );
}

#[test]
fn a_command_that_comes_too_soon_waits_for_its_turn() {
    let lab = Lab::new();
    let everything = format!("{}/v2/self?n=[1-1000000]", lab.word("api"));
    let bearer = format!("Authorization: Bearer {}", lab.word("api_token"));
    let mut curl = lab.command("curl");
    curl.args(["-s", "-o", "/dev/null", "--cacert", lab.word("ca"), "-H", &bearer, &everything]);
    let mut flood = Process::start(&mut curl, &lab.dir.path().join("flood.log"));
    let link = || {
        let mut command = lab.ng_command(&["link", "app_1", "main"]);
        Process::start(&mut command, &lab.dir.path().join("ng.log"))
    };
    let mut ng = link();
    eventually("control asks to wait", || {
        if !ng.is_running() && !ng.log().contains("control asks to wait") {
            ng = link();
        }
        ng.log().contains("control asks to wait").then_some(())
    });
    flood.kill();
    assert_eq!(ng.exit_code(), Some(0), "{}", ng.log());
    assert_eq!(ids(&lab.group("main"), "members"), ["app_1"]);
}
