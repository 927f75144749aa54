//! Control on a disk that is full, and that has room for a few more pages: what it has acknowledged is there, what it
//! has refused is not, and what it holds goes on.

use std::{collections::BTreeSet, fs::File, path::Path, process::Command};

use serde_json::Value;
use support::{run, run_ok};

use crate::{
    degraded::Disk,
    lab::{Lab, text},
};

/// The file system counts in these.
const PAGE: u64 = 4096;

/// Control starts anew on a small disk with what it has.
fn move_to(folder: &Path, lab: &mut Lab) -> Disk {
    lab.stop_control();
    let kept = lab.dir.path().join("kept");
    std::fs::rename(folder, &kept).unwrap();
    let disk = Disk::mount_of(folder, "2m");
    run_ok(Command::new("cp").arg("-a").arg(format!("{}/.", kept.display())).arg(folder));
    disk
}

/// Takes all the room that is left.
pub(crate) fn fill(path: &Path) -> u64 {
    run(Command::new("dd").args(["if=/dev/zero", "bs=4096"]).arg(format!("of={}", path.display())));
    std::fs::metadata(path).unwrap().len()
}

fn tokens(lab: &Lab) -> BTreeSet<String> {
    let list = run_ok(&mut lab.control(&["token", "list", "--format", "json"]));
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    list.iter().map(|token| text(token, "id")).collect()
}

#[test]
fn a_disk_that_fills_at_any_write_of_control_loses_nothing_acknowledged() {
    let mut lab = Lab::new();
    let folder = lab.dir.path().join("control");
    let _disk = move_to(&folder, &mut lab);
    lab.start_control();
    let path = folder.join("fill");
    let mut full = fill(&path);

    // Page after page becomes free; each write either is there for good or never was.
    let mut acknowledged = tokens(&lab);
    let mut refusals = 0;
    for free in 0..40 {
        File::options().write(true).open(&path).unwrap().set_len(full - free * PAGE).unwrap();
        let made = run(&mut lab.control(&["token", "create", "--format", "json"]));
        if made.status.success() {
            acknowledged.insert(text(&serde_json::from_slice(&made.stdout).unwrap(), "id"));
        } else {
            refusals += 1;
        }
        if free % 8 == 7 {
            lab.kill_control();
            std::fs::remove_file(&path).unwrap();
            lab.start_control();
            assert_eq!(tokens(&lab), acknowledged, "with {free} pages free");
            full = fill(&path);
        }
    }
    println!("{refusals} writes refused, {} tokens", acknowledged.len());
    assert!(refusals > 0 && acknowledged.len() > 1, "the disk was never full, or always");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(tokens(&lab), acknowledged);
}

#[test]
fn a_control_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room() {
    let mut lab = Lab::new();
    let folder = lab.dir.path().join("control");
    let _disk = move_to(&folder, &mut lab);
    let path = folder.join("fill");
    fill(&path);
    let listen = format!("{}:8443", lab.host.v4());
    let failed = run(&mut lab.control(&["serve", "--listen", &listen]));
    let why = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(failed.status.code() == Some(1) && why.contains("disk is full"), "{why}");
    std::fs::remove_file(&path).unwrap();
    lab.start_control();
}
