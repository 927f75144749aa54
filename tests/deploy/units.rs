//! The systemd units, as systemd itself reads them.

use std::{fs, process::Command};

use support::{binary, run};

use crate::deploy;

#[test]
fn systemd_understands_every_unit() {
    if !Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success())
    {
        return println!("skipped: there is no systemd-analyze");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for unit in fs::read_dir(deploy().join("systemd")).unwrap() {
        let path = unit.unwrap().path();
        let is_unit = path.extension().is_some_and(|kind| kind == "service" || kind == "socket");
        let text = fs::read_to_string(&path).unwrap();
        for program in ["lacis-control", "lacis"] {
            let installed = format!("/usr/local/bin/{program} ");
            assert!(is_unit || !text.contains(&installed), "{path:?}");
        }
        if is_unit {
            let programs = binary("lacis").parent().unwrap().display().to_string();
            let copy = folder.path().join(path.file_name().unwrap());
            fs::write(&copy, text.replace("/usr/local/bin", &programs)).unwrap();
            units.push(copy);
        }
    }
    assert_eq!(units.len(), 5, "{units:?}");
    let output = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&units));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("lacis")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn only_the_guard_may_write_outside_of_its_own_folders() {
    for (unit, writes) in [
        ("lacis.service", false),
        ("lacis-control.service", false),
        ("lacis-relay.service", false),
        ("lacis-guard@.service", true),
    ] {
        let text = fs::read_to_string(deploy().join("systemd").join(unit)).unwrap();
        assert!(text.contains("ProtectSystem=strict") && text.contains("NoNewPrivileges=yes"), "{unit}");
        assert_eq!(text.contains("ReadWritePaths="), writes, "{unit}");
        assert_eq!(text.contains("DynamicUser=yes"), !writes, "{unit}");
    }
}
