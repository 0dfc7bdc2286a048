//! One process after the other on the same port.

#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::world::{World, asked};

/// How often the gate is replaced under load.
const DRAINS: usize = 200;

/// A connection that was made to a process at the moment of its end is reset before anything was asked on it: Linux has
/// no way around it for sockets of two processes (systemd's socket, which outlives both, has none of it). It happens
/// hardly ever.
static RESET: AtomicUsize = AtomicUsize::new(0);

/// Queries one after the other on one connection, for as long as the gate keeps it; gives how many were served. A query
/// on a connection that has served before may find it closed, before anything of an answer: drivers send it again on
/// another one.
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
        // At most so many at a time share the port.
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
