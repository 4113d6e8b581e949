//! HTTP/1.1 (RFC 9112), and 1.0 as far as it is in use: one request at a time, heads parsed where rustls holds them, answers
//! written in one piece where they fit one.
//!
//! Decision 16 says why this is not hyper's. `http1/head/tests.rs` has the tables of requests that two readers could understand
//! differently.

mod answer;
mod head;
mod input;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;

use self::answer::Writer;
pub(super) use self::input::SharedInput;
use self::input::{Input, NextHead};
use super::open::{OpenBody, OpenRequest};
use super::{Activity, Answer, BoxError, Handler, Progress, RequestBody, SharedSession};
use crate::verdict::Reason;

/// One client's connection.
pub(super) struct Http1<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> {
    session: SharedSession,
    input: SharedInput,
    handler: Handler<B>,
    activity: Rc<Activity>,
    head_limit: usize,
    stage: Stage<B>,
    writer: Writer,
}

/// What the connection is at.
enum Stage<B> {
    /// A request is due.
    Head,
    /// A request is being served.
    Serving { answer: Answer<B>, open: OpenRequest, request: Exchange },
    /// Its answer is being written.
    Answering { body: OpenBody<B>, persists: bool },
}

/// What the answer's framing depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// Whether the client wants to go on after it.
    persists: bool,
    is_head: bool,
    is_1_1: bool,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin + 'static> Http1<B> {
    pub(super) fn new(session: SharedSession, activity: Rc<Activity>, head_limit: usize, handler: Handler<B>) -> Self {
        let input = Rc::new(RefCell::new(Input::new(Rc::clone(&session), Rc::clone(&activity))));
        Self { session, input, handler, activity, head_limit, stage: Stage::Head, writer: Writer::default() }
    }

    /// Goes on as far as the client's bytes, the handler and the session's room allow.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        loop {
            // A head waits for the first of its body: both go out in one record.
            if !self.writer.awaits_body() && !self.writer.flush(&self.session, &self.activity) {
                return Progress::Open;
            }
            match &mut self.stage {
                Stage::Head => match self.next_request() {
                    Some(progress) => return progress,
                    None => continue,
                },
                Stage::Serving { answer, request, .. } => {
                    let request = *request;
                    let Poll::Ready(response) = answer.as_mut().poll(cx) else {
                        return match self.input.borrow().is_abandoned() {
                            true => Progress::Finished(None),
                            false => Progress::Open,
                        };
                    };
                    let Stage::Serving { open, .. } = std::mem::replace(&mut self.stage, Stage::Head) else { continue };
                    // What is left of a body nobody read cannot be told from the next request.
                    let may_persist = request.persists && self.input.borrow().is_body_complete();
                    let (body, persists) = self.writer.begin(response, request, may_persist);
                    self.stage = Stage::Answering { body: OpenBody::new(body, Some(open)), persists };
                }
                Stage::Answering { body, persists } => match self.writer.poll_body(body, cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) => {
                        let persists = *persists;
                        // The last of the answer goes out before the request counts as answered.
                        if !self.writer.flush(&self.session, &self.activity) {
                            return Progress::Open;
                        }
                        self.stage = Stage::Head;
                        if !persists {
                            return Progress::Finished(None);
                        }
                    }
                    // The client sees that its answer is cut off.
                    Poll::Ready(Err(())) => return Progress::Finished(None),
                    Poll::Pending => {
                        self.writer.flush(&self.session, &self.activity);
                        return Progress::Open;
                    }
                },
            }
        }
    }

    /// Reads a head and begins to serve it. `Some` is where this ends for now.
    fn next_request(&mut self) -> Option<Progress> {
        let complete = match self.input.borrow_mut().next_head(self.head_limit) {
            NextHead::Complete(complete) => complete,
            NextHead::Pending => return Some(Progress::Open),
            NextHead::Eof => return Some(Progress::Finished(None)),
            NextHead::Malformed(status) => {
                self.writer.refuse(status);
                self.writer.flush(&self.session, &self.activity);
                let too_large = status == head::TOO_LARGE;
                let reason = if too_large { Reason::HttpHeadTooLarge } else { Reason::HttpMalformed };
                return Some(Progress::Finished(Some(reason)));
            }
        };
        let open = OpenRequest::new(&self.activity);
        let request = Exchange {
            persists: complete.persists,
            is_head: *complete.head.method() == http::Method::HEAD,
            is_1_1: complete.head.version() == http::Version::HTTP_11,
        };
        let body = RequestBody::http1(Rc::clone(&self.input), &self.activity);
        let answer = (self.handler)(complete.head, body);
        self.stage = Stage::Serving { answer, open, request };
        None
    }
}
