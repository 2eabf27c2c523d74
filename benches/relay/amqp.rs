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
/// More make it no faster.
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
        let publishing = async {
            self.channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
            let published = publish_for(&self.address, Duration::from_secs(seconds)).await?;
            self.channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await?;
            Ok(published)
        };
        self.runtime.block_on(publishing)
    }
}

async fn publish_for(address: &str, time: Duration) -> anyhow::Result<f64> {
    let (_connection, channel) = connect(address).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (began, mut number, mut unconfirmed) = (Instant::now(), 0, VecDeque::new());
    while began.elapsed() < time {
        unconfirmed.push_back(publish(&channel, number).await?);
        number += 1;
        if unconfirmed.len() >= UNCONFIRMED_MAX {
            taken(unconfirmed.pop_front()).await?;
        }
    }
    for confirm in unconfirmed {
        taken(Some(confirm)).await?;
    }
    Ok(number as f64 / began.elapsed().as_secs_f64())
}

async fn taken(confirm: Option<impl Future<Output = lapin::Result<Confirmation>>>) -> anyhow::Result<()> {
    if let Some(confirm) = confirm {
        ensure!(confirm.await? == Confirmation::Ack(None), "it was not taken");
    }
    Ok(())
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
