//! Upkeep over HTTP, below `/debug`: each answer is lines of JSON as the work goes on.
//!
//! `dittofs gc` and its like ask for these; until there is a control plane, so may an operator.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use upload::{
    collect::What,
    garbage::{Round, Word},
    scrub,
};
use vfs::Warmed;
use vocab::Error;

use crate::{
    http::{Peer, Refused, Sources, trusted},
    rooms::Rooms,
    upkeep,
};

/// Lines of JSON as they come.
fn lines<T: Send + 'static>(
    mut events: UnboundedReceiver<T>,
    show: impl Fn(T) -> Json + Send + 'static,
) -> Response {
    let next = move |cx: &mut std::task::Context<'_>| {
        let line = |event| Ok::<_, Infallible>(format!("{}\n", show(event)));
        events.poll_recv(cx).map(|event| event.map(line))
    };
    let body = Body::from_stream(futures_util::stream::poll_fn(next));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// Runs a round of garbage collection, and says line by line how it goes. Asked for with
/// `{"dry_run": false, "grace_ms": 0}` or less.
pub(crate) async fn gc(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let rooms = trusted(&sources, peer, &headers)?;
    let asked = asked(&body)?;
    let grace = asked["grace_ms"].as_u64().map_or(rooms.gc_grace, Duration::from_millis);
    let is_dry = asked["dry_run"].as_bool().unwrap_or_default();
    let round = Round { is_dry, grace, is_offline: false };
    Ok(lines(rooms.payload.gc(round), |event| upkeep::garbage(&event)))
}

/// Puts the metadata stores into the content stores.
pub(crate) async fn checkpoint(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let rooms = trusted(&sources, peer, &headers)?;
    Ok(lines(rooms.payload.checkpoint(), |event| upkeep::garbage(&event)))
}

/// Reads every stored block, and heals what it can. Asked for with `{"rate": 1048576}` or less.
pub(crate) async fn scrub(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let rooms = std::sync::Arc::clone(trusted(&sources, peer, &headers)?);
    let rate = asked(&body)?["rate"].as_u64().unwrap_or(rooms.scrub_rate);
    let (sender, events) = unbounded_channel();
    tokio::spawn(async move {
        let mut damaged = BTreeSet::new();
        let mut scrubbed = rooms.payload.scrub(rate);
        // A send that fails tells that whoever asked has gone; the scrub goes on.
        let tell = |event| drop(sender.send(event));
        while let Some(event) = scrubbed.recv().await {
            if let What::Scrub(scrub::Word::Damaged(hash, _)) = &event.what {
                damaged.insert(*hash);
            }
            tell(upkeep::garbage(&event));
        }
        for store in rooms.stores() {
            upkeep::users(store, damaged.clone()).await.into_iter().flatten().for_each(tell);
        }
    });
    Ok(lines(events, |event| event))
}

/// Brings a share's stored blocks into memory. Asked for with `{"share": "/export"}`.
pub(crate) async fn warm(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Refused> {
    let rooms = std::sync::Arc::clone(trusted(&sources, peer, &headers)?);
    let share = asked(&body)?["share"].as_str().unwrap_or_default().to_owned();
    let (sender, events) = unbounded_channel();
    tokio::spawn(async move {
        let shown = |event: &str, done: Warmed| {
            let Warmed { files, bytes, bytes_left } = done;
            json!({"event": event, "files": files, "bytes": bytes, "bytes_left": bytes_left})
        };
        // Whoever asked may have gone; what is warm stays so.
        let tell = |event| drop(sender.send(event));
        match rooms.vfs.warm(&share, |done| tell(shown("warming", done))).await {
            Ok(done) => tell(shown("warmed", done)),
            Err(why) => tell(json!({"event": "failed", "error": why})),
        }
    });
    Ok(lines(events, |event| event))
}

/// Checks everything, and changes nothing.
pub(crate) async fn fsck(
    State(sources): State<Sources>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let rooms = std::sync::Arc::clone(trusted(&sources, peer, &headers)?);
    let (sender, events) = unbounded_channel();
    tokio::spawn(async move {
        if let Err(error) = check(&rooms, &sender).await {
            let why = json!({"event": "failed", "error": error.to_string()});
            // Whoever asked has gone.
            drop(sender.send(why));
        }
    });
    Ok(lines(events, |event| event))
}

async fn check(rooms: &Rooms, to: &UnboundedSender<Json>) -> Result<(), Error> {
    // A send that fails tells that whoever asked has gone; the check is short of that.
    let tell = |event| drop(to.send(event));
    for store in rooms.stores() {
        upkeep::check(store).await?.1.into_iter().for_each(tell);
    }
    let round = Round { is_dry: true, grace: rooms.gc_grace, is_offline: false };
    let mut events = rooms.payload.gc(round);
    let mut missing = BTreeSet::new();
    while let Some(event) = events.recv().await {
        match event.what {
            What::Word(Word::Progress(_)) => continue,
            What::Word(Word::Missing(hash)) => drop(missing.insert(hash)),
            What::End(_)
            | What::Failed(_)
            | What::Checkpoint(_)
            | What::Scrub(_)
            | What::Scrubbed(_) => {}
        }
        tell(upkeep::garbage(&event));
    }
    for store in rooms.stores() {
        upkeep::users(store, missing.clone()).await?.into_iter().for_each(tell);
    }
    Ok(())
}

/// What a request's body says; an empty one says nothing.
fn asked(body: &str) -> Result<Json, Refused> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_str(body)
        .map_err(|error| Refused(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")))
}
