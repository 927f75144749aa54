//! OAuth 1.0 (RFC 5849) as clients of the platform use it: what stands in the header, and what was signed.
//!
//! ```text
//! OAuth oauth_consumer_key="…", oauth_token="…", oauth_signature="<consumer secret>%26<token secret>"
//! OAuth …, oauth_signature_method="HMAC-SHA512", oauth_signature="…", oauth_timestamp="…", oauth_nonce="…"
//! ```
//! Without a method it is PLAINTEXT. Bodies are JSON and therefore not signed (§3.4.1.3.1).

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Most parameters of a header: the protocol knows nine.
const MAX_PARAMS: usize = 32;

/// How a request is signed (§3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Plaintext,
    HmacSha1,
    HmacSha256,
    HmacSha512,
}

/// An `Authorization: OAuth` header.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) consumer: String,
    pub(crate) token: String,
    pub(crate) method: Method,
    /// Unix seconds, where the client tells.
    pub(crate) timestamp_s: Option<u64>,
    signature: String,
    params: Vec<(String, String)>,
}

/// What a client says it requested, as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// `https`, or `http` behind a proxy that speaks TLS for us.
    pub(crate) scheme: &'a str,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

impl Header {
    /// Parses what follows `OAuth `.
    ///
    /// # Errors
    /// What is missing or odd.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut params = Vec::new();
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').ok_or("a part of the OAuth header has no '='")?;
            let value = value.trim().trim_matches('"');
            if params.len() == MAX_PARAMS {
                return Err("the OAuth header has too many parts");
            }
            params.push((decode(name.trim()), decode(value)));
        }
        let get = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let method = match get("oauth_signature_method").as_deref().map(str::to_ascii_uppercase).as_deref() {
            None | Some("" | "PLAINTEXT") => Method::Plaintext,
            Some("HMAC-SHA1") => Method::HmacSha1,
            Some("HMAC-SHA256") => Method::HmacSha256,
            Some("HMAC-SHA512") => Method::HmacSha512,
            Some(_) => {
                return Err("oauth_signature_method is none of PLAINTEXT, HMAC-SHA1, -SHA256 and -SHA512");
            }
        };
        let timestamp_s = get("oauth_timestamp").map(|text| text.parse()).transpose();
        Ok(Self {
            consumer: get("oauth_consumer_key").unwrap_or_default(),
            token: get("oauth_token").ok_or("the OAuth header has no oauth_token")?,
            method,
            timestamp_s: timestamp_s.map_err(|_| "oauth_timestamp is no number")?,
            signature: get("oauth_signature").ok_or("the OAuth header has no oauth_signature")?,
            params,
        })
    }

    /// Whether the signature was made with these secrets, in a time that tells nothing of them. PLAINTEXT
    /// proves the consumer's secret only where one is known.
    pub(crate) fn verifies(
        &self,
        signed: &Signed<'_>,
        consumer_secret: Option<&str>,
        token_secret: &str,
    ) -> bool {
        let algorithm = match self.method {
            Method::Plaintext => return self.is_plain(consumer_secret, token_secret),
            Method::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Method::HmacSha256 => hmac::HMAC_SHA256,
            Method::HmacSha512 => hmac::HMAC_SHA512,
        };
        let Some(consumer_secret) = consumer_secret else { return false };
        let Ok(signature) = STANDARD.decode(&self.signature) else { return false };
        let key = format!("{}&{}", encode(consumer_secret), encode(token_secret));
        let key = hmac::Key::new(algorithm, key.as_bytes());
        hmac::verify(&key, self.base_string(signed).as_bytes(), &signature).is_ok()
    }

    fn is_plain(&self, consumer_secret: Option<&str>, token_secret: &str) -> bool {
        let Some((consumer, token)) = self.signature.rsplit_once('&') else { return false };
        let same = |shown: &str, known: &str| {
            verify_slices_are_equal(decode(shown).as_bytes(), known.as_bytes()).is_ok()
        };
        let consumer = consumer_secret.is_none_or(|known| same(consumer, known));
        same(token, token_secret) && consumer
    }

    /// The text that is signed (§3.4.1).
    fn base_string(&self, signed: &Signed<'_>) -> String {
        let own = self.params.iter().filter(|(name, _)| name != "oauth_signature" && name != "realm");
        let own = own.map(|(name, value)| (encode(name), encode(value)));
        let query = pairs(signed.query).filter(|(name, _)| name != "authorization");
        let query = query.map(|(name, value)| (encode(&name), encode(&value)));
        let mut params: Vec<(String, String)> = own.chain(query).collect();
        params.sort_unstable();
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let Signed { method, scheme, path, .. } = signed;
        let host = signed.host.to_ascii_lowercase();
        let port = if *scheme == "https" { ":443" } else { ":80" };
        let url = format!("{scheme}://{}{path}", host.strip_suffix(port).unwrap_or(&host));
        format!("{}&{}&{}", method.to_ascii_uppercase(), encode(&url), encode(&params.join("&")))
    }
}

/// Name and value of each part of a query, decoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    })
}

/// Percent-encodes all but unreserved characters (§3.6).
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let decoded = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = decoded.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match decoded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
