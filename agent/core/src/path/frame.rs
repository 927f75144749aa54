//! A path frame: a message, sealed for one peer.
//!
//! ```text
//!  0      1         2-3       4..11        12..35       36..n-16     n-16..n
//!  0x0D | version | flags 0 | sender tag | nonce (24) | ciphertext | Poly1305 tag
//! ```
//! XChaCha20-Poly1305 under the key of the direction; the first 12 bytes are authenticated, too.

use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{AeadInPlace as _, KeyInit as _},
};

use super::{
    body::Body,
    keys::{FrameKey, Tag},
    unique::Nonce,
};

/// First byte of every path frame; no protocol that may share the port begins so (RFC 9443).
pub(super) const FIRST: u8 = 0x0d;
const VERSION: u8 = 1;
const ADDITIONAL: usize = 12;
const HEADER: usize = ADDITIONAL + 24;
const SEAL: usize = 16;
/// Type, start and number.
const PREFIX: usize = 17;
/// Longest frame: what is as long as a packet of jumbo frames is.
const MAX: usize = 9_216;
/// Length of a PING that is no longer than its PONG.
pub(super) const PROBE: u16 = 100;

/// A frame that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The start of the sender.
    pub(super) boot: u64,
    /// Number of the frame within that start.
    pub(super) seq: u64,
    pub(super) body: Body,
}

/// Who says to have sent a datagram; none if it is no path frame of this version.
pub(super) fn sender(datagram: &[u8]) -> Option<Tag> {
    let [FIRST, VERSION, 0, 0, rest @ ..] = datagram else { return None };
    let fits = (HEADER + PREFIX + SEAL..=MAX).contains(&datagram.len());
    rest.first_chunk().copied().filter(|_| fits)
}

/// Seals a message.
pub(super) fn seal(key: &FrameKey, tag: Tag, nonce: &Nonce, boot: u64, seq: u64, body: &Body) -> Vec<u8> {
    let mut frame = vec![FIRST, VERSION, 0, 0];
    frame.extend(tag);
    frame.extend(nonce);
    frame.push(body.number());
    frame.extend(boot.to_be_bytes());
    frame.extend(seq.to_be_bytes());
    body.write(&mut frame);
    let (header, content) = frame.split_at_mut(HEADER);
    let sealed = XChaCha20Poly1305::new(key.as_ref().into()).encrypt_in_place_detached(
        nonce.into(),
        &header[..ADDITIONAL],
        content,
    );
    // The cipher refuses only what is longer than 256 GiB.
    let seal = sealed.map_or([0; SEAL], Into::into);
    frame.extend(seal);
    frame
}

/// Opens a frame; none if it was not sealed under this key, or says nothing that is understood.
pub(super) fn open(key: &FrameKey, datagram: &[u8]) -> Option<Opened> {
    sender(datagram)?;
    let (header, rest) = datagram.split_at_checked(HEADER)?;
    let (content, seal) = rest.split_last_chunk::<SEAL>()?;
    let (additional, nonce) = header.split_at_checked(ADDITIONAL)?;
    let nonce: &Nonce = nonce.try_into().ok()?;
    let mut plain = content.to_vec();
    XChaCha20Poly1305::new(key.as_ref().into())
        .decrypt_in_place_detached(nonce.into(), additional, &mut plain, seal.into())
        .ok()?;
    let (number, rest) = plain.split_first()?;
    let (boot, rest) = rest.split_first_chunk()?;
    let (seq, content) = rest.split_first_chunk()?;
    let body = Body::read(*number, content)?;
    Some(Opened { boot: u64::from_be_bytes(*boot), seq: u64::from_be_bytes(*seq), body })
}

#[cfg(test)]
mod tests;
