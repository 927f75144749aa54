//! What whoever runs a test may set in the environment: for how long, by which seed.

/// The number of a setting, where it is set.
///
/// # Panics
/// Where it is set to something else.
#[must_use]
pub fn setting(name: &str) -> Option<u64> {
    let text = word(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

/// The text of a setting, where it is set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the test harness passes no arguments on")]
pub fn word(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
