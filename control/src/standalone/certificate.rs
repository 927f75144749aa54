//! The certificate of a relay alone: given in files that somebody renews, or made by an authority of its own.
//!
//! The relay map carries the pin of an authority that is the relay's own; a certificate that was given is checked by the
//! authorities of members' systems. Frames bear MACs of their own in either case.

use std::{fs, path::PathBuf, sync::Arc};

use lacis_proto::{Pin, PublicKey};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    data::DataFolder,
    hosts,
    keys::{self, KeysError},
    tls::{self, Authority, Leaf, LeafError},
};

/// Files of a certificate, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// The certificate and those between it and its authority.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

/// There is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error(
        "cannot read {path:?}; name the files with --tls-certificate and --tls-key, and let this user read them"
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{certificate:?} and {key:?} are no certificate in PEM with its key")]
    Pair { certificate: PathBuf, key: PathBuf, source: LeafError },
    #[error("cannot keep the relay's certificate authority")]
    Keys(#[source] KeysError),
    #[error("cannot make a certificate")]
    Leaf(#[source] LeafError),
}

/// What is shown to members, and how it is renewed.
pub(super) struct Certificate {
    leaf: Arc<Leaf>,
    source: Source,
}

enum Source {
    Given(Given),
    Own { authority: Box<Authority>, pin: Pin, names: Vec<String> },
}

impl Certificate {
    /// Reads the files that are given, or makes a leaf.
    pub(super) async fn open(
        folder: &DataFolder,
        given: Option<Given>,
        relay: &PublicKey,
    ) -> Result<Self, CertificateError> {
        if let Some(given) = given {
            let leaf = Leaf::of(&read(&given)?, clock::unix_ms()).map_err(|source| pair(&given, source))?;
            return Ok(Self { leaf: Arc::new(leaf), source: Source::Given(given) });
        }
        let opened = keys::authority(folder, &format!("Lacis relay {relay}"), false);
        let (authority, pin) = opened.map_err(CertificateError::Keys)?;
        let names: Vec<String> = hosts::addresses().await.iter().map(ToString::to_string).collect();
        let leaf = Leaf::try_new(&authority, &names, clock::unix_ms()).map_err(CertificateError::Leaf)?;
        Ok(Self { leaf: Arc::new(leaf), source: Source::Own { authority: Box::new(authority), pin, names } })
    }

    /// What the authority is known by, where that is the relay's own.
    pub(super) const fn pin(&self) -> Option<Pin> {
        match &self.source {
            Source::Given(_) => None,
            Source::Own { pin, .. } => Some(*pin),
        }
    }

    /// The settings of a server that shows it.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        self.leaf.server().map_err(CertificateError::Leaf)
    }

    /// Renews it until the drain begins. What cannot be renewed stays, and is told of.
    pub(super) async fn keep_fresh(self, begun: CancellationToken) {
        loop {
            tokio::select! {
                () = begun.cancelled() => return,
                () = tokio::time::sleep(tls::LOOK) => {}
            }
            if let Err(error) = self.renew(clock::unix_ms()) {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, source, "the certificate is not renewed");
            }
        }
    }

    /// Reads the files again, which somebody else renews, or issues the next leaf where it is time.
    fn renew(&self, now_ms: u64) -> Result<(), CertificateError> {
        match &self.source {
            Source::Given(given) => {
                self.leaf.replace(&read(given)?, now_ms).map_err(|source| pair(given, source))
            }
            Source::Own { authority, names, .. } => {
                let renewed = self.leaf.renew_when_due(authority, names, now_ms);
                renewed.map(drop).map_err(CertificateError::Leaf)
            }
        }
    }
}

fn pair(given: &Given, source: LeafError) -> CertificateError {
    CertificateError::Pair { certificate: given.certificate.clone(), key: given.key.clone(), source }
}

fn read(given: &Given) -> Result<tls::Pem, CertificateError> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|source| CertificateError::Read { path: path.clone(), source })
    };
    Ok(tls::Pem { certificate: read(&given.certificate)?, key: read(&given.key)? })
}

#[cfg(test)]
mod tests;
