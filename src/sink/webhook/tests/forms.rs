//! What a request consists of: the three formats, and the operator's own headers.

use reqwest::header::HeaderMap;

use super::*;
use crate::config::{Field, TemplatePart};
use crate::event::Delivery;
use crate::sink::tests::delivery;

fn headers(config: &WebhookConfig, delivery: &Delivery) -> HeaderMap {
    webhook(config).request(delivery).unwrap().headers().clone()
}

fn with_header(name: &str, parts: Vec<TemplatePart>) -> WebhookConfig {
    WebhookConfig { headers: vec![(name.to_owned(), HeaderText::Template(Template(parts)))], ..config("http://x/") }
}

#[test]
fn the_signature_covers_the_body_that_is_sent() {
    let secret = crate::signature::generate().unwrap();
    let config = WebhookConfig { secrets: vec![Secret::literal(secret.clone())], ..config("http://x/") };
    let key = standardwebhooks::Webhook::new(&secret).unwrap();
    let delivery = delivery("Дім 119");
    let message = delivery.event.body.clone();
    for (format, content_type, is_enveloped, is_in_headers) in [
        (Format::Raw, "application/json", false, false),
        (Format::CloudEvents, "application/cloudevents+json; charset=UTF-8", true, false),
        (Format::CloudEventsBinary, "application/json", false, true),
    ] {
        let request = webhook_in(format, &config).request(&delivery).unwrap();
        let body = request.body().and_then(Body::as_bytes).unwrap();
        key.verify(body, request.headers()).unwrap();
        assert_eq!(request.headers()[CONTENT_TYPE], content_type);
        assert_eq!(body == message, !is_enveloped, "{format:?}");
        assert!(body.windows(message.len()).any(|part| part == message), "{format:?}");
        assert_eq!(request.headers().contains_key("ce-id"), is_in_headers, "{format:?}");
        assert_eq!(request.headers()[WEBHOOK_ID], delivery.event.id.to_string());
        assert_eq!(request.headers()["cspr-relay-token-id"], "%D0%94%D1%96%D0%BC%20119");
    }
}

#[test]
fn own_headers_are_filled_in_for_each_event() {
    let parts = vec![TemplatePart::Text("t/".to_owned()), TemplatePart::Field(Field::TokenId)];
    let config = with_header("X-Token", parts);
    assert_eq!(headers(&config, &delivery("119"))["x-token"], "t/119");
    assert_eq!(headers(&config, &delivery("a\r\nhost: evil"))["x-token"], "t/a%0D%0Ahost:%20evil");
}

#[tokio::test]
async fn an_event_without_the_field_is_rejected_and_nothing_is_sent() {
    let config = with_header("X-Owner", vec![TemplatePart::Field(Field::Owner)]);
    let Outcome::Reject { failure } = webhook(&config).deliver(&delivery("119")).await else { panic!("no reject") };
    assert_eq!(failure.cause, Cause::Invalid);
    assert_eq!(failure.detail, "the event has no `owner`, which a template of this sink names");
}
