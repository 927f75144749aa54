//! Values that come back: the library for HTTP drops the stream of a connection, and the body of a request, when it has
//! no more use for them, while something is still to be done with each.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// A value that goes back to its owner where it is dropped.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    /// Absent only in the moment of its return.
    it: Option<T>,
    back: Option<oneshot::Sender<T>>,
}

/// Lends a value; gives it, and where it comes back.
pub(crate) fn lend<T>(it: T) -> (Lent<T>, oneshot::Receiver<T>) {
    let (back, returned) = oneshot::channel();
    (Lent { it: Some(it), back: Some(back) }, returned)
}

impl<T> Lent<T> {
    /// The value, for good: nothing goes back.
    pub(crate) fn keep(mut self) -> T {
        self.it.take().expect("a value is lent until it is dropped")
    }

    fn it(&self) -> &T {
        self.it.as_ref().expect("a value is lent until it is dropped")
    }
}

impl<T: Unpin> Lent<T> {
    fn pin(&mut self) -> Pin<&mut T> {
        Pin::new(self.it.as_mut().expect("a value is lent until it is dropped"))
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if let (Some(it), Some(back)) = (self.it.take(), self.back.take()) {
            // An owner that has gone has no more use for it.
            let _ = back.send(it);
        }
    }
}

impl Body for Lent<Incoming> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.pin().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.it().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.it().size_hint()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pin().poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pin().poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.it().is_write_vectored()
    }
}
