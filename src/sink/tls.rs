//! TLS for sinks that hold a socket of their own: whom they trust, and who they say they are.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{ClientCertificate, TlsConfig};

/// Reads the files anew, so that a change takes effect with the next connection. TLS 1.2 or later.
pub(super) fn client_config(tls: &TlsConfig) -> anyhow::Result<ClientConfig> {
    // The provider is named because asking for the process's default panics when none was installed.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if tls.dangerous_accept_any_certificate {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        let roots = Arc::new(roots(tls.ca_file.as_deref())?);
        builder.with_webpki_verifier(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?)
    };
    match &tls.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(own) => {
            let (chain, key) = identity(own)?;
            builder.with_client_auth_cert(chain, key).with_context(|| names(own))
        }
    }
}

/// The platform's authorities and those of `ca_file`.
fn roots(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).with_context(|| format!("{} holds a broken certificate", path.display()))?;
        }
    }
    ensure!(!roots.is_empty(), "the platform has no certificate authorities: install ca-certificates or set ca_file");
    Ok(roots)
}

fn identity(own: &ClientCertificate) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_file(&own.key_file)
        .with_context(|| format!("{} does not hold a private key in PEM", own.key_file.display()))?;
    Ok((certificates(&own.certificate_file)?, key))
}

/// At least one.
fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("could not read certificates in PEM from {}", path.display());
    let read = CertificateDer::pem_file_iter(path).with_context(reading)?;
    let certificates = read.collect::<Result<Vec<_>, _>>().with_context(reading)?;
    ensure!(!certificates.is_empty(), "{} holds no certificate in PEM", path.display());
    Ok(certificates)
}

fn names(own: &ClientCertificate) -> String {
    let (certificate, key) = (own.certificate_file.display(), own.key_file.display());
    format!("{certificate} and {key} are not a certificate and its key")
}

/// Trusts whatever certificate is shown, if only its key is really there.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
