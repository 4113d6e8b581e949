//! An HTTP/2 client over one of the world's connections: hyper's, polled by hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::{Executor, Read, ReadBufCursor, Write};

use super::{Client, World};

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Answer = Rc<RefCell<Option<Result<Response<Bytes>, hyper::Error>>>>;

/// hyper's client on the connection with this index.
pub struct Http2 {
    pub client: usize,
    pipe: Rc<RefCell<Pipe>>,
    tasks: Tasks,
    sender: Rc<RefCell<Option<SendRequest<Full<Bytes>>>>>,
}

#[derive(Default)]
struct Pipe {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    eof: bool,
    moved: bool,
}

#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<Vec<Task>>>);

impl<F: Future + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.borrow_mut().push(Box::pin(async move {
            future.await;
        }));
    }
}

impl Http2 {
    /// Speaks HTTP/2 on a connection that offered it. `window` is the credit of each stream and of the connection.
    pub fn new(client: usize, window: u32) -> Self {
        let (pipe, tasks) = (Rc::new(RefCell::new(Pipe::default())), Tasks::default());
        let sender = Rc::new(RefCell::new(None));
        let mut builder = Builder::new(tasks.clone());
        builder.initial_stream_window_size(window).initial_connection_window_size(window.max(65_535));
        let (io, slot) = (Io(Rc::clone(&pipe)), Rc::clone(&sender));
        tasks.execute(async move {
            let (sender, connection) = builder.handshake(io).await.unwrap();
            slot.replace(Some(sender));
            // A connection that the server ends is an error to hyper; the requests on it know.
            connection.await.unwrap_or_default();
        });
        Self { client, pipe, tasks, sender }
    }

    /// Signs a request of `Admin`'s and sends it. Its answer appears in the cell.
    pub fn request(&self, world: &World, request: Request<&[u8]>) -> Answer {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("https://{}{}", super::client::NAME, parts.uri).parse().unwrap();
        parts.headers.insert("host", HeaderValue::from_static(super::client::NAME));
        Client::sign("Admin", world.now.unix, &mut parts, body);
        parts.headers.remove("host");
        let request = Request::from_parts(parts, Full::new(Bytes::copy_from_slice(body)));
        let answer: Answer = Rc::default();
        let (slot, sender) = (Rc::clone(&answer), Rc::clone(&self.sender));
        self.tasks.execute(async move {
            let mut sender = std::future::poll_fn(|cx| match &*sender.borrow() {
                Some(sender) => Poll::Ready(sender.clone()),
                None => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            let outcome = match sender.send_request(request).await {
                Ok(response) => whole(response).await,
                Err(error) => Err(error),
            };
            slot.replace(Some(outcome));
        });
        answer
    }

    /// Moves bytes between hyper and the connection, as far as they go.
    pub fn pump(&self, world: &mut World) {
        let client = &mut world.clients[self.client];
        let received = std::mem::take(&mut client.received);
        {
            let mut pipe = self.pipe.borrow_mut();
            pipe.incoming.extend(received);
            pipe.eof |= client.is_closed() || client.peer_closed;
        }
        loop {
            self.pipe.borrow_mut().moved = false;
            let mut tasks = std::mem::take(&mut *self.tasks.0.borrow_mut());
            let before = tasks.len();
            let mut cx = Context::from_waker(Waker::noop());
            tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            let ended = tasks.len() < before;
            let mut all = self.tasks.0.borrow_mut();
            let spawned = !all.is_empty();
            all.extend(tasks);
            if !self.pipe.borrow().moved && !spawned && !ended {
                break;
            }
        }
        let outgoing = std::mem::take(&mut self.pipe.borrow_mut().outgoing);
        if !outgoing.is_empty() {
            client.write(&outgoing);
        }
    }
}

async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, hyper::Error> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

struct Io(Rc<RefCell<Pipe>>);

impl Read for Io {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        let n = buf.remaining().min(pipe.incoming.len());
        if n == 0 {
            return if pipe.eof { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let bytes: Vec<u8> = pipe.incoming.drain(..n).collect();
        buf.put_slice(&bytes);
        pipe.moved = true;
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        pipe.outgoing.extend_from_slice(buf);
        pipe.moved = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
