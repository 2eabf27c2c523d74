//! TLS: whom the source trusts, against a TLS server before the emulator.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::config::{PushDown, RestConfig, Secret, SourceConfig, Subscription};
use crate::emulator::{Emulator, Settings};
use crate::event::{Network, Stream};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::source::Source;
use crate::source::tls::connector;

/// Listens with a certificate of its own making, written to `ca_file`, and passes everything on to `to`.
async fn tls_front(lifecycle: &Lifecycle, to: SocketAddr, ca_file: &Path) -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(ca_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    lifecycle.spawn("tls front", async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // A client that does not trust us breaks off here.
            let Ok(mut front) = acceptor.accept(socket).await else { continue };
            let mut back = TcpStream::connect(to).await.unwrap();
            copy_bidirectional(&mut front, &mut back).await.ok();
        }
    });
    address
}

fn config(address: SocketAddr, ca_file: Option<&Path>) -> SourceConfig {
    SourceConfig {
        network: Network::Testnet,
        url: Url::parse(&format!("wss://{address}")).unwrap(),
        api_key: Secret::literal("emulator-key"),
        persistent_session: None,
        silence_timeout: Duration::from_secs(60),
        push_down: PushDown::Packages,
        ca_file: ca_file.map(Path::to_owned),
        rest: RestConfig {
            url: Url::parse("https://api.example").unwrap(),
            requests_per_minute: 60,
            requests_per_day: 5_000,
        },
    }
}

#[tokio::test]
async fn an_authority_of_ca_file_is_trusted() {
    let lifecycle = Lifecycle::default();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let emulator =
        Emulator::start(&lifecycle, "127.0.0.1:0".parse().unwrap(), Settings::default(), None).await.unwrap();
    let front = tls_front(&lifecycle, emulator.address(), &ca_file).await;
    let (sender, mut messages) = mpsc::channel(8);
    let subscription = Subscription { stream: Stream::NftTokens, contract_packages: vec![], owners: vec![] };
    let config = config(front, Some(&ca_file));
    let _source =
        Source::connect(&lifecycle, config, vec![subscription], sender, (Metrics::new([]), Notices::default()))
            .unwrap();
    emulator.attended().await;
    emulator.send(Stream::NftTokens, r#"{"data":{}}"#).await;
    assert_eq!(&messages.recv().await.unwrap().bytes[..], br#"{"data":{}}"#);
    assert_eq!(lifecycle.failure(), None);
}

#[test]
fn a_ca_file_that_is_no_use_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "no certificate\n").unwrap();
    for path in [&missing, &empty] {
        let error = connector("wss", Some(path)).err().unwrap();
        assert!(format!("{error:#}").contains(path.to_str().unwrap()), "{error:#}");
    }
    assert!(connector("ws", Some(&missing)).is_ok());
}
