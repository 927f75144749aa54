//! A profile remembers control, token and owner, for this user alone.

use std::{fs, os::unix::fs::PermissionsExt as _};

use support::{binary, run, run_ok};

use crate::lab::Lab;

#[test]
fn whoever_has_logged_in_needs_no_arguments() {
    let lab = Lab::new();
    let bare = |arguments: &[&str]| {
        let mut command = lab.command(binary("lacis"));
        command.arg("ng").args(arguments);
        command
    };
    assert_eq!(run(&mut bare(&["list"])).status.code(), Some(2));
    let said = lab.ng(&["login"]);
    assert!(said.contains(lab.word("owner")) && !said.contains(lab.word("api_token")), "{said}");
    let file = lab.dir.path().join("home/.config/lacis/profiles.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(run_ok(&mut bare(&["list"])).contains("main"));

    run_ok(&mut lab.ng_command(&["login", "second"]));
    let listed = run_ok(&mut bare(&["profile"]));
    assert!(listed.contains("default") && listed.lines().any(|line| line.starts_with("second")), "{listed}");
    assert!(!listed.contains(lab.word("api_token")));
    run_ok(&mut bare(&["profile", "use", "default"]));
    run_ok(&mut bare(&["profile", "remove", "second"]));
    assert_eq!(run(&mut bare(&["list", "--profile", "second"])).status.code(), Some(5));
    run_ok(&mut bare(&["logout"]));
    assert_eq!(run(&mut bare(&["list"])).status.code(), Some(2));
}

#[test]
fn a_credential_that_does_not_work_is_not_remembered() {
    let lab = Lab::new();
    lab.fails(&["login", "--api-token", "lacis_api_0000000000000000_x"], 6, &[]);
    assert!(!lab.dir.path().join("home/.config/lacis/profiles.json").exists());
}
