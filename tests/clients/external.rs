//! `lacis ng external`: a plain WireGuard client gets a key that never leaves this machine.

use std::{fs, os::unix::fs::PermissionsExt as _};

use support::run_ok;

use crate::lab::{Lab, ids};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

#[test]
fn a_key_is_made_here_and_stands_in_a_private_file() {
    let lab = Lab::new();
    let path = |name: &str| lab.dir.path().join(name).to_str().unwrap().to_owned();
    let (text, png, svg) = (path("phone.conf"), path("phone.png"), path("phone.svg"));
    let files = ["--output", &text, "--png", &png, "--svg", &svg];
    let said = lab.ng(&[&["external", "create", "phone", "main", "--generate", "--qr"][..], &files].concat());
    assert!(said.contains('█') && said.contains("phone.conf"), "{said}");
    for file in [&text, &png, &svg] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let written = fs::read_to_string(&text).unwrap();
    let private = written.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert!(!said.contains(private));
    // Its public half is the one that control knows: else this would be refused.
    let key = lab.dir.path().join("phone.key");
    fs::write(&key, private).unwrap();
    let again = lab.ng(&["get-config", "phone", "main", "--private-key-file", key.to_str().unwrap()]);
    assert!(again.contains(private));
    assert!(!lab.ng(&["get-config", "phone", "main"]).contains(private));
    assert_eq!(lab.json(&["get", "phone"])["type"], "ExternalPeer");
    let held = run_ok(lab.command("grep").args(["-rlF", "PrivateKey"]).arg(lab.dir.path()));
    assert!(!held.contains("/control/"), "control holds a private key: {held}");
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_key_that_somebody_else_made_is_registered() {
    let lab = Lab::new();
    let said =
        lab.ng(&["external", "create", "router", "main", "--public-key", KEY, "--server", "192.0.2.9:51820"]);
    assert!(said.contains("PrivateKey = <") && said.contains("ListenPort = 51820"), "{said}");
    let main = lab.group("main");
    assert_eq!(main["peers"][0]["publicKey"], KEY);
    assert_eq!(main["peers"][0]["endpoint"]["publicTerm"]["host"], "192.0.2.9");
    lab.fails(&["external", "create", "second", "main", "--public-key", KEY], 1, &["key"]);
    assert_eq!(ids(&lab.group("main"), "members").len(), 1, "no member is left of what was refused");

    let other = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    lab.ng(&["peer", "edit", "router", "main", "--public-key", other, "--label", "gate"]);
    assert_eq!(lab.json(&["external", "list", "main"])[0]["publicKey"], other);
    assert!(lab.ng(&["peer", "list", "main"]).contains("gate"));
    assert!(lab.ng(&["get-config", "gate", "main", "--url"]).starts_with("https://"));
    lab.ng(&["external", "delete", "gate", "main"]);
    let main = lab.group("main");
    assert!(ids(&main, "peers").is_empty() && ids(&main, "members").is_empty());
}

#[test]
fn the_words_of_the_platform_do_the_same() {
    let lab = Lab::new();
    let said = lab.ng(&["create", "external", "phone", "main", KEY]);
    assert!(said.contains("get-config"), "{said}");
    assert_eq!(lab.json(&["get", "phone", "--type", "ExternalPeer"])["publicKey"], KEY);
    lab.ng(&["delete", "external", "phone", "main"]);
    assert!(ids(&lab.group("main"), "members").is_empty());
}
