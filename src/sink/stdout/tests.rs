//! Whole lines, whatever the output does.

use std::io::{BufRead, BufReader, Read};

use super::*;
use crate::event::Event;
use crate::sink::tests::delivery;

fn with_body(body: &'static str) -> Delivery {
    let delivery = delivery("Дім");
    let event = Event { body: body.into(), ..(*delivery.event).clone() };
    Delivery { event: Arc::new(event), ..delivery }
}

#[tokio::test]
async fn one_line_for_each_event_with_the_message_verbatim() {
    let (reader, writer) = io::pipe().unwrap();
    let sink = Stdout::to("console", Format::Raw, writer);
    for body in ["{\"n\": 1.50,\"n\":2}", "{\n \"a\":\r\n1}"] {
        assert_eq!(sink.deliver(&with_body(body)).await, Outcome::Delivered { status: None });
    }
    drop(sink);
    let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(",\"message\":{\"n\": 1.50,\"n\":2}}"), "{}", lines[0]);
    assert!(lines[0].starts_with("{\"id\":\"evt_"), "{}", lines[0]);
    let second: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((&second["token_id"], &second["message"]["a"]), (&"Дім".into(), &1.into()));
    assert_eq!(second["routes"], serde_json::json!(["bucha-city", "a,b"]));
}

#[tokio::test]
async fn a_line_can_be_a_whole_cloud_event() {
    let (reader, writer) = io::pipe().unwrap();
    let sink = Stdout::to("console", Format::CloudEvents, writer);
    assert_eq!(sink.deliver(&with_body("{\n \"a\":\r\n1}")).await, Outcome::Delivered { status: None });
    drop(sink);
    let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("{\"specversion\":\"1.0\",\"id\":\"evt_"), "{}", lines[0]);
    assert!(lines[0].ends_with(",\"data\":{  \"a\":  1}}"), "{}", lines[0]);
}

#[tokio::test]
async fn a_closed_pipe_is_a_retry_and_no_json_a_reject() {
    let (reader, writer) = io::pipe().unwrap();
    let sink = Stdout::to("console", Format::Raw, writer);
    let Outcome::Reject { failure } = sink.deliver(&with_body("[1,")).await else { panic!("no reject") };
    assert_eq!(failure.cause, Cause::Invalid);
    drop(reader);
    let Outcome::Retry { failure, .. } = sink.deliver(&with_body("{}")).await else { panic!("no retry") };
    assert_eq!(failure.cause, Cause::Connect);
}

#[test]
fn a_torn_line_is_ended_before_the_next() {
    /// Breaks off after three bytes, once.
    struct Breaking(Vec<u8>, bool);
    impl Write for Breaking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 && self.0.len() >= 3 {
                self.1 = false;
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let n = if self.1 { bytes.len().min(3) } else { bytes.len() };
            self.0.extend(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut lines = Lines { out: Breaking(Vec::new(), true), is_torn: false };
    assert!(lines.append(b"{\"a\":1}\n").is_err());
    lines.append(b"{\"a\":1}\n").unwrap();
    assert_eq!(lines.out.0, b"{\"a\n{\"a\":1}\n");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_costs_one_thread_and_the_time() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    // Linux pipes hold 64 KiB.
    writer.write_all(&[b' '; 64 * 1024]).unwrap();
    let sink = Stdout::to("console", Format::Raw, writer);
    for _ in 0..3 {
        let delivery = with_body("{}");
        // A blocking task keeps paused time from moving by itself.
        let (outcome, ()) = tokio::join!(sink.deliver(&delivery), async {
            tokio::task::yield_now().await;
            tokio::time::advance(TIMEOUT).await;
        });
        let Outcome::Retry { failure, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.cause, Cause::Timeout);
    }
    let mut room = vec![0; 64 * 1024];
    reader.read_exact(&mut room).unwrap();
    assert_eq!(sink.deliver(&with_body("{}")).await, Outcome::Delivered { status: None });
}
