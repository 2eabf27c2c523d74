//! Real TLS: who is trusted, who is not, and files that change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::config::ClientCertificate;
use crate::sink::tests::delivery;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for localhost and its key.
fn certificate(issuer: &Authority) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

/// A server of that authority; with `clients`, it wants a certificate of that one.
async fn server(issuer: &Authority, clients: Option<&Authority>) -> (u16, tokio::task::JoinSet<()>) {
    let (own, key) = certificate(issuer);
    let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 64 * 1024];
            // The requests of these tests come in one piece.
            if stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    (port, tasks)
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn to(port: u16, ca_file: &Path) -> WebhookConfig {
    let mut config = config(&format!("https://localhost:{port}/?token=confidential"));
    config.tls.ca_file = Some(ca_file.to_owned());
    config
}

#[tokio::test]
async fn only_servers_of_a_trusted_authority_get_events() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let (port, _server) = server(&ours, None).await;
    let trusting = to(port, &write(directory.path(), "ca.pem", &ours.pem()));
    assert_eq!(webhook(&trusting).deliver(&delivery("1")).await, Outcome::Delivered { status: Some(204) });

    let mut doubting = to(port, &write(directory.path(), "other.pem", &theirs.pem()));
    let (failure, _) = failure(&doubting).await;
    assert_eq!(failure.cause, Cause::Tls, "{}", failure.detail);
    assert!(failure.detail.starts_with("TLS failed: invalid peer certificate"), "{}", failure.detail);

    doubting.tls.dangerous_accept_any_certificate = true;
    assert_eq!(webhook(&doubting).deliver(&delivery("1")).await, Outcome::Delivered { status: Some(204) });
}

#[tokio::test]
async fn a_server_may_want_a_client_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (servers, clients) = (authority(), authority());
    let (port, _server) = server(&servers, Some(&clients)).await;
    let mut config = to(port, &write(directory.path(), "ca.pem", &servers.pem()));
    assert_eq!(failure(&config).await.0.cause, Cause::Tls);

    let (own, key) = certificate(&clients);
    config.tls.client_certificate = Some(ClientCertificate {
        certificate_file: write(directory.path(), "client.pem", &own.pem()),
        key_file: write(directory.path(), "client.key", &key.serialize_pem()),
    });
    assert_eq!(webhook(&config).deliver(&delivery("1")).await, Outcome::Delivered { status: Some(204) });
}

#[tokio::test]
async fn files_that_change_are_read_again_and_broken_ones_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let (port, _server) = server(&ours, None).await;
    let file = write(directory.path(), "ca.pem", &theirs.pem());
    let sink = webhook(&to(port, &file));
    let steps = [(ours.pem(), true), ("broken".to_owned(), true), (String::new(), true), (theirs.pem() + "\n", false)];
    assert!(matches!(sink.deliver(&delivery("1")).await, Outcome::Retry { .. }));
    for (text, expected) in steps {
        write(directory.path(), "ca.pem", &text);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::time::resume();
        let outcome = sink.deliver(&delivery("1")).await;
        assert_eq!(outcome == Outcome::Delivered { status: Some(204) }, expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn missing_and_broken_files_are_named_when_the_sink_is_built() {
    let directory = tempfile::tempdir().unwrap();
    let broken = write(directory.path(), "broken.pem", "hello");
    for file in [broken, directory.path().join("missing.pem")] {
        let built = Webhook::new(encoder(Format::Raw), &to(1, &file), 1, &EgressConfig::default(), &Clock::default());
        let text = format!("{:#}", built.err().unwrap());
        assert!(text.contains(&*file.to_string_lossy()), "{text}");
    }
}
