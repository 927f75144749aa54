//! How long a token lives, as people write it: `30m`, `24h`, `7d`, `never`.

use std::time::Duration;

/// What was written is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time; write 30m, 24h, 7d or never")]
pub struct LifetimeError {
    text: String,
}

/// Reads a number with its unit, `s`, `m`, `h` or `d`; `None` is `never`.
///
/// # Errors
/// Without a unit, and outside of 1 to 2³² − 1 seconds.
pub fn parse_lifetime(text: &str) -> Result<Option<Duration>, LifetimeError> {
    if text == "never" {
        return Ok(None);
    }
    let wrong = || LifetimeError { text: text.to_owned() };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let seconds = number.checked_mul(seconds).filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds));
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_time() {
        for (text, seconds) in [("1s", 1), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse_lifetime(text), Ok(Some(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!(parse_lifetime("never"), Ok(None));
        for wrong in ["", "0s", "12", "h", "-1h", "1w", "1.5h", "99999999999d", "18446744073709551615d", "1ü"]
        {
            assert!(parse_lifetime(wrong).unwrap_err().to_string().contains("7d or never"), "{wrong}");
        }
    }
}
