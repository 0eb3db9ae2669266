//! The event stream (SSE): what happened since `Last-Event-ID`, then what happens.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::sse::{Event, Sse},
};
use serde::Deserialize;
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{
    Api,
    auth::{SignedIn, Taker},
    payments::{PaymentPath, bad_query, must_exist},
    problem::{Problem, Slug},
    schema,
};
use crate::{
    gateway::payments::{PaymentEvent, Subscription},
    listen::Share,
    proto::id::{KeyId, PaymentId},
};

/// Events that may wait for a slow reader before the gateway's own buffer does the waiting.
const WAITING: usize = 16;

type Stream = Sse<ReceiverStream<Result<Event, Infallible>>>;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// As the header `Last-Event-ID`, for clients that cannot set it.
    #[param(value_type = Option<u64>)]
    last_event_id: Option<String>,
}

#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "events",
    summary = "Everything that happens to the tenant's payments and calls",
    description = "Server-sent events. `event:` is `payment.created`, `payment.capture`, \
        `payment.updated`, `payment.ended`, `call.started`, `call.updated` (it was answered, or has another \
        agent), `call.key-code` (the agent dialled the code that starts a payment), \
        `call.key-code-refused` (so, and with a wrong PIN or none) or `call.ended`; `data:` is a PaymentEvent; `id:` is its number. `reset` (no id) says that events were missed which can no longer be replayed: GET the state anew. A comment comes every 15 seconds.",
    params(EventsQuery, ("Last-Event-ID" = Option<u64>, Header,
        description = "Number of the last event that was seen; what came after it is replayed")),
    responses((status = OK, body = String, content_type = "text/event-stream",
        description = "Events, each with a PaymentEvent as data")))]
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Stream, Problem> {
    let last = last_event_id(&headers, query)?;
    open(api, by, last, None)
}

#[utoipa::path(get, path = "/v1/payments/{id}/events", tag = "events",
    operation_id = "paymentEvents",
    summary = "Everything that happens to one payment",
    description = "Server-sent events as at /v1/events, of this payment only.",
    params(EventsQuery, ("id" = String, Path, description = "The payment's id"),
        ("Last-Event-ID" = Option<u64>, Header,
            description = "Number of the last event that was seen; what came after it is replayed")),
    responses((status = OK, body = String, content_type = "text/event-stream",
            description = "Events, each with a PaymentEvent as data"),
        (status = NOT_FOUND, body = schema::Problem, content_type = "application/problem+json",
            description = "`unknown-payment`")))]
pub(super) async fn payment_events(
    State(api): State<Arc<Api>>,
    Taker(by): Taker,
    PaymentPath(id): PaymentPath,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Stream, Problem> {
    let last = last_event_id(&headers, query)?;
    must_exist(&api, &by.principal, &id).await?;
    open(api, by, last, Some(id))
}

fn last_event_id(
    headers: &HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Option<u64>, Problem> {
    let Query(query) = query.map_err(|_| bad_query("`last_event_id` once, or nothing"))?;
    // A browser that reconnects sends the header; the address still holds the number of the start.
    let header = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?"));
    match header.or(query.last_event_id.as_deref()).map(str::trim) {
        None | Some("") => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_| {
            Problem::new(
                Slug::MalformedQuery,
                "Last-Event-ID is not a number; send the `id` of the last event that you saw, or nothing",
            )
        }),
    }
}

fn open(
    api: Arc<Api>,
    by: SignedIn,
    last: Option<u64>,
    only: Option<PaymentId>,
) -> Result<Stream, Problem> {
    let share = api.streams.take(by.key.id.clone()).map_err(|most| {
        Problem::new(
            Slug::Overloaded,
            format!(
                "this key has {most} event streams open, the most that one may have; close some, or follow /v1/events, which tells of all payments"
            ),
        )
        .retry_after(api.heartbeat.as_secs())
    })?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let subscription = api.service.subscribe(&by.principal.tenant, last);
    let reader = Reader {
        api,
        by,
        only,
        sender,
        _share: share,
    };
    tokio::spawn(reader.run(subscription));
    Ok(Sse::new(ReceiverStream::new(receiver)))
}

/// The client is gone, or must go.
struct Gone;

struct Reader {
    api: Arc<Api>,
    by: SignedIn,
    only: Option<PaymentId>,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _share: Share<KeyId>,
}

impl Reader {
    async fn run(self, subscription: Subscription) {
        let mut shutdown = self.api.shutdown.clone();
        tokio::select! {
            // Dropping the sender ends the response as a whole one: the client reconnects elsewhere.
            _ = shutdown.wait_for(|down| *down) => {}
            _ = self.feed(subscription) => {}
        }
    }

    async fn feed(&self, mut subscription: Subscription) -> Result<(), Gone> {
        // Tells proxies and browsers at once that the stream stands, and how soon to come back.
        let hello = Event::default().comment("tonewall").retry(self.api.retry);
        self.send(hello).await?;
        match subscription.replay.take() {
            Some(missed) => {
                for event in &missed {
                    self.tell(event).await?;
                }
            }
            None => self.reset().await?,
        }
        let mut heartbeat = tokio::time::interval(self.api.heartbeat);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                event = subscription.live.recv() => match event {
                    Ok(event) => self.tell(&event).await?,
                    Err(RecvError::Lagged(_)) => self.reset().await?,
                    Err(RecvError::Closed) => return Err(Gone),
                },
                _ = heartbeat.tick() => {
                    // A key that was revoked in the meantime must not go on reading.
                    if !self.by.still_live(&self.api).await {
                        return Err(Gone);
                    }
                    self.send(Event::default().comment("")).await?;
                }
                () = self.sender.closed() => return Err(Gone),
            }
        }
    }

    async fn tell(&self, event: &PaymentEvent) -> Result<(), Gone> {
        if event.tenant != self.by.principal.tenant {
            return Ok(());
        }
        if let Some(only) = &self.only
            && event
                .payment
                .as_ref()
                .is_none_or(|(payment, _)| payment != only)
        {
            return Ok(());
        }
        self.send(
            Event::default()
                .id(event.id.to_string())
                .event(event.name)
                .data(&event.data),
        )
        .await
    }

    async fn reset(&self) -> Result<(), Gone> {
        self.send(Event::default().event("reset").data("{}")).await
    }

    /// A reader that takes nothing is given up: it would hold its place, and its key is only looked
    /// at again between two events.
    async fn send(&self, event: Event) -> Result<(), Gone> {
        let sent = self.sender.send_timeout(Ok(event), self.api.stall_timeout);
        sent.await.map_err(|_| Gone)
    }
}
