//! Control's own keys: the installation key and the certificate authority.
//!
//! Made on the first start, before the database says that there is an installation; a start that died in
//! between finds and keeps what is there. They are files, never rows: a stolen database holds no key.
//! With an installation on record a missing or different key is an error, not a reason to make a new one:
//! every agent trusts the old.

use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer as _, SigningKey};
use lacis_proto::{ControlId, Grant, IdentityKey, Pin, Signature, TokenId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData as _,
};
use sha2::{Digest as _, Sha256};

use crate::{
    clock,
    data::{DataError, DataFolder},
    tls,
};

const INSTALLATION: &str = "installation.key";
const CA_KEY: &str = "ca.key";
const CA: &str = "ca.pem";

/// Files that tell an installation from others.
pub(crate) const FILES: [&str; 3] = [INSTALLATION, CA_KEY, CA];

/// Ten years: replacing an authority needs every agent to learn a second pin first.
const CA_DAYS: u64 = 3_652;

/// Control has no usable keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The folder failed.
    #[error("cannot keep the keys of this installation")]
    Data {
        /// Why.
        source: DataError,
    },
    /// The database has an installation whose key is gone.
    #[error(
        "{path:?} is missing, but the database belongs to an installation that has one; restore it from a backup"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A key file holds no key, or the key of another installation.
    #[error("{path:?} does not hold the key of this installation; restore it from a backup")]
    Wrong {
        /// The file.
        path: PathBuf,
    },
    /// The certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate {
        /// Why.
        source: rcgen::Error,
    },
}

/// Control's own keys.
pub(crate) struct Keys {
    installation: SigningKey,
    /// Derives secrets that need not be stored.
    derive: hmac::Key,
    /// The public half of the installation key.
    pub(crate) public: IdentityKey,
    /// Its fingerprint.
    pub(crate) control: ControlId,
    /// Signs leaf certificates.
    pub(crate) ca: tls::Authority,
    /// Where the authority's certificate is, for clients.
    pub(crate) ca_path: PathBuf,
    /// What agents check the authority by.
    pub(crate) pin: Pin,
}

impl Keys {
    /// Reads the keys; makes those that are missing unless `known` says that there is an installation.
    pub(crate) fn open(folder: &DataFolder, known: Option<&ControlId>) -> Result<Self, KeysError> {
        let installation = installation(folder, known.is_some())?;
        let public = IdentityKey::try_new(installation.verifying_key().to_bytes())
            .map_err(|_| KeysError::Wrong { path: folder.file(INSTALLATION) })?;
        let control = ControlId::of(&public);
        if known.is_some_and(|known| *known != control) {
            return Err(KeysError::Wrong { path: folder.file(INSTALLATION) });
        }
        let (ca, pin) = authority(folder, &format!("Lacis control {control}"), known.is_some())?;
        let derive = hmac::Key::new(hmac::HMAC_SHA256, installation.as_bytes());
        Ok(Self { installation, derive, public, control, ca, ca_path: folder.file(CA), pin })
    }

    /// The OAuth 1.0 secret of an API token: derived, so that the database holds nothing of it.
    pub(crate) fn api_secret(&self, id: &TokenId) -> String {
        let tag = hmac::sign(&self.derive, format!("lacis oauth token secret v1\n{id}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag)
    }

    /// Signs an address that works without login until a moment.
    pub(crate) fn presign(&self, path: &str, expires_s: u64) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.derive, &presigned_bytes(path, expires_s)))
    }

    /// Whether an address was signed by us, in a time that tells nothing of the signature.
    pub(crate) fn is_presigned(&self, path: &str, expires_s: u64, signature: &str) -> bool {
        let shown = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        hmac::verify(&self.derive, &presigned_bytes(path, expires_s), &shown).is_ok()
    }

    /// Signs a grant, so that a node can present it again after a restore of control.
    pub(crate) fn sign_grant(&self, grant: &Grant) -> Signature {
        self.sign(&grant.signed_bytes())
    }

    /// Signs bytes that begin with their context.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.installation.sign(bytes).to_bytes())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("control", &self.control).field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn presigned_bytes(path: &str, expires_s: u64) -> Vec<u8> {
    format!("lacis presigned address v1\n{expires_s}\n{path}").into_bytes()
}

fn installation(folder: &DataFolder, is_known: bool) -> Result<SigningKey, KeysError> {
    let wrong = || KeysError::Wrong { path: folder.file(INSTALLATION) };
    match read(folder, INSTALLATION)? {
        Some(text) => {
            let seed = STANDARD.decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
            Ok(SigningKey::from_bytes(&seed.ok_or_else(wrong)?))
        }
        None if is_known => Err(KeysError::Missing { path: folder.file(INSTALLATION) }),
        None => {
            let seed = clock::random::<32>();
            write(folder, INSTALLATION, &format!("{}\n", STANDARD.encode(seed)))?;
            Ok(SigningKey::from_bytes(&seed))
        }
    }
}

/// The certificate authority of a folder, made where there is none unless there must be one; and what it is known by.
pub(crate) fn authority(
    folder: &DataFolder,
    name: &str,
    is_known: bool,
) -> Result<(tls::Authority, Pin), KeysError> {
    let ca_key = ca_key(folder, is_known)?;
    let spki = ca_key.subject_public_key_info();
    let pin: [u8; 32] = Sha256::digest(&spki).into();
    let pin = Pin::try_new(pin).expect("a SHA-256 of all zeroes is not met");
    let params = ca_params(name)?;
    // A certificate that is gone or damaged is made again: agents know the authority by its key.
    let kept = folder.read(CA).ok().flatten().and_then(|pem| tls::parse_certificate(&pem));
    let certificate = match kept.filter(|kept| kept.windows(spki.len()).any(|part| part == spki)) {
        Some(certificate) => certificate,
        None => {
            let made = params.self_signed(&ca_key).map_err(|source| KeysError::Certificate { source })?;
            write(folder, CA, &made.pem())?;
            made.der().clone()
        }
    };
    Ok((tls::Authority::new(params, ca_key, certificate), pin))
}

fn ca_key(folder: &DataFolder, is_known: bool) -> Result<KeyPair, KeysError> {
    match read(folder, CA_KEY)? {
        Some(pem) => KeyPair::from_pem(&pem).map_err(|_| KeysError::Wrong { path: folder.file(CA_KEY) }),
        None if is_known => Err(KeysError::Missing { path: folder.file(CA_KEY) }),
        None => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
            let key = key.map_err(|source| KeysError::Certificate { source })?;
            write(folder, CA_KEY, &key.serialize_pem())?;
            Ok(key)
        }
    }
}

fn ca_params(name: &str) -> Result<CertificateParams, KeysError> {
    let mut params =
        CertificateParams::new(Vec::<String>::new()).map_err(|source| KeysError::Certificate { source })?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    tls::valid_for_days(&mut params, CA_DAYS, clock::unix_ms());
    Ok(params)
}

fn read(folder: &DataFolder, name: &str) -> Result<Option<String>, KeysError> {
    folder.read(name).map_err(|source| KeysError::Data { source })
}

fn write(folder: &DataFolder, name: &str, text: &str) -> Result<(), KeysError> {
    folder.write(name, text).map_err(|source| KeysError::Data { source })
}
