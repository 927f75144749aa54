//! Every limit has a test or a bench that names it, so that somebody has been there.

use std::collections::BTreeSet;

use crate::files::files;

/// Limits that no test names, each with its reason.
const UNNAMED: &[(&str, &str)] = &[
    ("SILENT_BEATS", THRESHOLD),
    ("REFUSED_FAILURES", THRESHOLD),
    ("SYNCED_FAILURES", THRESHOLD),
    ("OLD_OFFERS_REFUSED", THRESHOLD),
    ("PROOF_TRIES", THRESHOLD),
    ("DESCRIPTORS", OUTSIDE),
];

const THRESHOLD: &str = "a rule counts up to it; tests tell what comes of that, by the clock";
const OUTSIDE: &str = "the kernel or a standard holds to it, not we";

/// Where limits stand that have been looked at, one by one. Those of younger parts have their tests beside them.
const LOOKED_AT: &[&str] =
    &["agent/core/src/limits.rs", "control/core/src/limits.rs", "control/src/limits.rs"];

/// Constants of the `limits` modules, with their types.
fn limits() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, text) in files("limits.rs").into_iter().filter(|(path, _)| LOOKED_AT.contains(&path.as_str()))
    {
        for line in text.lines() {
            let Some((_, rest)) = line.split_once("const ").filter(|(before, _)| is_visibility(before))
            else {
                continue;
            };
            let (name, rest) = rest.split_once(':').unwrap();
            let (of, _) = rest.split_once('=').unwrap();
            found.push((path.clone(), name.to_owned(), of.trim().to_owned()));
        }
    }
    found
}

fn is_visibility(text: &str) -> bool {
    text.is_empty() || text == "pub " || text == "pub(crate) "
}

/// Words of all tests and benches.
fn words_of_tests() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for (path, text) in files(".rs") {
        let is_test = path.starts_with("tests/") && path != file!()
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.contains("/benches/");
        let tests = if is_test {
            Some(text.as_str())
        } else {
            text.split_once("#[cfg(test)]").map(|(_, tests)| tests)
        };
        let words_of = |text: &str| -> Vec<String> {
            let split = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            split.map(str::to_owned).collect()
        };
        words.extend(tests.into_iter().flat_map(words_of));
    }
    words
}

/// How long something lasts is no limit of what is held: clocks of the tests pass by it.
fn is_timing(name: &str, of: &str) -> bool {
    of.contains("Duration") || name.ends_with("_MS") || name.ends_with("_S")
}

#[test]
fn every_limit_is_named_by_a_test() {
    let words = words_of_tests();
    let limits = limits();
    assert!(limits.len() > 50, "the limits are found");
    let mut unnamed: BTreeSet<&str> = BTreeSet::new();
    for (path, name, of) in &limits {
        let is_excused = UNNAMED.iter().any(|(known, _)| known == name);
        let is_named = words.contains(name);
        if !is_named && !is_timing(name, of) && !is_excused {
            println!("{path}: no test reaches {name}; have one name it, or give a reason in UNNAMED");
            unnamed.insert(name);
        }
        assert!(!is_excused || !is_named, "{name} stands in UNNAMED and is named by a test");
    }
    assert_eq!(unnamed, BTreeSet::new());
    for (name, reason) in UNNAMED {
        assert!(limits.iter().any(|(_, known, _)| known == name), "UNNAMED: there is no limit {name}");
        assert!(reason.split(' ').count() > 3, "{name} needs a reason");
    }
}
