//! Crates from elsewhere: their licences, and one version of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use support::run_ok;

/// Licences that a crate may be used under here.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that stand twice in what is built, each with its reason. The list only shrinks.
const TWICE: &[(&str, &str)] = &[
    ("base64", "boringtun 0.7 and ours are at 0.22; rcgen's PEM writer is at 0.23"),
    ("chacha20", "boringtun seals cookies with 0.9; hickory's random numbers use 0.10"),
    ("cpufeatures", "goes with chacha20"),
    ("getrandom", "boringtun and ring are at 0.2; everything else at 0.4"),
    ("hashbrown", "sqlx is between two versions of it"),
    ("rand_core", "the curve crates of boringtun are at 0.6; hickory's random numbers use 0.10"),
    ("syn", "derive macros of the ecosystem are moving from 2 to 3; nothing of it is in the programs"),
    ("synstructure", "goes with syn"),
    ("untrusted", "aws-lc-rs is at 0.7, ring and webpki at 0.9"),
];

/// What `cargo metadata` says for the target that we build on.
pub(crate) fn metadata() -> Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
    command.args([
        concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    serde_json::from_str(&run_ok(&mut command)).unwrap()
}

/// Package ids that the programs are built from, without what only tests need.
fn built(metadata: &Value) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let programs = ["lacis-agent", "lacis-control"];
    let packages = metadata["packages"].as_array().unwrap();
    let mut waiting: Vec<&str> = packages
        .iter()
        .filter(|package| programs.contains(&package["name"].as_str().unwrap()))
        .map(|package| package["id"].as_str().unwrap())
        .collect();
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !found.insert(id.to_owned()) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(dependency["pkg"].as_str().unwrap());
            }
        }
    }
    found
}

/// Whether a licence expression can be met with what is allowed.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn every_crate_has_a_licence_that_we_may_use() {
    let metadata = metadata();
    let built = built(&metadata);
    for package in metadata["packages"].as_array().unwrap() {
        let ours = package["source"].is_null();
        if ours || !built.contains(package["id"].as_str().unwrap()) {
            continue;
        }
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(allowed(licence), "{} {} has licence {licence}", package["name"], package["version"]);
    }
}

#[test]
fn no_crate_is_built_twice_without_a_reason() {
    let metadata = metadata();
    let built = built(&metadata);
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        if built.contains(package["id"].as_str().unwrap()) {
            let name = package["name"].as_str().unwrap();
            versions.entry(name).or_default().insert(package["version"].as_str().unwrap());
        }
    }
    let twice: BTreeMap<&str, &BTreeSet<&str>> = versions
        .iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| (*name, versions))
        .collect();
    let named: BTreeSet<&str> = TWICE.iter().map(|(name, _)| *name).collect();
    let unnamed: Vec<_> = twice.iter().filter(|(name, _)| !named.contains(**name)).collect();
    assert!(unnamed.is_empty(), "built twice, without a reason in TWICE: {unnamed:?}");
    let stale: Vec<_> = named.iter().filter(|name| !twice.contains_key(**name)).collect();
    assert!(stale.is_empty(), "in TWICE, but built once: {stale:?}");
}

#[test]
fn the_heavy_and_the_unwanted_stay_out() {
    let metadata = metadata();
    let built = built(&metadata);
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let unwanted =
            ["openssl", "openssl-sys", "native-tls", "rsa", "reqwest", "tonic", "chrono"].contains(&name);
        assert!(!unwanted || !built.contains(package["id"].as_str().unwrap()), "{name} is built in");
    }
}
