//! A member that is out before its tokens expire, as control tells a relay outside of its process.
//!
//! ```text
//! control id 16 | group uuid 16 | WireGuard key 32 | before, Unix ms 8 | until, Unix ms 8 | Ed25519 signature 64
//! ```
//! 144 bytes, numbers big-endian. The installation key signs `lacis-relay-revocation-v1` and all before the signature,
//! each preceded by its length as four big-endian bytes.

use crate::{
    ControlId, GroupId, IdentityKey, PublicKey, Signature, SignatureError, sign::context_bytes, verify,
};

/// Bytes of a revocation.
pub const REVOCATION_BYTES: usize = SIGNED + 64;

const SIGNED: usize = 80;

/// Tokens of one member from before a moment are worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRevocation {
    /// The installation that signed it, and the tokens.
    pub control: ControlId,
    /// The group.
    pub group: GroupId,
    /// The WireGuard key.
    pub key: PublicKey,
    /// Tokens whose time begins before this, in Unix milliseconds.
    pub before_ms: u64,
    /// When the last of them has expired, in Unix milliseconds.
    pub until_ms: u64,
    /// By the installation key, over [`RelayRevocation::signed_bytes`].
    pub signature: Signature,
}

impl RelayRevocation {
    /// The bytes that the installation key signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        context_bytes("lacis-relay-revocation-v1", &self.body())
    }

    /// The bytes for a REVOKE.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REVOCATION_BYTES] {
        let mut bytes = [0; REVOCATION_BYTES];
        bytes[..SIGNED].copy_from_slice(&self.body());
        bytes[SIGNED..].copy_from_slice(&self.signature.0);
        bytes
    }

    /// Reads the bytes of a REVOKE, without checking the signature; `None` for a key of zeroes.
    #[must_use]
    pub fn parse(bytes: &[u8; REVOCATION_BYTES]) -> Option<Self> {
        Some(Self {
            control: ControlId::from_bytes(part(bytes, 0)),
            group: GroupId::from_uuid(part(bytes, 16)),
            key: PublicKey::try_new(part(bytes, 32)).ok()?,
            before_ms: u64::from_be_bytes(part(bytes, 64)),
            until_ms: u64::from_be_bytes(part(bytes, 72)),
            signature: Signature(part(bytes, SIGNED)),
        })
    }

    /// Checks that `control` signed it.
    ///
    /// # Errors
    /// [`SignatureError`] where it did not.
    pub fn check(&self, control: &IdentityKey) -> Result<(), SignatureError> {
        verify(control, &self.signed_bytes(), &self.signature)
    }

    fn body(&self) -> [u8; SIGNED] {
        let mut bytes = [0; SIGNED];
        bytes[..16].copy_from_slice(&self.control.to_bytes());
        bytes[16..32].copy_from_slice(&self.group.to_uuid());
        bytes[32..64].copy_from_slice(self.key.as_bytes());
        bytes[64..72].copy_from_slice(&self.before_ms.to_be_bytes());
        bytes[72..].copy_from_slice(&self.until_ms.to_be_bytes());
        bytes
    }
}

fn part<const N: usize>(bytes: &[u8; REVOCATION_BYTES], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the parts of a revocation lie within it")
}
