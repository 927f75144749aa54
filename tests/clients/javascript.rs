//! The platform's JavaScript client makes its network-group calls, unmodified.

use support::run_ok;

use crate::lab::{Lab, platform};

#[test]
fn every_call_of_the_javascript_client_is_answered() {
    let Some(modules) = platform() else { return };
    let lab = Lab::new();
    let token = lab.json(&["token", "create", "--label", "javascript"]);
    // Packages are looked up from where a script lies.
    let script = lab.dir.path().join("calls.mjs");
    std::os::unix::fs::symlink(&modules, lab.dir.path().join("node_modules")).unwrap();
    std::fs::write(&script, include_str!("calls.mjs")).unwrap();
    let mut node = lab.command(modules.join("node/bin/node"));
    node.arg(&script).env("API", lab.word("api")).env("NODE_EXTRA_CA_CERTS", lab.word("ca"));
    node.env("OWNER", lab.word("owner")).env("TOKEN", token.to_string());
    let said = run_ok(&mut node);
    assert!(said.ends_with("all calls are answered\n"), "{said}");
    assert_eq!(lab.groups().len(), 1, "what the calls made is gone again");
}
