//! RabbitMQ: a bare publisher with pipelined confirms, and how much is in a queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

use crate::bare;
use crate::broker::Broker;
use crate::buses::{Bus, headers};
use crate::source::message;

const QUEUE: &str = "bench";
/// As many as the relay has.
const UNCONFIRMED_MAX: usize = 1_000;

pub(crate) struct Node {
    address: String,
    runtime: Runtime,
    _connection: Connection,
    channel: Channel,
}

impl Node {
    pub(crate) fn new(broker: &Broker) -> anyhow::Result<Self> {
        let (address, runtime) = (broker.address("amqp")?, bare::runtime()?);
        let (connection, channel) = runtime.block_on(connect(&address))?;
        Ok(Self { address, runtime, _connection: connection, channel })
    }
}

async fn connect(address: &str) -> anyhow::Result<(Connection, Channel)> {
    let uri = format!("amqp://relay:relay-secret@{address}");
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

async fn declare(channel: &Channel) -> lapin::Result<u32> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await?.message_count())
}

impl Bus for Node {
    const NAME: &str = "RabbitMQ";
    const AIM: &str = "≥ 75 %";

    fn sink(&mut self) -> anyhow::Result<String> {
        self.runtime.block_on(declare(&self.channel))?;
        Ok(format!(
            "amqp: {{ uri: \"amqp://{}\", username: relay, password: relay-secret, exchange: \"\", \
             routing_key: {QUEUE} }}",
            self.address
        ))
    }

    fn count(&mut self) -> anyhow::Result<u64> {
        Ok(self.runtime.block_on(declare(&self.channel))?.into())
    }

    /// To the same queue, which is empty before and after.
    fn publish(&mut self, seconds: u64) -> anyhow::Result<f64> {
        self.runtime.block_on(async {
            self.channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
            let (_connection, channel) = connect(&self.address).await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let (began, mut number, mut unconfirmed) = (Instant::now(), 0, VecDeque::new());
            while began.elapsed() < Duration::from_secs(seconds) {
                unconfirmed.push_back(publish(&channel, number).await?);
                number += 1;
                if unconfirmed.len() >= UNCONFIRMED_MAX
                    && let Some(oldest) = unconfirmed.pop_front()
                {
                    ensure!(oldest.await? == Confirmation::Ack(None), "it was not taken");
                }
            }
            for confirm in unconfirmed {
                ensure!(confirm.await? == Confirmation::Ack(None), "it was not taken");
            }
            let published = number as f64 / began.elapsed().as_secs_f64();
            self.channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
            Ok(published)
        })
    }
}

/// The inner future is the confirm.
async fn publish(channel: &Channel, number: u64) -> lapin::Result<impl Future<Output = lapin::Result<Confirmation>>> {
    let mut table = FieldTable::default();
    for (name, value) in headers(number) {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(2)
        .with_message_id(format!("evt_{number:026}").into())
        .with_timestamp(1_767_225_600)
        .with_app_id("cspr-relay".into())
        .with_type("nft-tokens.created".into())
        .with_headers(table);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish("".into(), QUEUE.into(), options, message(number).as_bytes(), properties).await
}
