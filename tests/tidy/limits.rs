//! Every limit has a test or a bench that has been there: one that names it, or one that is named here. And every
//! queue has a limit.

use std::collections::BTreeSet;

use crate::files::files;

/// Limits that a test reaches without naming them, each with the test: it stands outside of the crate, where private
/// names end, or counts what comes of the limit.
const REACHED: &[(&str, &str)] = &[
    ("MAX_CONVERSATIONS", "conversations_beyond_the_places_wait_and_an_endless_request_is_refused"),
    ("MAX_REQUEST", "conversations_beyond_the_places_wait_and_an_endless_request_is_refused"),
    ("MAX_RECORD_TEXT", "words_of_people_are_as_long_as_they_may_be"),
    ("MAX_UDP_ANSWER", "an_answer_too_long_for_udp_is_cut_and_comes_whole_over_tcp"),
    ("DESCRIPTORS", "control_raises_its_limit_on_descriptors_and_says_when_it_is_low"),
    ("SOURCES", "a_source_that_floods_leaves_others_alone"),
    ("CLASSES", "classes_are_told_with_one_rate_or_two"),
    ("TLS_CLIENTS", "members_behind_tls_are_as_many_as_there_are_places_for"),
    ("MAX_REQUESTS", "readers_of_figures_beyond_the_places_wait_and_an_endless_line_is_not_read_on"),
    ("MAX_HEAD", "readers_of_figures_beyond_the_places_wait_and_an_endless_line_is_not_read_on"),
    ("MAX_ANSWER", "an_endless_answer_is_not_read_on"),
    ("MAX_RELAY_HOMES", "homes_are_kept_by_rank_until_others_are_told"),
];

/// Limits that no test reaches, each with its reason.
const UNNAMED: &[(&str, &str)] = &[
    ("SILENT_BEATS", THRESHOLD),
    ("REFUSED_FAILURES", THRESHOLD),
    ("SYNCED_FAILURES", THRESHOLD),
    ("OLD_OFFERS_REFUSED", THRESHOLD),
    ("PROOF_TRIES", THRESHOLD),
    ("UNANSWERED_AFTER", THRESHOLD),
    ("MAX_SERVERS", OUTSIDE),
    ("SEGMENTS_OLD_KERNEL", OUTSIDE),
    ("SEGMENTS_NEW_KERNEL", OUTSIDE),
    ("LEAST_V4", OUTSIDE),
    ("SOCKET_BUFFER", OUTSIDE),
    ("MAX_UNSENT", OUTSIDE),
    ("MAX_POOL_PREFIX", OUTSIDE),
    ("RECEIVE_SLOTS", TURN),
    ("ARENA", TURN),
    ("DEVICE_BUDGET", TURN),
    ("SOCKET_BUDGET", TURN),
    ("TICKS_PER_TURN", TURN),
    ("MAILBOX_BUDGET", TURN),
    ("PARCEL_BUDGET", TURN),
    ("SENDS", TURN),
    ("REVOCATIONS_AT_ONCE", TURN),
    ("MAX_ROUNDS", CHOICE),
    ("WORKERS", CHOICE),
    ("MAX_ASKED", RING),
    ("MAX_SIGNALS", PLACES),
    ("MAX_LISTING", CUT),
    ("MAX_UPGRADE", CUT),
    ("MAX_DATAGRAM", CUT),
    ("MAX_REPLY", CUT),
];

const THRESHOLD: &str = "a rule counts up to it; tests tell what comes of that, by the clock";
const OUTSIDE: &str = "the kernel, a standard or another program holds to it, not we";
const TURN: &str = "how much is done before others have their turn: what is beyond waits and is not refused";
const CHOICE: &str = "how many of the best are tried: the others stay where they are and are tried later";
const RING: &str = "the last few of a kind are remembered: a longer list would be of no use to anybody";
const PLACES: &str = "places that are counted as those of conversations are, which a test fills";
const CUT: &str = "the length of what is read of one answer or request: the rest is never asked for";

/// Modules of limits in which every number counts; in others it is those of what is held, and of what is called `MAX_…`.
const EVERY: &[&str] = &["agent/core/src/limits.rs", "control/core/src/limits.rs", "control/src/limits.rs"];

