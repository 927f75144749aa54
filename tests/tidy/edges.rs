//! Who may depend on whom.

use std::collections::BTreeSet;

use crate::crates::metadata;

/// The allowed edges between our crates, with their reasons. Any other fails.
const EDGES: &[(&str, &str, &str)] = &[
    ("lacis-control-core", "lacis-proto", "rules speak in the values of the protocol"),
    ("lacis-control", "lacis-proto", "reads and writes messages"),
    ("lacis-control", "lacis-control-core", "a shell serves its own core"),
    ("lacis-control", "lacis-relay", "an inner crate of control, embedded or alone"),
    ("lacis-relay", "lacis-proto", "reads and writes frames"),
    ("lacis-agent-core", "lacis-proto", "rules speak in the values of the protocol"),
    ("lacis-agent", "lacis-proto", "reads and writes messages"),
    ("lacis-agent", "lacis-agent-core", "a shell serves its own core"),
    ("lacis-agent", "lacis-tunnel", "an inner crate of the agent"),
    ("lacis-tunnel", "lacis-udp", "datagrams by the batch"),
    ("lacis-relay", "lacis-udp", "datagrams by the batch"),
];

/// What a core or the protocol must not be able to name: runtimes, sockets, clocks, files, programs.
const IMPURE: &[&str] = &[
    "tokio",
    "boringtun",
    "hickory-server",
    "hickory-proto",
    "hyper",
    "axum",
    "rustls",
    "sqlx",
    "socket2",
    "libc",
    "rtnetlink",
    "tracing",
    "clap",
    "getrandom",
    "rand",
];

fn dependencies(name: &str) -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == name).unwrap();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn our_crates_depend_on_each_other_only_as_allowed() {
    for name in [
        "lacis-proto",
        "lacis-control-core",
        "lacis-control",
        "lacis-relay",
        "lacis-agent-core",
        "lacis-agent",
        "lacis-tunnel",
        "lacis-udp",
    ] {
        for dependency in dependencies(name).iter().filter(|name| name.starts_with("lacis-")) {
            let allowed = EDGES.iter().any(|(from, to, _)| *from == name && to == dependency);
            assert!(allowed, "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn cores_cannot_name_a_runtime_a_socket_or_a_clock() {
    for name in ["lacis-proto", "lacis-control-core", "lacis-agent-core"] {
        let dependencies = dependencies(name);
        let impure: Vec<_> = IMPURE.iter().filter(|impure| dependencies.contains(**impure)).collect();
        assert!(impure.is_empty(), "{name} depends on {impure:?}");
    }
}

#[test]
fn the_tunnel_knows_nothing_of_control() {
    let dependencies = dependencies("lacis-tunnel");
    for foreign in ["lacis-proto", "tokio", "serde", "hickory-server"] {
        assert!(!dependencies.contains(foreign), "the tunnel depends on {foreign}");
    }
}
