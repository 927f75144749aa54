//! Runs every fuzz target over its committed corpus, on the stable toolchain; and a blind search without
//! coverage, for machines without cargo-fuzz:
//!
//! ```text
//! cargo test -p lacis-tests --test fuzz -- --ignored --nocapture
//! ```
//! With `LACIS_FUZZ_TARGET=NAME` it searches one target, with `LACIS_FUZZ_TRIES=N` so often for each seed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use proptest::test_runner::{RngAlgorithm, TestRng};
use support::{setting, word};

#[expect(unreachable_pub, reason = "the file is a crate of its own under libFuzzer")]
#[path = "src/targets.rs"]
mod targets;

/// Mutated inputs per target and seed in the corpus, where nobody says how many.
const TRIES: u64 = 5_000;

#[test]
fn every_target_survives_its_corpus() {
    let mut failed = Vec::new();
    for (name, target) in targets::TARGETS {
        for (path, bytes) in corpus(name) {
            if catch_unwind(|| target(&bytes)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "replay: cargo test -p lacis-tests --test fuzz; inputs: {failed:#?}");
}

#[test]
#[ignore = "a search of some minutes; what it finds goes into the corpus"]
fn every_target_survives_mutations_of_its_corpus() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut failed = Vec::new();
    let (only, tries) = (word("LACIS_FUZZ_TARGET"), setting("LACIS_FUZZ_TRIES").unwrap_or(TRIES));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for (name, target) in targets::TARGETS.into_iter().filter(|(name, _)| wanted(name)) {
        let seeds: Vec<_> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
        for seed in &seeds {
            for _ in 0..tries {
                let input = mutated(seed, &seeds, &mut random);
                if catch_unwind(|| target(&input)).is_err() {
                    failed.push(format!("{name}: {}", input.escape_ascii()));
                    break;
                }
            }
        }
        println!("{name}: {} seeds, each changed {tries} times", seeds.len());
    }
    assert!(failed.is_empty(), "put these into the corpus:\n{}", failed.join("\n"));
}

/// A few bytes changed, doubled, taken out, or taken from another input.
fn mutated(seed: &[u8], others: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    use proptest::prelude::Rng as _;
    let mut below = |end: usize| usize::try_from(random.next_u64() % end.max(1) as u64).unwrap();
    let mut bytes = seed.to_vec();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        let length = below(bytes.len() - at + 1).min(1 << below(8));
        match below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9', b'"', b'\n'][below(8)],
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let piece = bytes[at..at + length].to_vec();
                let to = below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => {
                let other = &others[below(others.len())];
                let from = below(other.len() + 1);
                let piece = other[from..from + below(other.len() - from + 1)].to_vec();
                bytes.splice(at..at + length, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[track_caller]
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let found = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_corpus_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::TARGETS.iter().any(|(target, _)| *target == name), "nothing reads corpus/{name}");
    }
}
