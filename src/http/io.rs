//! hyper's view of a TLS session: plaintext is read from and written to rustls directly, without a pipe between.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::Activity;
use crate::tls::Session;

/// A session shared between the engine, which moves its records, and hyper, which moves its plaintext.
pub type SharedSession = Rc<RefCell<Session>>;

/// No wakers are kept: the engine polls the connection whenever its session changed.
#[derive(Debug)]
pub(super) struct SessionIo {
    session: SharedSession,
    activity: Rc<Activity>,
}

impl SessionIo {
    pub(super) fn new(session: SharedSession, activity: Rc<Activity>) -> Self {
        Self { session, activity }
    }
}

impl Read for SessionIo {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        match session.chunk() {
            // Copied from where rustls has it: a buffer between would be held by every idle connection.
            Ok(chunk) => {
                let len = chunk.len().min(buf.remaining());
                buf.put_slice(&chunk[..len]);
                session.consume(len);
                if len > 0 {
                    self.activity.read();
                }
                Poll::Ready(Ok(()))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(e) => Poll::Ready(Err(e)),
        }
    }
}

impl Write for SessionIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.session.borrow_mut().write(buf)?;
        if taken == 0 && !buf.is_empty() {
            self.activity.write_blocked();
            return Poll::Pending;
        }
        self.activity.wrote(taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}
