//! The private key of a plain WireGuard client: made here, written into its configuration, never sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lacis_proto::PublicKey;
use lacis_tunnel::PrivateKey;

use super::Failure;

/// A private key.
#[derive(Clone, Debug)]
pub(super) struct Key(PrivateKey);

impl Key {
    pub(super) fn generate() -> Self {
        Self(PrivateKey::generate())
    }

    /// A key in the form of `wg genkey`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
        Some(Self(PrivateKey::from(bytes)))
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey::try_new(self.0.public()).expect("no key pair has a zero public half")
    }
}

/// A wg-quick text with this key in place of the placeholder.
pub(super) fn put_in(text: &str, key: &Key) -> Result<String, Failure> {
    let is_key = |line: &str| {
        line.split_once('=').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("PrivateKey"))
    };
    if !text.lines().any(is_key) {
        return Err(Failure::Failed("the configuration has no line for a private key".to_owned()));
    }
    let secret = STANDARD.encode(key.0.to_bytes());
    let lines = text
        .lines()
        .map(|line| if is_key(line) { format!("PrivateKey = {secret}\n") } else { format!("{line}\n") });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_takes_the_place_of_the_placeholder() {
        let key = Key::parse("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=").unwrap();
        let text = "[Interface]\n# PrivateKey below\nPrivateKey = <%PrivateKey%>\nAddress = 10.0.0.1/16\n";
        let expected = "[Interface]\n# PrivateKey below\n\
                        PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.0.0.1/16\n";
        assert_eq!(put_in(text, &key).unwrap(), expected);
        assert!(put_in("[Interface]\n", &key).is_err());
    }

    #[test]
    fn a_key_that_is_made_here_is_a_key_pair_of_its_own() {
        let (one, two) = (Key::generate(), Key::generate());
        assert_ne!(one.public(), two.public());
        assert!(Key::parse("x").is_none());
        // RFC 7748 §6.1.
        let private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        let public = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        assert_eq!(Key::parse(private).unwrap().public().to_string(), public);
    }
}
