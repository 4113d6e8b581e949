//! HTTP/1.1 and HTTP/2 over a TLS session, by hyper, driven inline on the worker.
//!
//! hyper's connection is a future; the engine polls it after each change of its flow, with a waker that marks the flow as
//! ready. There is no runtime, no timer and no task beside it. Time-outs are judged from [`Activity`], which knows whether
//! a connection is idle, sends a head, sends a body, or waits for its answer; [`Pace`] tells whether a body comes, and an
//! answer is taken, fast enough.
//!
//! Limits: [`Limits`]; at most [`connection::STREAM_LIMIT`] HTTP/2 streams. Malformed requests are answered by hyper (400,
//! 431) before the connection ends. Not here: what a request means.

mod activity;
mod body;
pub mod chunked;
mod connection;
mod io;
mod pace;

pub use activity::{Activity, Limits};
pub use body::RequestBody;
pub use connection::{Connection, Handler, Progress};
pub use io::SharedSession;
pub use pace::{MinimumRate, Pace};
