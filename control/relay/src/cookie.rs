//! Cookies: they show that who sends a frame can read what goes to its source address.
//!
//! ```text
//! cookie = keyed BLAKE2s with 16 bytes over ( source address 16 · port 2 · period 8 ), with a key drawn at the start
//! ```
//! Nothing is kept for a cookie, and every worker makes and knows the same.

use std::time::Duration;

use blake2::{
    Blake2sMac,
    digest::{Mac as _, consts::U16},
};
use lacis_proto::relay::{Cookie, observed_bytes};

use crate::{leg::Leg, limits};

/// Makes and knows cookies.
#[derive(Clone)]
pub(crate) struct Cookies {
    key: [u8; 32],
}

impl Cookies {
    /// With a secret drawn for this run.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The cookie for a source.
    pub(crate) fn make(&self, since: Duration, from: &Leg) -> Cookie {
        self.mac(period(since), from).finalize().into_bytes().into()
    }

    /// Whether it is one of this period or the one before, for this source.
    pub(crate) fn knows(&self, since: Duration, from: &Leg, cookie: &Cookie) -> bool {
        let period = period(since);
        *cookie != [0; 16]
            && [Some(period), period.checked_sub(1)]
                .into_iter()
                .flatten()
                .any(|period| self.mac(period, from).verify_slice(cookie).is_ok())
    }

    fn mac(&self, period: u64, from: &Leg) -> Blake2sMac<U16> {
        let mut mac = Blake2sMac::<U16>::new_from_slice(&self.key).expect("BLAKE2s takes a key of 32 bytes");
        mac.update(&observed_bytes(from.observed()));
        mac.update(&period.to_be_bytes());
        mac
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies(…)")
    }
}

fn period(since: Duration) -> u64 {
    since.as_secs() / limits::COOKIE_PERIOD.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::Place;

    #[test]
    fn a_cookie_is_good_for_its_source_and_for_a_while() {
        let cookies = Cookies::new([1; 32]);
        let at = |seconds| Duration::from_secs(seconds);
        let leg = |port| Leg::Udp(Place::of(([192, 0, 2, 1], port).into()));
        let cookie = cookies.make(at(59), &leg(5));
        assert!(cookies.knows(at(59), &leg(5), &cookie) && cookies.knows(at(119), &leg(5), &cookie));
        assert!(!cookies.knows(at(120), &leg(5), &cookie), "too old");
        assert!(!cookies.knows(at(59), &leg(6), &cookie), "another source");
        assert!(!Cookies::new([2; 32]).knows(at(59), &leg(5), &cookie), "another relay");
        assert!(!cookies.knows(at(0), &leg(5), &[0; 16]), "none");
    }
}
