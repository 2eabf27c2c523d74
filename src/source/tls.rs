//! How the source trusts: the platform's certificate authorities and those of `ca_file`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_tungstenite::Connector;

/// For an address of the scheme `ws` nothing is read: an emulator needs no certificates.
pub(super) fn connector(scheme: &str, ca_file: Option<&Path>) -> anyhow::Result<Connector> {
    if scheme == "ws" {
        return Ok(Connector::Plain);
    }
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    for error in &platform.errors {
        tracing::warn!(%error, "one of the platform's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(platform.certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    ensure!(!roots.is_empty(), "the platform has no certificate authorities: install ca-certificates or set ca_file");
    // The provider is named because asking for the process's default panics when none was installed.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS for the source")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Connector::Rustls(Arc::new(config)))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let reading = || format!("reading certificate authorities from {}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).with_context(reading)?;
    let mut count = 0_usize;
    for certificate in certificates {
        roots.add(certificate.with_context(reading)?).with_context(reading)?;
        count += 1;
    }
    ensure!(count > 0, "{} holds no certificate in PEM form", path.display());
    Ok(())
}
