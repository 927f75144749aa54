//! Both packages on a machine of their own, under a real systemd.

use std::{fs, path::Path, process::Command};

use support::run;

use crate::packages;

/// What `machine` ends with where none can be booted.
const NO_MACHINE: i32 = 77;

#[test]
fn both_services_live_under_a_real_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    fs::copy(here.join("scenario"), folder.path().join("script")).unwrap();
    if !packages::can_build() {
        return println!("skipped: there is no dpkg-deb or objdump");
    }
    packages::build(folder.path());
    let output = run(Command::new(here.join("machine")).arg(folder.path()));
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.code() == Some(NO_MACHINE) {
        return println!("skipped: {}", said[1]);
    }
    assert!(
        output.status.success() && said[0].contains("the machine is as it was"),
        "{}{}",
        said[0],
        said[1]
    );
}
