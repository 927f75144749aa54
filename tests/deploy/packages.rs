//! The Debian packages, built, installed into a root of their own, upgraded and purged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::{binary, run, run_ok};

use crate::deploy;

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Whether the programs are there that packages take.
pub(crate) fn can_build() -> bool {
    has("dpkg-deb") && has("objdump")
}

/// Builds both packages out of the programs under test.
pub(crate) fn build(out: &Path) -> [PathBuf; 2] {
    let programs = [binary("lacis"), binary("lacis-control")];
    let folder = programs[0].parent().unwrap();
    run_ok(Command::new(deploy().join("debian/build")).arg("--programs").arg(folder).arg(out));
    ["lacis_", "lacis-control_"].map(|name| {
        let found = fs::read_dir(out).unwrap().map(|file| file.unwrap().path());
        found.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
    })
}

/// A root into which packages can be installed without anything else in it.
struct Root(PathBuf);

impl Root {
    fn new(path: PathBuf) -> Self {
        for folder in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "tmp"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        fs::write(path.join("var/lib/dpkg/status"), "").unwrap();
        Self(path)
    }

    #[track_caller]
    fn dpkg(&self, arguments: &[&str], package: impl AsRef<std::ffi::OsStr>) {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", self.0.display()));
        // The C library comes from outside, and maintainer scripts are told of the root in place of chroot.
        command.args(["--force-depends", "--force-script-chrootless", "--force-not-root"]).args(arguments);
        run_ok(command.arg(package));
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

#[test]
fn packages_are_reproducible_lint_well_and_leave_no_trace() {
    if !can_build() {
        return println!("skipped: there is no dpkg-deb or objdump");
    }
    let folder = tempfile::tempdir().unwrap();
    let [first, again] = ["first", "again"].map(|out| build(&folder.path().join(out)));
    for (first, again) in first.iter().zip(&again) {
        assert!(fs::read(first).unwrap() == fs::read(again).unwrap(), "{first:?} differs when built again");
        let owners = run_ok(Command::new("dpkg-deb").arg("-c").arg(first));
        assert!(owners.lines().all(|line| line.contains(" root/root ")), "{owners}");
    }
    install_run_and_purge_without_a_trace(&first, folder.path());
    if !has("lintian") {
        return println!("passed over: there is no lintian");
    }
    // No manual pages: --help says what they would. systemctl restarts what runs, as debhelper's own wrapper does.
    let known = "no-manual-page,maintainer-script-calls-systemctl";
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--suppress-tags", known, "--fail-on", "error,warning"]).args(&first);
    let output = run(&mut lintian);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn install_run_and_purge_without_a_trace(packages: &[PathBuf; 2], folder: &Path) {
    let root = Root::new(folder.join("root"));
    for package in packages {
        root.dpkg(&["--install"], package);
    }
    for path in [
        "usr/lib/systemd/system/lacis.service",
        "usr/lib/systemd/system/lacis-guard.socket",
        "usr/lib/systemd/system/lacis-guard@.service",
        "usr/lib/systemd/system/lacis-control.service",
        "usr/lib/systemd/system/lacis-relay.service",
        "usr/lib/sysusers.d/lacis.conf",
        "usr/share/bash-completion/completions/lacis",
        "usr/share/zsh/vendor-completions/_lacis-control",
        "usr/share/fish/vendor_completions.d/lacis.fish",
        "usr/share/doc/lacis/copyright",
    ] {
        assert!(root.has(path), "{path}");
    }
    for program in ["lacis", "lacis-control"] {
        let version = run_ok(Command::new(root.0.join("usr/bin").join(program)).arg("--version"));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
    let unit = fs::read_to_string(root.0.join("usr/lib/systemd/system/lacis.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/lacis up") && !unit.contains("/usr/local"), "{unit}");
    fs::create_dir_all(root.0.join("etc/lacis")).unwrap();
    fs::write(root.0.join("etc/lacis/agent.env"), "LACIS_JOIN_TOKEN=x\n").unwrap();
    fs::create_dir_all(root.0.join("var/lib/lacis")).unwrap();
    root.dpkg(&["--install"], &packages[0]);
    assert!(root.has("etc/lacis/agent.env"), "an upgrade keeps what the node is");
    root.dpkg(&["--remove"], "lacis");
    assert!(root.has("etc/lacis/agent.env") && !root.has("usr/bin/lacis"));
    root.dpkg(&["--purge"], "lacis");
    fs::create_dir_all(root.0.join("var/lib/lacis-relay")).unwrap();
    fs::create_dir_all(root.0.join("etc/lacis")).unwrap();
    fs::write(root.0.join("etc/lacis/relay.env"), "LACIS_RELAY_CONTROL_KEY=x\n").unwrap();
    root.dpkg(&["--purge"], "lacis-control");
    for path in ["etc/lacis", "var/lib/lacis", "var/lib/lacis-relay", "usr/lib/systemd/system", "usr/bin"] {
        assert!(!root.has(path), "{path} is left");
    }
}
