//! A channel that many deliveries share, so that the broker confirms many of them with one frame.
//!
//! On such a channel the library hands a message that came back to whichever confirm it completes next. A return comes
//! before the confirm of its own message, so that confirm completes no later than its own; and since [`Ends`] gives all
//! that have ended up to some time, nobody is told of a confirm before the returns that came before it are known. They
//! are told apart by their ids.
//!
//! What breaks a channel breaks it for all: a delivery that learns of that is tried again on a channel of its own
//! ([`super::live`]). So whatever is likely to do so does not come here, see [`super::Amqp`].
//!
//! One task publishes and listens. Woken by deliveries and by what the broker says; stopped with its [`Common`], which
//! the connection lets go when one on it broke or was not confirmed in time; holds as much as is under way.

use bytes::Bytes;
use lapin::message::BasicReturnMessage;
use lapin::options::ConfirmSelectOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::ends::Ends;
use super::live::confirm;
use super::message::Message;
use crate::config::CONCURRENCY_MAX;

/// Messages that are begun before those under way are looked at again.
const BEGUN_MAX: usize = 64;

pub(super) struct Common {
    channel: Channel,
    parcels: mpsc::Sender<Parcel>,
    /// Ends with it.
    _task: JoinSet<()>,
}

/// A message on its way.
struct Parcel {
    exchange: ShortString,
    routing_key: ShortString,
    properties: BasicProperties,
    body: Bytes,
    answer: oneshot::Sender<lapin::Result<Confirmation>>,
}

/// What the library said about a message.
struct End {
    id: Option<ShortString>,
    confirmation: lapin::Result<Confirmation>,
    answer: oneshot::Sender<lapin::Result<Confirmation>>,
}

impl Common {
    pub(super) async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let (parcels, inbox) = mpsc::channel(CONCURRENCY_MAX);
        let mut task = JoinSet::new();
        task.spawn(serve(channel.clone(), inbox));
        Ok(Self { channel, parcels, _task: task })
    }

    pub(super) fn works(&self) -> bool {
        self.channel.status().connected()
    }

    /// What the broker said: a return is of this very message. Dropping the future leaves the message to the broker.
    pub(super) async fn publish(&self, message: Message<'_>) -> lapin::Result<Confirmation> {
        let closed = || lapin::Error::from(ErrorKind::InvalidChannelState(lapin::ChannelState::Closed, "publish"));
        let (answer, answered) = oneshot::channel();
        let Message { target, properties, body } = message;
        let (exchange, routing_key) = ((&*target.exchange).into(), (&*target.routing_key).into());
        let parcel = Parcel { exchange, routing_key, properties, body, answer };
        self.parcels.send(parcel).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn serve(channel: Channel, mut inbox: mpsc::Receiver<Parcel>) {
    let (mut ends, mut begun, mut returned) = (Ends::new(), Vec::with_capacity(BEGUN_MAX), Vec::new());
    loop {
        tokio::select! {
            count = inbox.recv_many(&mut begun, BEGUN_MAX) => {
                if count == 0 {
                    return;
                }
                begun.drain(..).for_each(|parcel| ends.push(send(channel.clone(), parcel)));
            }
            ended = ends.next(), if !ends.is_empty() => answer(ended, &mut returned),
        }
    }
}

async fn send(channel: Channel, parcel: Parcel) -> End {
    let Parcel { exchange, routing_key, properties, body, answer } = parcel;
    let id = properties.message_id().clone();
    let confirmation = confirm(&channel, (exchange, routing_key), properties, &body).await;
    End { id, confirmation, answer }
}

/// Gives each message its own return, if it has one. `returned` is what came back of messages that are not at their
/// end yet.
fn answer(mut ended: Vec<End>, returned: &mut Vec<BasicReturnMessage>) {
    returned.extend(ended.iter_mut().filter_map(|end| carried(&mut end.confirmation)));
    for End { id, mut confirmation, answer } in ended {
        if let Ok(Confirmation::Ack(own) | Confirmation::Nack(own)) = &mut confirmation {
            let place = returned.iter().position(|message| *message.properties.message_id() == id);
            *own = place.map(|place| returned.swap_remove(place));
        }
        // Whoever no longer waits has given up.
        let _unwanted = answer.send(confirmation);
    }
}

/// The message that a confirmation brings, whose ever it is.
fn carried(confirmation: &mut lapin::Result<Confirmation>) -> Option<BasicReturnMessage> {
    match confirmation {
        Ok(Confirmation::Ack(message) | Confirmation::Nack(message)) => message.take(),
        Ok(Confirmation::NotRequested) | Err(_) => None,
    }
}
