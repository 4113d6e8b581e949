//! HTTP/1.1 and HTTP/2 over a TLS session, driven inline on the worker.
//!
//! The engine polls a connection after each change of its flow, with a waker that marks the flow as ready. There is no
//! runtime, no timer and no task beside it. Time-outs are judged from [`Activity`], which knows whether a connection is idle,
//! sends a head, sends a body, or waits for its answer; [`Pace`] tells whether a body comes, and an answer is taken, fast
//! enough.
//!
//! HTTP/1.1 is framed here ([`http1`]); HTTP/2 is hyper's ([`http2`]). Limits: [`Limits`]; at most
//! [`http2::STREAM_LIMIT`] streams. Malformed requests are answered (400, 431, 501) before the connection ends. Not here:
//! what a request means.
//!
//! [`response_head`] is what a client needs: the way to the function host, which shares [`chunked`] with this side.

mod activity;
mod body;
pub mod chunked;
mod connection;
mod fields;
mod http1;
mod http2;
mod io;
mod message;
mod open;
mod pace;
pub mod response_head;
mod strict;

pub use activity::{Activity, Limits};
pub use body::{BodyError, RequestBody};
use connection::{Answer, BoxError};
pub use connection::{Connection, Handler, Progress};
pub use fields::FieldsByName;
pub(crate) use fields::{is_field_value, put_decimal};
pub use io::SharedSession;
pub use message::{Fields, RequestHead, Response};
pub use pace::{MinimumRate, Pace};
