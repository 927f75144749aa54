//! Public halves of keys, and the pin of a certificate authority.

use std::{fmt, str::FromStr};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::text::text_on_the_wire;

/// Text that is not a key of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the base64 form of 32 bytes.
    #[error("a {what} is 32 bytes in base64 ({characters} characters)")]
    Form {
        /// What was to be parsed.
        what: &'static str,
        /// Length of the right text form.
        characters: usize,
    },
    /// 32 zero bytes: no X25519 or Ed25519 key pair has them.
    #[error("a {what} of all zeroes is no key")]
    Zero {
        /// What was to be parsed.
        what: &'static str,
    },
}

macro_rules! key_of_32_bytes {
    ($(#[$doc:meta])* $name:ident, $what:literal, $engine:expr, $characters:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes 32 bytes as they are.
            ///
            /// # Errors
            /// [`KeyError::Zero`] for 32 zero bytes.
            pub fn try_new(bytes: [u8; 32]) -> Result<Self, KeyError> {
                if bytes == [0; 32] { Err(KeyError::Zero { what: $what }) } else { Ok(Self(bytes)) }
            }

            /// Parses the base64 form.
            ///
            /// # Errors
            /// [`KeyError::Form`] for any other text, [`KeyError::Zero`] for 32 zero bytes.
            pub fn parse(text: &str) -> Result<Self, KeyError> {
                let form = KeyError::Form { what: $what, characters: $characters };
                if text.len() != $characters {
                    return Err(form);
                }
                let bytes: [u8; 32] = $engine.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(form)?;
                Self::try_new(bytes)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$engine.encode(self.0))
            }
        }

        text_on_the_wire!($name);
    };
}

key_of_32_bytes!(
    /// A peer's WireGuard public key (X25519), in the base64 form of `wg`: 44 characters.
    PublicKey,
    "WireGuard public key",
    STANDARD,
    44
);
key_of_32_bytes!(
    /// The public half of a node identity or of the installation key (Ed25519), in URL-safe base64
    /// without padding: 43 characters.
    IdentityKey,
    "identity key",
    URL_SAFE_NO_PAD,
    43
);
key_of_32_bytes!(
    /// SHA-256 of a certificate authority's SubjectPublicKeyInfo in DER (RFC 7469 §2.4), in URL-safe
    /// base64 without padding: 43 characters.
    Pin,
    "pin",
    URL_SAFE_NO_PAD,
    43
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_they_parse() {
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
        assert_eq!(PublicKey::parse(text).unwrap().to_string(), text);
        let text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg";
        assert_eq!(IdentityKey::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let zero = STANDARD.encode([0; 32]);
        assert_eq!(PublicKey::parse(&zero), Err(KeyError::Zero { what: "WireGuard public key" }));
        for bad in ["", "x", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D==", &"A".repeat(44), &"=".repeat(44)]
        {
            assert!(matches!(PublicKey::parse(bad), Err(KeyError::Form { .. })), "{bad}");
        }
    }
}
