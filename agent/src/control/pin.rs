//! Whom we take for control: whoever holds a certificate of the pinned authority.
//!
//! Under a pin the names in the certificate do not matter, and neither does the clock of this host: a
//! node that has no clock yet must be able to join (DESIGN ruling 26). Without a pin the authorities of
//! the operating system decide, names and clock included.

use std::sync::Arc;

use lacis_proto::Pin;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// How the refusal of a foreign certificate authority reads.
pub(super) const NOT_THE_PINNED_AUTHORITY: &str = "certificate authority is not the pinned one";

/// Whom to take for control.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    tls: Arc<ClientConfig>,
    pins: Vec<Pin>,
}

/// Trust cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// TLS 1.3 is not to be had.
    #[error("TLS 1.3 cannot be set up")]
    Tls(#[source] Error),
    /// No pin, and no authorities on this host.
    #[error("the token carries no pin and this host has no certificate authorities; install ca-certificates")]
    NoAuthorities,
    /// A certificate authority that is none.
    #[error("no certificate authority in PEM: it begins with -----BEGIN CERTIFICATE-----")]
    Pem,
}

impl Trust {
    /// Trusts authorities with these pins, or those of the operating system where there are none.
    pub(crate) fn new(pins: &[Pin]) -> Result<Self, TrustError> {
        Self::pinned(pins, false)
    }

    /// Trusts a relay: authorities with its pins, or, where it has none, whoever is control and those of the operating
    /// system, names and clock included.
    pub(super) fn for_relay(&self, pins: &[Pin]) -> Result<Self, TrustError> {
        match (pins, self.pins.as_slice()) {
            ([], []) => Ok(self.clone()),
            ([], control) => Self::pinned(control, true),
            (pins, _) => Self::pinned(pins, false),
        }
    }

    fn pinned(pins: &[Pin], or_system: bool) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TrustError::Tls)?;
        let tls = if pins.is_empty() {
            builder.with_root_certificates(system_authorities()?).with_no_client_auth()
        } else {
            let verifier = Arc::new(Pinned { pins: pins.to_vec(), or_system, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        };
        Ok(Self { tls: Arc::new(tls), pins: pins.to_vec() })
    }

    /// Trusts the certificate authorities in a PEM text, names and clock included.
    pub(crate) fn with_authorities(pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|_| TrustError::Pem)?).map_err(|_| TrustError::Pem)?;
        }
        if roots.is_empty() {
            return Err(TrustError::Pem);
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TrustError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), pins: Vec::new() })
    }

    pub(super) const fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }
}

fn system_authorities() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoAuthorities) } else { Ok(roots) }
}

#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    /// Whether the authorities of the operating system count, too.
    or_system: bool,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn is_pinned(&self, anchor: &TrustAnchor<'_>) -> bool {
        let hash: [u8; 32] = Sha256::digest(der_sequence(&anchor.subject_public_key_info)).into();
        self.pins.iter().any(|pin| *pin.as_bytes() == hash)
    }

    /// Who checks certificates of other authorities, where any count.
    fn system(&self) -> Option<Arc<WebPkiServerVerifier>> {
        let roots = self.or_system.then(system_authorities)?.ok()?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build().ok()
    }

    /// Checks the leaf up to the anchor, at a time at which every certificate on the way is valid.
    fn check(
        &self,
        leaf: &EndEntityCert<'_>,
        anchor: TrustAnchor<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let anchors = [anchor];
        let at = |time| {
            leaf.verify_for_usage(algorithms, &anchors, &[], time, KeyUsage::server_auth(), None, None)
                .map(drop)
        };
        match at(now) {
            Err(webpki::Error::CertNotValidYet { not_before, .. }) => at(not_before),
            Err(webpki::Error::CertExpired { not_after, .. }) => at(not_after),
            other => other,
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let anchors = chain.iter().filter_map(|der| anchor_from_trusted_cert(der).ok());
        let Some(anchor) = anchors.into_iter().find(|anchor| self.is_pinned(anchor)) else {
            let system = self.system().ok_or_else(|| Error::General(NOT_THE_PINNED_AUTHORITY.to_owned()))?;
            return system.verify_server_cert(leaf, chain, name, ocsp, now);
        };
        self.check(&parsed, anchor, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|error| Error::General(format!("the certificate of control does not verify: {error}")))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A DER SEQUENCE around its content (X.690 §8.9): a pin is over the whole SubjectPublicKeyInfo, a trust
/// anchor holds what is inside.
fn der_sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant =
        length.iter().position(|byte| *byte != 0).map_or(&length[..0], |first| &length[first..]);
    let mut der = vec![0x30];
    match content.len() {
        0..0x80 => der.push(u8::try_from(content.len()).unwrap_or_default()),
        _ => {
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            der.extend(significant);
        }
    }
    der.extend(content);
    der
}

#[cfg(test)]
mod tests;
