//! This is what happens to calls when links are lost, and how links come back.

use super::{DRAIN, SERVER, UP, call, links_over, piped, serve_on, spawn_call, tcp_server};
use crate::network::{Cause, Drained, LinkError, LinkState, TcpAcceptor, TcpConnector, Workers};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn tells_what_was_sent_from_what_was_not_when_the_server_dies() {
    let workers = Workers::start("victim", 1).unwrap();
    let (server, address) = workers.spawn(tcp_server()).await.unwrap();
    let (links, heard) = links_over(TcpConnector);
    links.set_address(SERVER, &address);
    heard.state(UP).await;
    let sent = spawn_call(&links, Bytes::from_static(b"wait"));
    server.service.begun.notified().await;
    // With its runtime go the server's tasks and sockets, as with a process that is killed.
    tokio::task::spawn_blocking(|| workers.stop())
        .await
        .unwrap();
    assert_eq!(sent.await.unwrap(), Err(LinkError::Unknown(Cause::Lost)));
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Down))
    );
}

#[tokio::test]
async fn fails_at_once_when_nobody_listens() {
    let (links, heard) = links_over(TcpConnector);
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::NoAddress))
    );
    let taken = TcpAcceptor::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = taken.address().unwrap().to_string();
    drop(taken);
    links.set_address(SERVER, &address);
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Down))
    );
    heard.state(LinkState::Down).await;
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Down))
    );
}

#[tokio::test(start_paused = true)]
async fn notices_a_black_hole_within_about_two_seconds() {
    let (pipes, server, links, heard) = piped();
    heard.state(UP).await;
    let sent = spawn_call(&links, Bytes::from_static(b"wait"));
    server.service.begun.notified().await;
    let since = Instant::now();
    pipes.silent.store(true, Ordering::Relaxed);
    assert_eq!(sent.await.unwrap(), Err(LinkError::Unknown(Cause::Lost)));
    let took = since.elapsed();
    assert!(took <= Duration::from_millis(2600), "{took:?}");
    heard.state(LinkState::Lost).await;
    let since = Instant::now();
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Down))
    );
    assert_eq!(
        since.elapsed(),
        Duration::ZERO,
        "nobody waits for a node that is down"
    );
    pipes.silent.store(false, Ordering::Relaxed);
    heard.state(UP).await;
    assert_eq!(call(&links, "back").await, Ok(Bytes::from_static(b"back")));
}

#[tokio::test(start_paused = true)]
async fn keeps_an_idle_link() {
    let (_pipes, _server, links, heard) = piped();
    heard.state(UP).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(*heard.states.lock().unwrap(), []);
    assert_eq!(call(&links, "x").await, Ok(Bytes::from_static(b"x")));
}

#[tokio::test(start_paused = true)]
async fn comes_back_after_a_restart_within_the_longest_pause() {
    let (pipes, server, links, heard) = piped();
    heard.state(UP).await;
    server.stop.fire();
    assert_eq!(server.ended.await.unwrap(), Drained::Finished);
    *pipes.listener.lock().unwrap() = None;
    heard.state(LinkState::Left).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let _again = serve_on(pipes.listen());
    let since = Instant::now();
    heard.state(UP).await;
    assert!(
        since.elapsed() <= Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(call(&links, "x").await, Ok(Bytes::from_static(b"x")));
}

#[tokio::test(start_paused = true)]
async fn dials_at_once_when_it_is_woken() {
    let (pipes, server, links, heard) = piped();
    heard.state(UP).await;
    server.stop.fire();
    server.ended.await.unwrap();
    *pipes.listener.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_mins(1)).await;
    heard.states.lock().unwrap().clear();
    heard.state(LinkState::Down).await;
    let _again = serve_on(pipes.listen());
    let since = Instant::now();
    links.wake(SERVER);
    heard.state(UP).await;
    assert_eq!(since.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn answers_everything_under_way_when_the_server_stops() {
    let (_, server, links, heard) = piped();
    heard.state(UP).await;
    let under_way: Vec<_> = (0..100)
        .map(|n| spawn_call(&links, Bytes::from(format!("wait {n}"))))
        .collect();
    server.service.begun.notified().await;
    server.stop.fire();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Leaving))
    );
    server.service.release.add_permits(100);
    for caller in under_way {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(server.ended.await.unwrap(), Drained::Finished);
}

#[tokio::test(start_paused = true)]
async fn cuts_a_handler_that_never_ends_when_the_time_is_up() {
    let (_, server, links, heard) = piped();
    heard.state(UP).await;
    let stuck = spawn_call(&links, Bytes::from_static(b"wait"));
    server.service.begun.notified().await;
    server.stop.fire();
    assert_eq!(server.ended.await.unwrap(), Drained::Cut { connections: 1 });
    assert_eq!(stuck.await.unwrap(), Err(LinkError::Unknown(Cause::Lost)));
}

#[tokio::test(start_paused = true)]
async fn finishes_its_own_calls_when_the_links_stop() {
    let (_, server, links, heard) = piped();
    heard.state(UP).await;
    let under_way = spawn_call(&links, Bytes::from_static(b"wait"));
    server.service.begun.notified().await;
    let stopping = {
        let links = links.clone();
        tokio::spawn(async move { links.stop(DRAIN).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        call(&links, "x").await,
        Err(LinkError::NotSent(Cause::Stopped))
    );
    server.service.release.add_permits(1);
    assert!(under_way.await.unwrap().is_ok());
    stopping.await.unwrap();
}
