//! TLS settings for both ends: 1.2 or newer, AEAD suites only, X25519 and P-256 (mesh.md §3).

use crate::base::{Error, Result};
use crate::runtime::files::atomic;
use crate::runtime::files::paths::Paths;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, Connection, DigitallySignedStruct, NamedGroup, RootCertStore, ServerConfig, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whom a dialling node trusts to be the server, beside the mesh's own proof of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsTrust {
    /// The system's root certificates.
    #[default]
    System,
    /// The certificates of this PEM file, and no others.
    CaFile(PathBuf),
}

/// TLS state, shared by both halves of a connection; locked for CPU work only, never across a socket call that may block.
pub(crate) type Tls = Arc<Mutex<Connection>>;

fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.retain(|group| matches!(group.name(), NamedGroup::X25519 | NamedGroup::secp256r1));
    Arc::new(provider)
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The server's side, from PEM files. The key file must not be readable by others.
pub(crate) fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let bad = |path: &Path, e: &dyn std::fmt::Display| Error::Config(format!("cannot use {}: {e}", path.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(|e| bad(cert, &e))?;
    if chain.is_empty() {
        return Err(bad(cert, &"it holds no certificate"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| bad(key, &e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|e| Error::Config(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| bad(cert, &e))?;
    // Rigs keep one connection for days: resumption would cost memory and save nothing.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The dialling side. A pin replaces every other trust. With `any` every certificate will do: only where the key that must
/// answer is known and proven inside, so that TLS hides who speaks and need not say to whom.
pub(crate) fn client(trust: &TlsTrust, pin: Option<[u8; 32]>, any: bool) -> Result<Arc<ClientConfig>> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(VERSIONS)
        .map_err(|e| Error::Config(e.to_string()))?;
    let mut config = match (pin, any) {
        (Some(_), _) | (None, true) => {
            let verifier = Pinned { pin, algorithms: provider.signature_verification_algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
        (None, false) => builder.with_root_certificates(roots(trust)?).with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(trust: &TlsTrust) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match trust {
        TlsTrust::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::Config(
                    "no system root certificates were found; name a CA file or pin the certificate's fingerprint"
                        .to_owned(),
                ));
            }
        }
        TlsTrust::CaFile(path) => {
            let certs: Vec<_> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|e| Error::Config(format!("cannot use {}: {e}", path.display())))?;
            roots.add_parsable_certificates(certs);
            if roots.is_empty() {
                return Err(Error::Config(format!("{} holds no usable certificate", path.display())));
            }
        }
    }
    Ok(roots)
}

/// SHA-256 of a certificate: what is pinned and shown.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// The fingerprint of the first certificate of a PEM file.
pub(crate) fn fingerprint_of_file(cert: &Path) -> Result<[u8; 32]> {
    let der = CertificateDer::from_pem_file(cert)
        .map_err(|e| Error::Config(format!("cannot use {}: {e}", cert.display())))?;
    Ok(fingerprint(&der))
}

/// A self-signed server certificate and its key, as `init --tls` makes them.
#[derive(Clone)]
pub struct TlsPair {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PEM. Keep it 0600.
    pub key_pem: String,
    fingerprint: [u8; 32],
}

impl TlsPair {
    /// For these host names and addresses.
    ///
    /// # Errors
    /// [`Error::Failed`] when a name cannot stand in a certificate.
    pub fn self_signed(names: &[String]) -> Result<TlsPair> {
        let bad = |e: rcgen::Error| Error::Failed(format!("cannot make a certificate: {e}"));
        let pair = rcgen::generate_simple_self_signed(names).map_err(bad)?;
        let fingerprint = fingerprint(pair.cert.der());
        Ok(TlsPair { cert_pem: pair.cert.pem(), key_pem: pair.signing_key.serialize_pem(), fingerprint })
    }

    /// Stores the pair in the node's folder, the key readable by its owner only.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, paths: &Paths) -> Result<()> {
        atomic::write(&paths.tls_key(), self.key_pem.as_bytes(), 0o600)?;
        atomic::write(&paths.tls_cert(), self.cert_pem.as_bytes(), 0o644)
    }

    /// The fingerprint of the certificate in the node's folder; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Config`] when the file is no certificate.
    pub fn stored_fingerprint(paths: &Paths) -> Result<Option<String>> {
        let cert = paths.tls_cert();
        if cert.exists() { fingerprint_of_file(&cert).map(|f| Some(hex::encode(f))) } else { Ok(None) }
    }

    /// SHA-256 of the certificate as 64 hex digits: what the other side pins.
    pub fn fingerprint_hex(&self) -> String {
        hex::encode(self.fingerprint)
    }
}

/// Accepts exactly one certificate, or any when there is no pin, whatever it says of itself: its holder still has to sign the
/// handshake.
#[derive(Debug)]
struct Pinned {
    pin: Option<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(pin) = self.pin else { return Ok(ServerCertVerified::assertion()) };
        let shown = fingerprint(end_entity);
        if subtle::ConstantTimeEq::ct_eq(&shown[..], &pin[..]).into() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the certificate's fingerprint is {}, pinned is {}",
            hex::encode(shown),
            hex::encode(pin)
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
