//! OAuth 1.0 consumers: programs, not people. Their secrets stand in public clients and prove nothing.
//!
//! Where none is configured, PLAINTEXT takes any consumer, and signatures need a consumer whose secret is
//! known: that of the platform's command line and SDKs is. Where some are configured, only those are taken.

use std::collections::BTreeMap;

/// The pair that the platform's command line and SDKs ship, published with them.
const PLATFORM: (&str, &str) = ("T5nFjKeHH4AIlEveuGhB5S3xg8T19e", "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT");

/// The consumers of one control.
#[derive(Clone, Debug)]
pub(crate) struct Consumers {
    secrets: BTreeMap<String, String>,
    takes_any: bool,
}

impl Consumers {
    /// Those that are configured, or the usual ones.
    pub(crate) fn new(configured: &[(String, String)]) -> Self {
        if configured.is_empty() {
            let (key, secret) = PLATFORM;
            return Self { secrets: BTreeMap::from([(key.to_owned(), secret.to_owned())]), takes_any: true };
        }
        Self { secrets: configured.iter().cloned().collect(), takes_any: false }
    }

    pub(crate) fn secret_of(&self, key: &str) -> Option<&str> {
        self.secrets.get(key).map(String::as_str)
    }

    pub(crate) const fn takes_any(&self) -> bool {
        self.takes_any
    }
}
