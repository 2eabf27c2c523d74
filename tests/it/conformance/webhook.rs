//! An HTTP server that checks signatures, as a destination.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Access, Destination, Receipt};
use crate::relay::SECRET;

const ANOTHER_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Below those from which outgoing connections take theirs, so that it finds its port again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

pub(super) struct Webhook {
    address: SocketAddr,
    authorities: [String; 2],
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    received: Vec<Receipt>,
    serving: JoinSet<()>,
}

struct Shared {
    key: standardwebhooks::Webhook,
    mood: watch::Sender<Mood>,
    receipts: Mutex<Vec<Receipt>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    Refuses,
    IsStopped,
}

impl Webhook {
    fn serve(&mut self, listener: TcpListener) {
        let (shared, acceptor) = (Arc::clone(&self.shared), self.acceptor.clone());
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                connections.spawn(greet(stream, acceptor, shared));
            }
        });
    }

    fn feel(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }
}

/// In plain or with TLS, whichever the relay speaks: a TLS connection begins with a record of type 22.
async fn greet(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first == [22] => {
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, shared).await;
            }
        }
        _ => converse(stream, shared).await,
    }
}

/// Ends when the relay does, or with an error that is its own answer.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Empty::new());
    let Ok(body) = body.collect().await else { return Ok(response) };
    let body = body.to_bytes();
    let mut mood = shared.mood.subscribe();
    let mood = *mood.wait_for(|mood| *mood != Mood::IsStopped).await.unwrap();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    *response.status_mut() = match mood {
        _ if shared.key.verify(&body, &head.headers).is_err() => StatusCode::UNAUTHORIZED,
        _ if body.len() > Webhook::BYTES_MAX => StatusCode::PAYLOAD_TOO_LARGE,
        Mood::Refuses => StatusCode::SERVICE_UNAVAILABLE,
        Mood::Takes | Mood::IsStopped => {
            let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
            let receipt =
                Receipt { id: text(&head.headers["webhook-id"]), headers: headers.collect(), body: body.into() };
            shared.receipts.lock().unwrap().push(receipt);
            StatusCode::NO_CONTENT
        }
    };
    Ok(response)
}

impl Destination for Webhook {
    const BYTES_MAX: usize = 2_000_000;

    async fn start(_: &str) -> Option<Self> {
        let (listener, address) = loop {
            let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
            if let Ok(listener) = TcpListener::bind(address).await {
                break (listener, address);
            }
        };
        let (own, stranger) = (authority(), authority());
        let shared = Shared {
            key: standardwebhooks::Webhook::new(SECRET).unwrap(),
            mood: watch::Sender::new(Mood::Takes),
            receipts: Mutex::default(),
        };
        let mut webhook = Self {
            address,
            authorities: [own.pem(), stranger.pem()],
            acceptor: acceptor(&own),
            shared: Arc::new(shared),
            received: Vec::new(),
            serving: JoinSet::new(),
        };
        webhook.serve(listener);
        Some(webhook)
    }

    fn sink(&self, access: &Access<'_>) -> String {
        let (scheme, tls) = match access.ca_file {
            Some(file) => ("https", format!(", tls: {{ ca_file: {} }}", file.display())),
            None => ("http", String::new()),
        };
        let key = access.key.map(|key| format!(", X-Key: \"{key}\"")).unwrap_or_default();
        format!(
            "webhook: {{ url: \"{scheme}://localhost:{}/\", secrets: [\"${{file:{}}}\"], timeout: 2s, \
             headers: {{ X-Life: \"${{LIFE:-0}}\"{key} }}{tls} }}",
            self.address.port(),
            access.secret_file.display()
        )
    }

    fn secrets(&self) -> [String; 2] {
        [SECRET, ANOTHER_SECRET].map(str::to_owned)
    }

    fn authorities(&self) -> [String; 2] {
        self.authorities.clone()
    }

    async fn kill(&mut self) {
        self.serving.shutdown().await;
    }

    async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    async fn pause(&mut self) {
        self.feel(Mood::IsStopped);
    }

    async fn resume(&mut self) {
        self.feel(Mood::Takes);
    }

    async fn refuse(&mut self) {
        self.feel(Mood::Refuses);
    }

    async fn accept(&mut self) {
        self.feel(Mood::Takes);
    }

    async fn received(&mut self) -> &[Receipt] {
        self.received.append(&mut self.shared.receipts.lock().unwrap());
        &self.received
    }

    /// It is one itself, with the reference library for signatures.
    async fn ids_read_by_another_client(&mut self, _: usize) -> Option<Vec<String>> {
        None
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// With a certificate for localhost of that authority.
fn acceptor(issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}
