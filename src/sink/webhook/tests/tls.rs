//! TLS: whom the sink trusts, who it says it is, which versions, and files that change.

use std::path::{Path, PathBuf};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::server::{Server, answer};
use super::*;
use crate::config::ClientCertificate;

/// A certificate authority and a folder for its files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, folder: tempfile::tempdir().unwrap() };
        std::fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, clients: Option<&Self>) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    fn verifier(&self) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).unwrap();
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider())).build().unwrap()
    }

    /// Writes a certificate for a client, and its key.
    fn client(&self) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["relay".to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = ClientCertificate { certificate_file: self.file("client.pem"), key_file: self.file("client.key") };
        std::fs::write(&files.certificate_file, certificate.pem()).unwrap();
        std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
        files
    }
}

fn trusting(port: u16, ca_file: &Path) -> WebhookConfig {
    let mut config = config(&format!("https://127.0.0.1:{port}/hook"));
    config.tls.ca_file = Some(ca_file.to_owned());
    config
}

async fn server(tls: ServerConfig) -> Server {
    Server::start_tls(answer(200, "", ""), tls).await
}

#[track_caller]
fn assert_tls_failure(outcome: Outcome) {
    let failure = retried(outcome);
    assert_eq!(failure.cause, Cause::Tls, "{}", failure.detail);
}

#[tokio::test]
async fn an_authority_of_ca_file_is_trusted_and_no_other() {
    let (good, other) = (Authority::new(), Authority::new());
    let server = server(good.server(None)).await;
    let port = server.address.port();
    assert!(is_delivered(&deliver(&webhook(trusting(port, &good.file("ca.pem")))).await));
    assert_tls_failure(deliver(&webhook(trusting(port, &other.file("ca.pem")))).await);
    let mut plain = config(&format!("https://127.0.0.1:{port}/"));
    assert_tls_failure(deliver(&webhook(plain.clone())).await);
    plain.tls.dangerous_accept_any_certificate = true;
    assert!(is_delivered(&deliver(&webhook(plain)).await));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let server = server(servers.server(Some(&clients))).await;
    let mut config = trusting(server.address.port(), &servers.file("ca.pem"));
    assert_tls_failure(deliver(&webhook(config.clone())).await);
    config.tls.client_certificate = Some(clients.client());
    assert!(is_delivered(&deliver(&webhook(config.clone())).await));
    config.tls.client_certificate = Some(servers.client());
    assert_tls_failure(deliver(&webhook(config)).await);
}

#[tokio::test]
async fn unusable_files_are_named_when_the_sink_is_built() {
    let authority = Authority::new();
    let error = |config| format!("{:#}", build(config, &[]).err().unwrap());
    assert!(error(trusting(1, Path::new("/nonexistent/ca.pem"))).contains("/nonexistent/ca.pem"));
    let empty = authority.file("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    assert!(error(trusting(1, &empty)).contains("empty.pem holds no certificate"));
    let mut config = trusting(1, &authority.file("ca.pem"));
    let files = authority.client();
    std::fs::write(&files.key_file, "hunter2").unwrap();
    config.tls.client_certificate = Some(files);
    let error = error(config);
    assert!(error.contains("client.key") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn certificate_files_are_followed_and_broken_ones_change_nothing() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (server(old.server(None)).await, server(new.server(None)).await);
    let file = old.file("ca.pem");
    // Two sinks that share the file: one's server has the old authority's certificate, one's the new one's.
    let before = webhook(trusting(first.address.port(), &file));
    let after = webhook(trusting(second.address.port(), &file));
    assert!(is_delivered(&deliver(&before).await));
    assert_tls_failure(deliver(&after).await);

    std::fs::write(&file, "broken").unwrap();
    six_seconds_pass().await;
    assert!(is_delivered(&deliver(&before).await), "the old file stays in force");

    std::fs::copy(new.file("ca.pem"), &file).unwrap();
    six_seconds_pass().await;
    assert!(is_delivered(&deliver(&after).await));
    assert_tls_failure(deliver(&before).await);
}

async fn six_seconds_pass() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_server_without_proper_tls_is_a_tls_failure() {
    // Knows nothing newer than TLS 1.1: the alert `protocol_version`.
    let ancient = raw(b"\x15\x03\x02\x00\x02\x02\x46").await;
    let plain = raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    for (_tasks, port) in [ancient, plain] {
        let mut config = config(&format!("https://127.0.0.1:{port}/"));
        config.tls.dangerous_accept_any_certificate = true;
        assert_tls_failure(deliver(&webhook(config)).await);
    }
}

/// Says the same to everybody, after their first bytes.
async fn raw(text: &'static [u8]) -> (JoinSet<()>, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut hello = [0; 16 * 1024];
            let _length = socket.read(&mut hello).await.unwrap();
            socket.write_all(text).await.unwrap();
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok();
        }
    });
    (tasks, port)
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_and_a_dead_connection_is_left() {
    let authority = Authority::new();
    let mut tls = authority.server(None);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let freeze = Arc::new(Notify::new());
    let (_tasks, port) = http_2(tls, Arc::clone(&freeze)).await;
    let mut config = trusting(port, &authority.file("ca.pem"));
    config.timeout = Duration::from_secs(1);
    let sink = webhook(config);
    let until_delivered = async || {
        let attempt = async || while !is_delivered(&deliver(&sink).await) {};
        tokio::time::timeout(LONG, attempt()).await
    };
    assert!(until_delivered().await.is_ok());
    freeze.notify_one();
    tokio::task::yield_now().await;
    assert!(until_delivered().await.is_ok(), "requests are still sent on the dead connection");
}

/// Serves HTTP/2 alone. When told, it stops reading the first connection, but leaves it open.
async fn http_2(tls: ServerConfig, freeze: Arc<Notify>) -> (JoinSet<()>, u16) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, freeze) = (acceptor.clone(), Arc::clone(&freeze));
            let freeze = async move {
                match number {
                    0 => freeze.notified().await,
                    _ => std::future::pending().await,
                }
            };
            open.spawn(serve_http_2(acceptor, socket, freeze));
        }
    });
    (tasks, port)
}

/// Serves until the client leaves; from `freeze` on it neither reads nor closes.
async fn serve_http_2(acceptor: TlsAcceptor, socket: TcpStream, freeze: impl Future<Output = ()>) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
        assert_eq!(request.version(), hyper::Version::HTTP_2);
        Ok::<_, hyper::Error>(hyper::Response::new(String::new()))
    });
    let serving =
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => {}
        () = freeze => std::future::pending().await,
    }
}