/// Queues without a limit of their own, each with its reason.
const UNLIMITED: &[(&str, &str)] =
    &[("control/relay/src/desk.rs", "letters are counted where they are posted, and refused there")];

/// Constants of the `limits` modules, and those called `MAX_…` beside what they limit, with their types.
fn limits() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, text) in files(".rs") {
        let (is_limits, every) = (path.ends_with("/limits.rs"), EVERY.contains(&path.as_str()));
        if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let code = text.split_once("#[cfg(test)]").map_or(text.as_str(), |(code, _)| code);
        for line in code.lines() {
            let Some((_, rest)) = line.split_once("const ").filter(|(before, _)| is_visibility(before))
            else {
                continue;
            };
            let Some((name, rest)) = rest.split_once(": ") else { continue };
            let Some((of, _)) = rest.split_once('=') else { continue };
            if every || name.starts_with("MAX_") || is_limits && of.trim() == "usize" {
                found.push((path.clone(), name.to_owned(), of.trim().to_owned()));
            }
        }
    }
    found
}

fn is_visibility(text: &str) -> bool {
    ["", "pub ", "pub(crate) ", "pub(super) "].contains(&text.trim_start())
}

/// Texts of all tests and benches.
fn tests() -> Vec<String> {
    let mut texts = Vec::new();
    for (path, text) in files(".rs") {
        let is_test = path.starts_with("tests/") && path != file!()
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.ends_with("/fuzz.rs")
            || path.contains("/benches/");
        if is_test {
            texts.push(text);
        } else if let Some((_, tests)) = text.split_once("#[cfg(test)]") {
            texts.push(tests.to_owned());
        }
    }
    texts
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// How long something lasts is no limit of what is held: clocks of the tests pass by it.
fn is_timing(name: &str, of: &str) -> bool {
    of.contains("Duration") || name.ends_with("_MS") || name.ends_with("_S")
}

#[test]
fn every_limit_is_reached_by_a_test() {
    let tests = tests();
    let words: BTreeSet<&str> = tests.iter().flat_map(|text| words_of(text)).collect();
    let limits = limits();
    assert!(limits.len() > 100, "the limits are found");
    let mut unnamed: BTreeSet<&str> = BTreeSet::new();
    for (path, name, of) in &limits {
        let is_excused = REACHED.iter().chain(UNNAMED).any(|(known, _)| known == name);
        let is_named = words.contains(name.as_str());
        if !is_named && !is_timing(name, of) && !is_excused {
            println!("{path}: no test reaches {name}; have one name it, or give a reason in UNNAMED");
            unnamed.insert(name);
        }
    }
    assert_eq!(unnamed, BTreeSet::new());
    for (name, reason) in UNNAMED {
        assert!(limits.iter().any(|(_, known, _)| known == name), "UNNAMED: there is no limit {name}");
        assert!(reason.split(' ').count() > 3, "{name} needs a reason");
    }
    for (name, test) in REACHED {
        assert!(limits.iter().any(|(_, known, _)| known == name), "REACHED: there is no limit {name}");
        assert!(tests.iter().any(|text| text.contains(&format!("fn {test}("))), "there is no test {test}");
    }
}

#[test]
fn every_queue_has_a_limit() {
    let unlimited = ["unbounded_channel()", "mpsc::unbounded_channel()", "mpsc::channel()"];
    let mut seen = BTreeSet::new();
    for (path, text) in files(".rs") {
        let is_ours = ["agent/", "control/", "proto/"].iter().any(|part| path.starts_with(part));
        let code = text.split_once("#[cfg(test)]").map_or(text.as_str(), |(code, _)| code);
        let is_code = is_ours && path.contains("/src/") && !path.contains("/tests");
        let makes = |queue: &&str| code.contains(&format!("= {queue}"));
        if is_code && unlimited.iter().any(makes) {
            seen.insert(path.clone());
        }
    }
    let known: BTreeSet<String> = UNLIMITED.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(seen, known, "a queue without a limit needs one, or a reason in UNLIMITED");
}
