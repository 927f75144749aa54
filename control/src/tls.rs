//! TLS: leaf certificates in memory, under the authority that agents pin.
//!
//! TLS 1.3 only, hybrid post-quantum key exchange preferred. A leaf lives 30 days and is replaced in
//! process after ten; its key never touches a disk. Both are days of the wall clock, by which clients judge it:
//! a host that was asleep finds out within an hour. The chain that is sent holds the authority's certificate, so an
//! agent can check it against the pin of its token without fetching anything first.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

const DAY: u64 = 86_400;

/// Days that a leaf is valid.
const LEAF_DAYS: u64 = 30;

/// How often the leaf is replaced: twice within its life may fail before anybody notices.
const RENEW: Duration = Duration::from_secs(10 * DAY);

/// How often to look whether it is time.
pub(crate) const LOOK: Duration = Duration::from_secs(60 * 60);

/// A certificate starts this long before now, for clients whose clock is behind.
const BACKDATED: u64 = DAY;

/// The leaf cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The certificate.
    #[error("cannot make a certificate for this server")]
    Certificate {
        /// Why.
        source: rcgen::Error,
    },
    /// A text that is no certificate, or no key.
    #[error("the {what} is not in PEM")]
    Pem {
        /// Which.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The TLS stack refuses the key or the settings.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
}

/// The certificate authority of this installation.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate that somebody else has issued, in PEM, with those between it and its authority.
pub(crate) struct Pem {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// The leaf that is shown to clients now.
#[derive(Debug)]
pub(crate) struct Leaf {
    provider: Arc<CryptoProvider>,
    current: RwLock<Issued>,
}

#[derive(Debug)]
struct Issued {
    key: Arc<CertifiedKey>,
    unix_ms: u64,
}

impl Issued {
    /// Whether it is time for the next: it has served long enough, or the clock shows that it was issued in the future.
    fn is_due(&self, now_ms: u64) -> bool {
        now_ms.checked_sub(self.unix_ms).is_none_or(|age| u128::from(age) >= RENEW.as_millis())
    }
}

impl Authority {
    pub(crate) fn new(params: CertificateParams, key: KeyPair, certificate: CertificateDer<'static>) -> Self {
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, provider: &CryptoProvider, names: &[String], now_ms: u64) -> Result<Issued, LeafError> {
        let failed = |source| LeafError::Certificate { source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
        params.subject_alt_names = names.iter().filter_map(|name| alternative(name)).collect();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, "lacis-control");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for_days(&mut params, LEAF_DAYS, now_ms);
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| LeafError::Tls { source: rustls::Error::General(reason.to_owned()) })?;
        let key = provider.key_provider.load_private_key(key).map_err(|source| LeafError::Tls { source })?;
        let key = CertifiedKey::new(vec![leaf.der().clone(), self.certificate.clone()], key);
        Ok(Issued { key: Arc::new(key), unix_ms: now_ms })
    }
}

impl Leaf {
    /// Issues the first leaf.
    pub(crate) fn try_new(authority: &Authority, names: &[String], now_ms: u64) -> Result<Self, LeafError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(authority.issue(&provider, names, now_ms)?);
        Ok(Self { provider, current })
    }

    /// Shows a certificate that was issued elsewhere.
    pub(crate) fn of(pem: &Pem, now_ms: u64) -> Result<Self, LeafError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(Issued { key: certified(&provider, pem)?, unix_ms: now_ms });
        Ok(Self { provider, current })
    }

    /// Shows another that was issued elsewhere; connections that are open keep theirs.
    pub(crate) fn replace(&self, pem: &Pem, now_ms: u64) -> Result<(), LeafError> {
        let next = Issued { key: certified(&self.provider, pem)?, unix_ms: now_ms };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Replaces the leaf where it is time, and says whether it was; connections that are open keep theirs.
    pub(crate) fn renew_when_due(
        &self,
        authority: &Authority,
        names: &[String],
        now_ms: u64,
    ) -> Result<bool, LeafError> {
        if !self.current.read().unwrap_or_else(PoisonError::into_inner).is_due(now_ms) {
            return Ok(false);
        }
        let next = authority.issue(&self.provider, names, now_ms)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }

    /// What is shown now.
    pub(crate) fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key)
    }

    /// The settings of a server that shows this leaf.
    pub(crate) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, LeafError> {
        let versions = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13]);
        let versions = versions.map_err(|source| LeafError::Tls { source })?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as _;
        let mut config = versions.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certified(provider: &CryptoProvider, pem: &Pem) -> Result<Arc<CertifiedKey>, LeafError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.certificate).collect();
    let chain = chain.map_err(|source| LeafError::Pem { what: "certificate", source })?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key);
    let key = key.map_err(|source| LeafError::Pem { what: "key", source })?;
    let certified = CertifiedKey::from_der(chain, key, provider);
    certified.map(Arc::new).map_err(|source| LeafError::Tls { source })
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Sets when a certificate is valid: from a day before `now_ms` for so many days.
pub(crate) fn valid_for_days(params: &mut CertificateParams, days: u64, now_ms: u64) {
    let now = Duration::from_millis(now_ms);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(Duration::from_secs(BACKDATED));
    params.not_after = epoch + now + Duration::from_secs(days * DAY);
}

/// The certificate in a PEM text.
pub(crate) fn parse_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(CertificateDer::into_owned)
}

fn alternative(name: &str) -> Option<SanType> {
    match name.parse::<IpAddr>() {
        Ok(ip) => Some(SanType::IpAddress(ip)),
        Err(_) => name.try_into().ok().map(SanType::DnsName),
    }
}

#[cfg(test)]
pub(crate) mod tests;
