//! `tls`: whom a sink trusts, and who it says it is.

use std::path::PathBuf;

use super::super::outline::Form;
use super::super::reader::Place;
use super::super::settings::file;
use super::super::shape::{NoMapping, Node, shape};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsConfig {
    /// PEM file with certificate authorities to trust beside the platform's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a client certificate and its key: both or none.
    pub client_certificate: Option<ClientCertificate>,
    pub dangerous_accept_any_certificate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

shape! {
    Tls {
        ca_file: NoMapping,
        cert_file: NoMapping,
        key_file: NoMapping,
        dangerous_accept_any_certificate: NoMapping = Form::BOOL,
    }
}

pub(super) fn tls(parent: &Place<'_>, node: Option<Node<Tls>>) -> TlsConfig {
    let (tls, place) = parent.map("tls", node);
    let is_half = tls.cert_file.is_some() != tls.key_file.is_some();
    if is_half {
        place.fault("a client certificate needs both `cert_file` and `key_file`");
    }
    let certificate_file = file(&place, "cert_file", tls.cert_file);
    let key_file = file(&place, "key_file", tls.key_file);
    let client_certificate = certificate_file
        .zip(key_file)
        .map(|(certificate_file, key_file)| ClientCertificate { certificate_file, key_file });
    let accept_any = place.choice(
        "dangerous_accept_any_certificate",
        tls.dangerous_accept_any_certificate,
        &[("true", true), ("false", false)],
    );
    if accept_any == Some(true) {
        place.warn("any certificate is accepted, so anybody in between can read and change what is sent", None);
    }
    TlsConfig {
        ca_file: file(&place, "ca_file", tls.ca_file),
        client_certificate,
        dangerous_accept_any_certificate: accept_any.unwrap_or_default(),
    }
}
