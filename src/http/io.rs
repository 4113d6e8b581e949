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

/// Plaintext taken from rustls at a time: one record's largest payload (RFC 8446 §5.1).
const CHUNK: usize = 16 * 1024;

/// No wakers are kept: the engine polls the connection whenever its session changed.
#[derive(Debug)]
pub(super) struct SessionIo {
    session: SharedSession,
    activity: Rc<Activity>,
    chunk: Box<[u8]>,
}

impl SessionIo {
    pub(super) fn new(session: SharedSession, activity: Rc<Activity>) -> Self {
        Self { session, activity, chunk: vec![0; CHUNK].into_boxed_slice() }
    }
}

impl Read for SessionIo {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let len = buf.remaining().min(CHUNK);
        match this.session.borrow_mut().read(&mut this.chunk[..len]) {
            Ok(n) => {
                if n > 0 {
                    this.activity.read();
                    buf.put_slice(&this.chunk[..n]);
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
