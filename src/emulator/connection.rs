//! Serving one connected client.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::handshake::Ticket;
use super::hub::{Event, Hub, Seat, Work};
use super::message::restamped;
use super::settings::{Closing, Fault, Trigger};

/// How long the client may take to answer a close frame.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// Texts that are no events, taken in turn; the last is an object that is not well-formed JSON.
const GARBAGE: [&str; 6] = ["", "   ", "hello", "[1,2", "Pong", r#"{"data":"#];
const NO_CODE: u16 = 1005;

/// Going on, or the end of the connection.
type Flow = Result<ControlFlow<()>, Error>;
const ON: Flow = Ok(ControlFlow::Continue(()));

pub(super) struct Connection {
    socket: WebSocketStream<TcpStream>,
    seat: Seat,
    ticket: Ticket,
    hub: Arc<Hub>,
    random: fastrand::Rng,
    /// The last events sent, newest last: what a duplicate repeats.
    recent: VecDeque<Arc<Event>>,
    /// An event that waits for its successor to go first.
    swapped: Option<Arc<Event>>,
    swaps_next: bool,
    loses_next: bool,
    garbage: usize,
}

impl Connection {
    pub(super) fn new(socket: WebSocketStream<TcpStream>, seat: Seat, ticket: Ticket, hub: Arc<Hub>) -> Self {
        // Each connection meets its faults at other places.
        let random = fastrand::Rng::with_seed(hub.settings.seed.wrapping_add(seat.number()));
        let (recent, swapped, garbage) = (VecDeque::new(), None, 0);
        Self { socket, seat, ticket, hub, random, recent, swapped, swaps_next: false, loses_next: false, garbage }
    }

    /// Serves until either side ends it. Woken by events, faults, keep-alive timers and the client's frames.
    pub(super) async fn serve(mut self) {
        if let Err(error) = self.run().await {
            tracing::debug!(stream = %self.ticket.stream, %error, "an emulated connection broke");
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut ping = ticker(self.hub.settings.ping_every);
        let mut protocol_ping = ticker(self.hub.settings.protocol_ping_every);
        loop {
            let flow = tokio::select! {
                work = self.seat.work() => self.perform(work).await,
                () = tick(&mut ping) => self.ping(Message::text("Ping")).await,
                () = tick(&mut protocol_ping) => self.ping(Message::Ping(Bytes::from_static(b"emulator"))).await,
                frame = self.socket.next() => self.receive(frame),
            };
            if flow?.is_break() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, frame: Option<Result<Message, Error>>) -> Flow {
        match frame.transpose()? {
            None => return Ok(ControlFlow::Break(())),
            Some(Message::Pong(_)) => self.hub.note(|tally| tally.pongs += 1),
            Some(Message::Close(reason)) => {
                let code = reason.map_or(NO_CODE, |frame| frame.code.into());
                self.hub.note(|tally| tally.goodbyes.push(code));
            }
            Some(_) => {}
        }
        ON
    }

    async fn ping(&mut self, message: Message) -> Flow {
        self.release_swapped().await?;
        self.socket.send(message).await?;
        self.hub.note(|tally| tally.pings += 1);
        ON
    }

    /// Faults asked for come first, then the events. After the end nothing more is written.
    async fn perform(&mut self, work: Work) -> Flow {
        let mut flow = ControlFlow::Continue(());
        let mut faults = work.faults.into_iter();
        while let (ControlFlow::Continue(()), Some(fault)) = (flow, faults.next()) {
            flow = self.fault(fault).await?;
        }
        let mut sent = Vec::with_capacity(work.events.len());
        let mut events = work.events.into_iter();
        while let (ControlFlow::Continue(()), Some(event)) = (flow, events.next()) {
            let is_last = events.len() == 0;
            let served = self.serve_event(event, is_last, &mut sent).await;
            if served.is_err() {
                self.hub.account(&sent);
            }
            flow = served?;
        }
        Ok(flow)
    }

    /// Writes an event if the client wants it; settles after the last of a batch, and before a fault, which may move
    /// or end the connection.
    async fn serve_event(&mut self, event: Arc<Event>, is_last: bool, sent: &mut Vec<Arc<Event>>) -> Flow {
        let next = event.number + 1;
        let mut fault = None;
        if event.stream == self.ticket.stream && self.ticket.filter.wants(&event.text) {
            if std::mem::take(&mut self.loses_next) {
                self.hub.note(|tally| tally.lost += 1);
            } else {
                self.offer(event, sent).await?;
            }
            fault = self.chance();
        }
        if is_last || fault.is_some() {
            self.settle(sent, next).await?;
        }
        match fault {
            Some(fault) => self.fault(fault).await,
            None => ON,
        }
    }

    /// Writes an event, or keeps it until its successor was written; the next keep-alive or fault also brings it.
    async fn offer(&mut self, event: Arc<Event>, sent: &mut Vec<Arc<Event>>) -> Result<(), Error> {
        if std::mem::take(&mut self.swaps_next) {
            self.swapped = Some(event);
            return Ok(());
        }
        self.write(event, sent).await?;
        match self.swapped.take() {
            Some(late) => self.write(late, sent).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, event: Arc<Event>, sent: &mut Vec<Arc<Event>>) -> Result<(), Error> {
        self.feed(event.text.clone()).await?;
        if self.recent.len() > self.hub.settings.duplicate_distance {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&event));
        sent.push(event);
        if let Some(pause) = self.hub.settings.slow {
            self.socket.flush().await?;
            sleep(pause).await;
        }
        Ok(())
    }

    async fn release_swapped(&mut self) -> Result<(), Error> {
        let Some(late) = self.swapped.take() else { return Ok(()) };
        let mut sent = Vec::new();
        self.write(late, &mut sent).await?;
        self.socket.flush().await?;
        self.hub.account(&sent);
        Ok(())
    }

    async fn settle(&mut self, sent: &mut Vec<Arc<Event>>, next: u64) -> Result<(), Error> {
        self.socket.flush().await?;
        self.hub.account(sent);
        sent.clear();
        self.seat.advance(next);
        Ok(())
    }

    async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Error> {
        let Some(size) = self.hub.settings.fragment_bytes.filter(|size| text.len() > *size) else {
            return self.socket.feed(Message::Text(text)).await;
        };
        let mut rest = Bytes::from(text);
        let mut kind = Data::Text;
        while !rest.is_empty() {
            let part = rest.split_to(size.clamp(1, rest.len()));
            let frame = Frame::message(part, OpCode::Data(kind), rest.is_empty());
            self.socket.feed(Message::Frame(frame)).await?;
            kind = Data::Continue;
        }
        Ok(())
    }

    /// Draws whether a fault with a share happens after this event; at most one does.
    fn chance(&mut self) -> Option<Fault> {
        let faults = self.hub.settings.faults.iter();
        let mut shares = faults.filter_map(|(fault, trigger)| match trigger {
            Trigger::Share(share) => Some((*fault, *share)),
            Trigger::Every(_) => None,
        });
        shares.find(|(_, share)| self.random.f64() < *share).map(|(fault, _)| fault)
    }

    async fn fault(&mut self, fault: Fault) -> Flow {
        self.release_swapped().await?;
        match fault {
            Fault::Drop => return self.drop_connection().await,
            Fault::Stall => return self.stall().await,
            Fault::Lose => self.loses_next = true,
            Fault::Duplicate => self.duplicate().await?,
            Fault::Reorder => self.swaps_next = true,
            Fault::Garbage => {
                let text = GARBAGE.get(self.garbage % GARBAGE.len()).copied().unwrap_or_default();
                self.garbage += 1;
                self.nonsense(Message::text(text)).await?;
            }
            Fault::Giant => {
                let pad = "x".repeat(self.hub.settings.giant_bytes);
                self.nonsense(Message::text(format!(r#"{{"data":{{"pad":"{pad}"}}}}"#))).await?;
            }
            Fault::InvalidUtf8 => {
                let frame = Frame::message(&b"{\"data\":\"\xff\"}"[..], OpCode::Data(Data::Text), true);
                self.nonsense(Message::Frame(frame)).await?;
            }
        }
        ON
    }

    async fn nonsense(&mut self, message: Message) -> Result<(), Error> {
        self.hub.note(|tally| tally.nonsense += 1);
        self.socket.send(message).await
    }

    async fn duplicate(&mut self) -> Result<(), Error> {
        let Some(event) = self.recent.front().cloned() else { return Ok(()) };
        let restamps = self.hub.settings.duplicates_are_restamped;
        let text = if restamps { restamped(&event.text).into() } else { event.text.clone() };
        self.feed(text).await?;
        self.socket.flush().await?;
        self.hub.note(|tally| *tally.duplicates.entry(event.stream).or_default() += 1);
        Ok(())
    }

    async fn drop_connection(&mut self) -> Flow {
        if let Closing::Code(code) = self.hub.settings.closing {
            let reason = CloseFrame { code: code.into(), reason: "deployment".into() };
            self.socket.close(Some(reason)).await?;
            self.hear_goodbye(GOODBYE_MAX).await;
        }
        Ok(ControlFlow::Break(()))
    }

    /// Silence; a client that leaves meanwhile is let go.
    async fn stall(&mut self) -> Flow {
        self.seat.stall();
        if self.hear_goodbye(self.hub.settings.stall).await {
            return Ok(ControlFlow::Break(()));
        }
        self.seat.resume();
        ON
    }

    /// Reads on without writing; whether the client left within `bound`.
    async fn hear_goodbye(&mut self, bound: Duration) -> bool {
        let leaving = async { while self.hears_on().await {} };
        timeout(bound, leaving).await.is_ok()
    }

    async fn hears_on(&mut self) -> bool {
        let frame = self.socket.next().await;
        matches!(self.receive(frame), Ok(ControlFlow::Continue(())))
    }
}

fn ticker(every: Option<Duration>) -> Option<Interval> {
    let every = every?;
    let mut ticker = interval_at(Instant::now() + every, every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(ticker)
}

async fn tick(ticker: &mut Option<Interval>) {
    match ticker {
        Some(ticker) => {
            ticker.tick().await;
        }
        None => std::future::pending().await,
    }
}
