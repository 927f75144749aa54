//! `lacis ng gateway`: who is one, what becomes of the files of clients, and another key when the first has leaked.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use support::{Program, eventually, eventually_within, run, run_ok};

use crate::{
    gateway::{REVOKED, file, key_on_disk, two_gateways, until_serving},
    lab::{Lab, text},
    plain::{Client, addresses, ng, ng_command},
};

fn json(lab: &Lab, arguments: &[&str]) -> Value {
    serde_json::from_str(&ng(lab, &[arguments, &["-F", "json"]].concat())).unwrap()
}

#[test]
fn gateways_are_listed_added_and_removed_and_the_last_one_only_by_force() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, web, db) = Lab::with_two_nodes();
    assert!(ng(&lab, &["gateway", "list", "main"]).starts_with("no gateway yet"));
    let added = json(&lab, &["gateway", "add", "web", "main", "--endpoint", "192.0.2.2:47820"]);
    assert_eq!(
        (&added["endpoint"], &added["gateways"][0]["serving"]),
        (&"192.0.2.2:47820".into(), &true.into())
    );
    until_serving(&lab, &web);
    let phone = Client::new(&lab, 9, program, &file(&lab, "phone"));
    eventually("through the gateway", || phone.reaches(&addresses(&db)[0]).then_some(()));
    eventually("control hears how many clients are there", || {
        let listed = json(&lab, &["gateway", "list", "main"]);
        let found = &listed["gateways"][0];
        assert_eq!((&found["label"], &found["connected"]), (&"web".into(), &true.into()), "{listed}");
        (listed["clients"] == 1 && found["clients"] == 1).then_some(())
    });
    let listed = ng(&lab, &["gateway", "list", "main"]);
    assert!(listed.contains("they dial 192.0.2.2:47820") && listed.contains(" up "), "{listed}");

    for verb in [&["gateway", "remove"], &["peer", "delete"]] {
        let refused = run(&mut ng_command(&lab, &[&verb[..], &["web", "main"]].concat()));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains("the last gateway"), "{told}");
    }
    assert!(phone.reaches(&addresses(&db)[0]), "and nothing has changed");
    let added = ng(&lab, &["gateway", "add", "db", "main"]);
    assert!(added.contains("db is a gateway of main"), "{added}");
    let removed = ng(&lab, &["gateway", "remove", "web", "main"]);
    assert!(
        removed.contains("lead nowhere") && removed.contains("`Endpoint = 192.0.2.3:47820`"),
        "{removed}"
    );
    let removed = ng(&lab, &["gateway", "remove", "db", "main", "--force"]);
    assert!(removed.contains("no gateway is left"), "{removed}");
    assert!(ng(&lab, &["gateway", "list", "main"]).starts_with("no gateway yet"));
}

/// The private key in the file of a client, in a file of its own.
fn private_key_of(conf: &Path) -> std::path::PathBuf {
    let said = fs::read_to_string(conf).unwrap();
    let key = said.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    let path = conf.with_extension("key");
    fs::write(&path, key).unwrap();
    path
}

#[test]
fn a_retired_gateway_key_is_refused_at_once_and_a_new_file_works_through_both_gateways() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, mut gate, mut spare, db) = two_gateways();
    let conf = file(&lab, "phone");
    let phone = Client::new(&lab, 9, program, &conf);
    let [v4, _] = addresses(&db);
    eventually("through the first gateway", || phone.reaches(&v4).then_some(()));
    let (leaked, public) = (key_on_disk(&gate), text(&json(&lab, &["gateway", "list", "main"]), "key"));
    let shown = ng(&lab, &["gateway", "rotate-key", "main", "--dry-run"]);
    assert!(shown.contains("would retire") && shown.contains("phone"), "{shown}");
    assert!(phone.reaches(&v4), "nothing has happened yet");

    let rotated = json(&lab, &["gateway", "rotate-key", "main"]);
    assert_eq!(
        (text(&rotated, "retired"), rotated["newFilesFor"].as_array().unwrap().len()),
        (public.clone(), 1)
    );
    let new = text(&rotated, "key");
    assert_ne!(new, public);
    eventually("the file with the retired key leads nowhere", || (!phone.reaches(&v4)).then_some(()));
    eventually("both gateways have the new key", || {
        let keys = [key_on_disk(&gate), key_on_disk(&spare)];
        (keys[0] == keys[1] && keys[0] != leaked).then_some(())
    });
    drop(phone);
    let key = private_key_of(&conf);
    let [key, output] = [key.as_path(), conf.as_path()].map(|path| path.to_str().unwrap());
    ng(&lab, &["get-config", "phone", "main", "--private-key-file", key, "--output", output]);
    assert!(fs::read_to_string(&conf).unwrap().contains(&format!("PublicKey = {new}")));
    let phone = Client::new(&lab, 10, program, &conf);
    eventually("the new file works", || phone.reaches(&v4).then_some(()));

    // The retired key comes back from no disk, not even where a gateway starts before it hears of control.
    for node in [&mut gate, &mut spare] {
        node.kill();
        node.up(None);
    }
    until_serving(&lab, &gate);
    until_serving(&lab, &spare);
    eventually("the new file works after restarts", || phone.reaches(&v4).then_some(()));
    assert_eq!(text(&json(&lab, &["gateway", "list", "main"]), "key"), new);
    let log = lab.log() + &gate.log() + &spare.log();
    assert!(!log.contains(&leaked) && !log.contains(&key_on_disk(&gate)), "neither key is in a log");
}

#[test]
fn a_revoked_client_is_cut_at_once_whichever_of_two_gateways_it_is_with() {
    let Some(program) = Program::installed().first().copied() else { return };
    let (lab, _gate, _spare, db) = two_gateways();
    let [v4, _] = addresses(&db);
    let confs = ["phone", "tablet"].map(|label| file(&lab, label));
    // The tablet dials the second gateway by its own address.
    let said = fs::read_to_string(&confs[1]).unwrap().replace("192.0.2.100:47820", "192.0.2.3:47820");
    fs::write(&confs[1], said).unwrap();
    let clients = [("phone", 9, &confs[0]), ("tablet", 10, &confs[1])]
        .map(|(label, number, conf)| (label, Client::new(&lab, number, program, conf)));
    for (label, client) in &clients {
        eventually(&format!("{label} is there"), || client.reaches(&v4).then_some(()));
    }
    for (label, client) in &clients {
        ng(&lab, &["external", "delete", label, "main"]);
        let quick = ["-c", "1", "-W", "0.2", &v4];
        let gone = || (!run(client.host.command("ping").args(quick)).status.success()).then_some(());
        let (_, took) = eventually_within(REVOKED, &format!("{label} is cut"), gone);
        println!("with two gateways, {label} is cut after {took:?}");
    }
    // Neither gets in by the gateway that it was not with: it is the client that is revoked.
    let [(_, phone), _] = &clients;
    let interface = phone.interface.as_str();
    let peer = run_ok(Command::new("wg").args(["show", interface, "peers"]));
    run_ok(Command::new("wg").args(["set", interface, "peer", peer.trim(), "endpoint", "192.0.2.3:47820"]));
    for _ in 0..5 {
        assert!(!phone.reaches(&v4), "a revoked client is let in by the other gateway");
    }
}
