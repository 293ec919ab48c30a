//! `GET` of everything: robots.txt, the list, the two tabs of a place, pictures.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::send::{Answer, HTML, plain, send, whole};
use crate::faults::{Call, Kind};
use crate::stats::count;
use crate::switches::Robots;
use crate::{page, picture};

/// Rows of the list that are in the document.
const LIST_ROWS: u64 = 50;

pub(super) async fn robots(State(shared): State<Arc<Shared>>) -> Response {
    let robots = {
        let mut state = shared.lock();
        state.stats.requests += 1;
        state.stats.robots += 1;
        state.switches.robots.clone()
    };
    match robots {
        Robots::AllowAll => whole(StatusCode::OK, plain("User-agent: *\nAllow: /")),
        Robots::Deny(path) => whole(StatusCode::OK, plain(&format!("User-agent: *\nDisallow: {path}"))),
        Robots::Text(text) => whole(StatusCode::OK, plain(&text)),
        Robots::Status(code) => whole(StatusCode::from_u16(code).unwrap_or(StatusCode::NOT_FOUND), plain("")),
    }
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let query = parameters.get("query").cloned().unwrap_or_default();
    let call = Call { kind: Kind::ListPage, key: query.clone(), page: 0 };
    let admission = shared.admit(&call, |stats| count(&mut stats.list_pages, query.clone()));
    let switches = admission.switches.clone();
    send(admission, || {
        let (total, items) = shared.restaurants(&switches, &query, 1, LIST_ROWS);
        Answer { content_type: HTML, body: page::list(&query, total, items) }
    })
    .await
}

pub(super) async fn home(State(shared): State<Arc<Shared>>, Path((_, id)): Path<(String, String)>) -> Response {
    place(shared, id, Kind::HomePage).await
}

pub(super) async fn reviews(State(shared): State<Arc<Shared>>, Path((_, id)): Path<(String, String)>) -> Response {
    place(shared, id, Kind::ReviewPage).await
}

async fn place(shared: Arc<Shared>, id: String, kind: Kind) -> Response {
    let index = shared.world.find(&id).filter(|_| !shared.lock().switches.empty);
    let Some(index) = index else { return nothing(&shared) };
    let call = Call { kind, key: id.clone(), page: 0 };
    let admission = shared.admit(&call, |stats| {
        count(if kind == Kind::HomePage { &mut stats.home_pages } else { &mut stats.review_pages }, id);
    });
    let switches = admission.switches.clone();
    let place = &shared.world.places[index];
    send(admission, || {
        let body = if kind == Kind::HomePage {
            let (total, _) = shared.reviews(&switches, index, 1, 0, None);
            page::home(place, total)
        } else {
            let (total, items) = shared.reviews(&switches, index, 1, crate::PAGE_SIZE, None);
            page::reviews(place, total, items, switches.resend_first)
        };
        Answer { content_type: HTML, body }
    })
    .await
}

pub(super) async fn picture(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    {
        let mut state = shared.lock();
        state.stats.requests += 1;
        state.stats.pictures += 1;
    }
    ([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "max-age=3600")], picture::png(&name))
        .into_response()
}

pub(super) async fn unknown(State(shared): State<Arc<Shared>>) -> Response {
    nothing(&shared)
}

fn nothing(shared: &Shared) -> Response {
    let mut state = shared.lock();
    state.stats.requests += 1;
    state.stats.unknown += 1;
    whole(StatusCode::NOT_FOUND, plain("not found"))
}
