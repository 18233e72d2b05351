//! This is what a lane promises its callers, without any connection.

use super::*;
use crate::network::frame::Decoder;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A lane whose connection stands, and the session of its stream.
fn open_lane() -> (Arc<Lane>, u64) {
    let lane = Arc::<Lane>::default();
    lane.open_soon(true);
    let session = lane.next_session();
    lane.open();
    (lane, session)
}

fn call(lane: &Arc<Lane>, payload: &'static str, millis: u64) -> CallTask {
    let (lane, deadline) = (
        Arc::clone(lane),
        Instant::now() + Duration::from_millis(millis),
    );
    tokio::spawn(async move {
        lane.call(Bytes::from_static(payload.as_bytes()), deadline)
            .await
    })
}

type CallTask = JoinHandle<Result<Bytes, LinkError>>;

/// The frames of the next batch; `None` when the stream ends.
async fn batch(lane: &Lane, session: u64) -> Option<Vec<Frame>> {
    let bytes = std::future::poll_fn(|context| lane.poll_batch(session, Epoch(3), context)).await;
    let mut decoder = Decoder::default();
    decoder.push(bytes?);
    Some(std::iter::from_fn(|| decoder.next_frame().unwrap()).collect())
}

fn answer(frame: &Frame, kind: Kind) -> Frame {
    Frame {
        kind,
        ..frame.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn hands_each_answer_to_its_caller_in_any_order() {
    let (lane, session) = open_lane();
    let (one, two) = (call(&lane, "one", 1000), call(&lane, "two", 1000));
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.extend(batch(&lane, session).await.unwrap());
    }
    frames.reverse();
    lane.on_answers(frames);
    assert_eq!(one.await.unwrap(), Ok(Bytes::from_static(b"one")));
    assert_eq!(two.await.unwrap(), Ok(Bytes::from_static(b"two")));
    assert!(lane.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn knows_what_a_lost_connection_may_have_delivered() {
    let (lane, session) = open_lane();
    let sent = call(&lane, "sent", 1000);
    batch(&lane, session).await.unwrap();
    let queued = call(&lane, "queued", 1000);
    tokio::task::yield_now().await;
    lane.close(Cause::Lost, Cause::Down);
    assert_eq!(sent.await.unwrap(), Err(LinkError::Unknown(Cause::Lost)));
    assert_eq!(queued.await.unwrap(), Err(LinkError::NotSent(Cause::Lost)));
    let later = call(&lane, "later", 1000).await.unwrap();
    assert_eq!(later, Err(LinkError::NotSent(Cause::Down)));
    assert_eq!(
        batch(&lane, session).await,
        None,
        "the old stream sends no more"
    );
}

#[tokio::test(start_paused = true)]
async fn knows_what_a_deadline_has_cut_off() {
    let (lane, session) = open_lane();
    let sent = call(&lane, "sent", 100);
    batch(&lane, session).await.unwrap();
    let queued = call(&lane, "queued", 100);
    assert_eq!(sent.await.unwrap(), Err(LinkError::Unknown(Cause::Late)));
    assert_eq!(queued.await.unwrap(), Err(LinkError::NotSent(Cause::Late)));
    let next = call(&lane, "next", 100);
    let frames = batch(&lane, session).await.unwrap();
    assert_eq!(frames.len(), 1, "what is late is not sent");
    assert_eq!(frames[0].payload, "next");
    next.abort();
}

#[tokio::test(start_paused = true)]
async fn counts_a_large_message_as_sent_only_with_its_last_segment() {
    let (lane, session) = open_lane();
    let large = Bytes::from(vec![1; 200 << 10]);
    let deadline = Instant::now() + Duration::from_secs(1);
    let half = {
        let (lane, large) = (Arc::clone(&lane), large.clone());
        tokio::spawn(async move { lane.call(large, deadline).await })
    };
    batch(&lane, session).await.unwrap();
    lane.close(Cause::Lost, Cause::Down);
    assert_eq!(half.await.unwrap(), Err(LinkError::NotSent(Cause::Lost)));
}

#[tokio::test(start_paused = true)]
async fn maps_what_the_other_node_says_instead_of_an_answer() {
    let (lane, session) = open_lane();
    for (kind, error) in [
        (Kind::NotTaken, LinkError::NotSent(Cause::NotTaken)),
        (Kind::Failed, LinkError::Unknown(Cause::Failed)),
    ] {
        let caller = call(&lane, "x", 1000);
        let frames = batch(&lane, session).await.unwrap();
        lane.on_answers(vec![answer(&frames[0], kind)]);
        assert_eq!(caller.await.unwrap(), Err(error));
    }
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_first_connection_but_not_for_later_ones() {
    let lane = Arc::<Lane>::default();
    lane.open_soon(true);
    let waiting = call(&lane, "first", 1000);
    tokio::task::yield_now().await;
    let session = lane.next_session();
    lane.open();
    let frames = batch(&lane, session).await.unwrap();
    lane.on_answers(frames);
    assert_eq!(waiting.await.unwrap(), Ok(Bytes::from_static(b"first")));

    lane.close(Cause::Lost, Cause::Down);
    lane.open_soon(false);
    let refused = call(&lane, "again", 1000).await.unwrap();
    assert_eq!(refused, Err(LinkError::NotSent(Cause::Down)));
}

#[tokio::test(start_paused = true)]
async fn is_busy_past_its_bounds_and_forgets_what_nobody_waits_for() {
    let (lane, _) = open_lane();
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut callers = Vec::new();
    for _ in 0..QUEUED_BYTES_MAX >> 20 {
        let (lane, payload) = (Arc::clone(&lane), megabyte.clone());
        callers.push(tokio::spawn(
            async move { lane.call(payload, deadline).await },
        ));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lane.send(megabyte.clone()), Err(LinkError::Busy));
    callers.iter().for_each(JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lane.send(megabyte), Ok(()));

    let (lane, _) = open_lane();
    for _ in 0..QUEUED_MAX {
        lane.send(Bytes::new()).unwrap();
    }
    assert_eq!(lane.send(Bytes::new()), Err(LinkError::Busy));
    let long = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(
        lane.send(long),
        Err(LinkError::TooLong(MESSAGE_BYTES_MAX + 1))
    );
}

#[tokio::test(start_paused = true)]
async fn ends_the_stream_behind_what_is_queued_when_it_finishes() {
    let (lane, session) = open_lane();
    let caller = call(&lane, "last", 1000);
    tokio::task::yield_now().await;
    lane.finish();
    assert_eq!(
        lane.send(Bytes::new()),
        Err(LinkError::NotSent(Cause::Stopped))
    );
    let frames = batch(&lane, session).await.unwrap();
    assert_eq!(batch(&lane, session).await, None);
    lane.on_answers(frames);
    assert_eq!(caller.await.unwrap(), Ok(Bytes::from_static(b"last")));
}

#[tokio::test(start_paused = true)]
async fn leaves_without_sending_more_but_takes_its_answers() {
    let (lane, session) = open_lane();
    let sent = call(&lane, "sent", 1000);
    let frames = batch(&lane, session).await.unwrap();
    let queued = call(&lane, "queued", 1000);
    tokio::task::yield_now().await;
    lane.leave(Cause::Leaving);
    assert_eq!(
        queued.await.unwrap(),
        Err(LinkError::NotSent(Cause::Leaving))
    );
    assert_eq!(batch(&lane, session).await, None);
    lane.on_answers(frames);
    assert_eq!(sent.await.unwrap(), Ok(Bytes::from_static(b"sent")));
}
