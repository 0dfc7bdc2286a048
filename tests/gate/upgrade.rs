//! Upgrades: one process after the other on the same port.

#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::world::{World, asked};

/// How often the test replaces the gate under load.
const DRAINS: usize = 200;

/// How often a connection to a stopping process may be reset before its first request: Linux cannot prevent it for
/// sockets of two processes (a systemd socket, which outlives both, does not have the problem). It is very rare.
static RESET: AtomicUsize = AtomicUsize::new(0);

/// Sends queries one after the other on one connection, as long as the gate keeps it; returns how many it served. A
/// query on a used connection may find it closed, before any byte of an answer: drivers send it again on another one.
async fn on_one_connection(world: &World, token: &str, stop: &AtomicBool) -> usize {
    let stream = match world.try_connect().await {
        Ok(stream) => TokioIo::new(stream),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            RESET.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        Err(error) => panic!("{error}"),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut query = asked(Method::POST, "/queries/v1/query-request", token, r#"{"sqlText":"select 1"}"#);
        query.headers_mut().insert("host", "gate.test".parse().unwrap());
        if sender.ready().await.is_err() {
            assert!(served > 0, "a connection was closed before its first request");
            return served;
        }
        let answer = sender.send_request(query.map(Full::new)).await;
        let answer = answer.unwrap_or_else(|error| panic!("request {served} of a connection broke: {error}"));
        let body: Bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(br#""success":true}"#), "{body:?}");
        served += 1;
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_upgrades_under_load_break_no_request() {
    let world = Arc::new(World::with(|config| config.listen.reuse_port = true).await);
    let to = world.app.address;
    let (token, _) = world.session().await;
    let stop = Arc::<AtomicBool>::default();
    let mut crowd = JoinSet::new();
    for _ in 0..6 {
        let (world, stop, token) = (world.clone(), stop.clone(), token.clone());
        crowd.spawn(async move {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                served += on_one_connection(&world, &token, &stop).await;
            }
            served
        });
    }
    let mut ending = JoinSet::new();
    let mut old = None;
    for _ in 0..DRAINS {
        let new = world.replica(|config| config.listen.address = to).await;
        if let Some(old) = old.replace(new) {
            let world = world.clone();
            ending.spawn(async move { world.end(old).await });
        }
        // The most processes that share the port at a time.
        while ending.len() > 8 {
            ending.join_next().await.unwrap().unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(crowd.join_all().await.into_iter().sum::<usize>() > DRAINS);
    assert!(RESET.load(Ordering::Relaxed) <= DRAINS / 50, "{RESET:?} connections were reset");
    ending.join_all().await;
    world.end(old.unwrap()).await;
    Arc::into_inner(world).unwrap().finish().await;
}
