//! Our own files: sizes, purity, and what must not stand in them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::run_ok;

/// Most lines of a file; at two thirds of it one looks for the seam.
const MOST_LINES: usize = 600;

/// Longer files, each with its reason.
const LONG: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files of the project with this ending, and their text.
pub(crate) fn files(ending: &str) -> Vec<(String, String)> {
    let mut command = Command::new("git");
    let listed =
        run_ok(command.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()));
    let paths = listed.lines().filter(|path| path.ends_with(ending) && root().join(path).exists());
    paths.map(|path| (path.to_owned(), fs::read_to_string(root().join(path)).unwrap())).collect()
}

#[test]
fn files_are_short() {
    for (path, text) in files(".rs") {
        let lines = text.lines().count();
        let reason = LONG.iter().any(|(long, _)| *long == path);
        assert!(lines <= MOST_LINES || reason, "{path} has {lines} lines: look for the seam");
        assert!(lines > MOST_LINES || !reason, "{path} stands in LONG and is short");
    }
}

#[test]
fn every_file_says_what_lives_in_it() {
    for (path, text) in files(".rs") {
        let is_code = path.contains("/src/") && !path.ends_with("tests.rs") && !path.contains("/tests/");
        assert!(!is_code || text.starts_with("//!"), "{path} has no module documentation");
        assert!(!path.ends_with("/mod.rs"), "{path}: foo.rs beside foo/, never mod.rs");
    }
}

#[test]
fn cores_are_pure() {
    let impure = [
        "std::fs",
        "std::net::Udp",
        "std::net::Tcp",
        "std::thread",
        "Instant",
        "SystemTime",
        "std::env",
        "async fn",
    ];
    for (path, text) in files(".rs") {
        let in_a_core =
            ["proto/src", "agent/core/src", "control/core/src"].iter().any(|core| path.starts_with(core));
        if in_a_core {
            let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let found: Vec<_> = impure.iter().filter(|word| code.contains(**word)).collect();
            assert!(found.is_empty(), "{path} names {found:?}");
        }
    }
}

#[test]
fn unsafe_code_lives_where_packets_are_moved_only() {
    for (path, text) in files(".rs") {
        let marker = ["unsafe", " {"].concat();
        let moves_packets = ["agent/tunnel/", "control/relay/src/udp/", "proto/udp/"];
        let moves_packets = moves_packets.iter().any(|folder| path.starts_with(folder));
        assert!(moves_packets || !text.contains(&marker), "{path} has unsafe code");
    }
    for root in ["proto", "agent/core", "control/core", "agent", "control"] {
        let lib = fs::read_to_string(self::root().join(root).join("src/lib.rs")).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

#[test]
fn nothing_unfinished_and_nothing_of_this_machine_stands_in_the_project() {
    let unfinished = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["unimplement", "ed!"].concat(),
        ["todo", "!("].concat(),
    ];
    let machine = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    for ending in [".rs", ".toml", ".md", "demo", "tour", "world", "need", "run", "stream"] {
        for (path, text) in files(ending) {
            for word in unfinished.iter().chain(&machine) {
                assert!(!text.contains(word.as_str()), "{path} contains {word:?}");
            }
        }
    }
}

#[test]
fn scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    for script in [
        "deploy/demo",
        "deploy/need",
        "deploy/tour",
        "deploy/world",
        "tests/nat-matrix",
        "tests/run",
        "tests/clients/install",
        "tests/deploy/images",
        "tests/deploy/machine",
        "tests/bench/relay",
        "tests/bench/writes",
        ".ci/run",
    ] {
        let mode = fs::metadata(root().join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
}
