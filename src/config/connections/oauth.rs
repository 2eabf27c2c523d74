//! `oauth`: credentials for OAUTHBEARER, by the client credentials grant.

use std::path::PathBuf;

use reqwest::Url;

use crate::config::Secret;
use crate::config::outline::Form;
use crate::config::reader::Place;
use crate::config::settings::{file, url_at};
use crate::config::shape::{NoMapping, Node, Text, shape};

#[derive(Clone, Debug, PartialEq)]
pub struct OauthConfig {
    /// `https` or `http`, without userinfo.
    pub token_url: Url,
    pub client_id: String,
    pub client_secret: Secret,
    pub scope: Option<String>,
    /// PEM file with certificate authorities to trust beside the platform's.
    pub ca_file: Option<PathBuf>,
}

shape! {
    Oauth {
        token_url: NoMapping = Form::pattern("^https?://[^/?#@]+([/?#]|$)").required(),
        client_id: NoMapping = Form::TEXT.required(),
        client_secret: NoMapping = Form::TEXT.required(),
        scope: NoMapping,
        ca_file: NoMapping,
    }
}

pub(super) fn oauth(parent: &Place<'_>, node: Node<Oauth>) -> Option<OauthConfig> {
    let (oauth, place) = parent.map("oauth", Some(node));
    let token_url = required(&place, "token_url", oauth.token_url);
    let token_url = token_url.and_then(|node| url_at(&place, "token_url", node, ["https", "http"]));
    let client_id = required(&place, "client_id", oauth.client_id).and_then(|node| place.text("client_id", Some(node)));
    let client_secret = required(&place, "client_secret", oauth.client_secret);
    let client_secret = client_secret.and_then(|node| place.key("client_secret", node.at).secret(&node, false));
    let scope = place.text("scope", oauth.scope).map(|given| given.text);
    let ca_file = file(&place, "ca_file", oauth.ca_file);
    if let Some((url, url_place)) = &token_url
        && url.scheme() == "http"
        && !url.host_str().is_some_and(is_loopback)
    {
        url_place.warn("the client secret is sent unencrypted", Some("use https".to_owned()));
    }
    Some(OauthConfig {
        token_url: token_url?.0,
        client_id: client_id?.text,
        client_secret: client_secret?,
        scope,
        ca_file,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn required(place: &Place<'_>, key: &str, node: Option<Text>) -> Option<Text> {
    if node.is_none() {
        place.fault(format!("`{key}` is missing"));
    }
    node
}
