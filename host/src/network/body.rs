//! This is what a handler answers with: bytes that are there, or bytes that come one after the
//! other through a channel.

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The most bytes that are handed to a connection at once: what a slow client does not take waits
/// here, and is not copied.
const FRAME_BYTES_MAX: usize = 256 << 10;

/// An answer to a client.
pub type Response = http::Response<Body>;

/// The body of an answer.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    /// Everything is there.
    Full(Bytes),
    /// The handler goes on sending while the client reads.
    Stream(mpsc::Receiver<Chunk>),
}

#[derive(Debug)]
enum Chunk {
    Data(Bytes),
    End,
}

/// The end of a streamed body that the handler writes to.
#[derive(Debug)]
pub struct BodySender(mpsc::Sender<Chunk>);

/// The client is gone; nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct ClientGone;

/// A streamed body's sender went away without ending it, so the client sees a broken answer
/// rather than a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokenOff;

impl Body {
    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Body {
        Body::full(Bytes::new())
    }

    /// A body that is there.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body(Kind::Full(bytes.into()))
    }

    /// A body of chunks that are sent later. At most `chunks` wait for the client to read them.
    #[must_use]
    pub fn channel(chunks: usize) -> (BodySender, Body) {
        let (sender, receiver) = mpsc::channel(chunks.max(1));
        (BodySender(sender), Body(Kind::Stream(receiver)))
    }

    /// The bytes, when all of them are there.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes),
            Kind::Stream(_) => None,
        }
    }
}

impl BodySender {
    /// Sends a chunk, as soon as there is room for it.
    ///
    /// # Errors
    /// [`ClientGone`] when nobody reads any more.
    pub async fn send(&self, bytes: Bytes) -> Result<(), ClientGone> {
        self.0
            .send(Chunk::Data(bytes))
            .await
            .map_err(|_| ClientGone)
    }

    /// Ends the body. A sender dropped without this breaks the answer off.
    ///
    /// # Errors
    /// [`ClientGone`] when nobody reads any more.
    pub async fn end(self) -> Result<(), ClientGone> {
        self.0.send(Chunk::End).await.map_err(|_| ClientGone)
    }

    /// Waits until nobody reads any more.
    pub async fn gone(&self) {
        self.0.closed().await;
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::full(bytes)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let chunk = match &mut self.0 {
            Kind::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Kind::Full(bytes) => {
                let first = bytes.split_to(bytes.len().min(FRAME_BYTES_MAX));
                Some(Chunk::Data(first))
            }
            Kind::Stream(receiver) => std::task::ready!(receiver.poll_recv(context)),
        };
        Poll::Ready(match chunk {
            Some(Chunk::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Chunk::End) => {
                self.0 = Kind::Full(Bytes::new());
                None
            }
            None => Some(Err(BrokenOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.bytes().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self.bytes() {
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn streams_chunks_until_it_is_ended() {
        let (sender, body) = Body::channel(2);
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        let end = async {
            sender.send(Bytes::from_static(b"two")).await.unwrap();
            sender.end().await.unwrap();
        };
        let (read, ()) = tokio::join!(body.collect(), end);
        assert_eq!(read.unwrap().to_bytes(), "onetwo");
    }

    #[tokio::test]
    async fn breaks_off_when_the_sender_goes_without_an_end() {
        let (sender, body) = Body::channel(1);
        sender.send(Bytes::from_static(b"half")).await.unwrap();
        drop(sender);
        assert_eq!(body.collect().await.err(), Some(BrokenOff));
    }

    #[tokio::test]
    async fn tells_the_sender_that_the_client_went() {
        let (sender, body) = Body::channel(1);
        drop(body);
        sender.gone().await;
        assert_eq!(sender.send(Bytes::from_static(b"x")).await, Err(ClientGone));
    }

    #[test]
    fn knows_its_length_when_the_bytes_are_there() {
        use hyper::body::Body as _;
        assert_eq!(Body::full("four").size_hint().exact(), Some(4));
        assert!(Body::empty().is_end_stream());
        assert_eq!(Body::channel(1).1.size_hint().exact(), None);
    }
}
