//! What the README says about managing groups is run, line by line, as it stands there.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use support::{binary, run_ok};

use crate::lab::{Lab, platform};

/// The shell lines under a heading of the README, one text for each block.
fn blocks(heading: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect("the heading is in the README");
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a block with `lacis`, and where it is there `clever`, as commands.
fn run_block(lab: &Lab, block: &str) -> String {
    let home = lab.dir.path().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::copy(lab.word("ca"), home.join("ca.pem")).unwrap();
    fs::write(home.join("api-token"), lab.word("api_token")).unwrap();
    let programs = lab.dir.path().join("programs");
    fs::create_dir_all(&programs).unwrap();
    if let Some(modules) = platform() {
        let clever = programs.join("clever");
        let modules = modules.display();
        let line = format!(
            "#!/bin/sh\nexec {modules}/node/bin/node {modules}/clever-tools/bin/clever.js \"$@\" --no-update-notifier\n"
        );
        fs::write(&clever, line).unwrap();
        fs::set_permissions(&clever, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folders = [binary("lacis").parent().unwrap().display().to_string(), programs.display().to_string()];
    let block = block.replace("https://control:8443", lab.word("api"));
    let script = format!("set -eu\nPATH={}:$PATH\n{block}", folders.join(":"));
    run_ok(lab.command("bash").args(["--norc", "-c", &script]))
}

#[test]
fn the_commands_of_the_readme_work_as_they_stand_there() {
    let lab = Lab::new();
    let blocks = blocks("Manage groups");
    let [own, platforms] = blocks.as_slice() else { panic!("two blocks, not {}", blocks.len()) };
    let said = run_block(&lab, own);
    assert!(said.contains("lacis up lacis_join_") && said.contains("would delete shop"), "{said}");
    assert_eq!(lab.group("shop")["members"][0]["label"], "web");
    if platform().is_some() {
        let said = run_block(&lab, platforms);
        assert!(said.contains("successfully"), "{said}");
        assert!(lab.groups().iter().all(|group| group["label"] != "stage"), "the last line deletes it");
    }
}
