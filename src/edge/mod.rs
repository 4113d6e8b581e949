//! The edge: the only place with sockets, clocks, threads and unsafe code.
//!
//! [`tun`] carries packets and [`udp`] the tunnel's frames; [`netlink`], [`namespace`] and [`plumbing`] build the network
//! they travel in; [`control`] and [`readiness`] tie the processes of a lab together. Every failure of ours is a [`Fault`]:
//! what, where, what to do.

pub mod fault;
#[expect(unsafe_code, reason = "system calls without a safe wrapper; each is made safe here and nowhere else")]
pub mod sys;
#[expect(unsafe_code, reason = "an allocator can only be written so")]
pub mod memory;
pub mod namespace;
pub mod netlink;
pub mod tun;
#[expect(unsafe_code, reason = "sendmsg and recvmsg with UDP_SEGMENT and UDP_GRO have no safe wrapper")]
pub mod udp;
#[expect(unsafe_code, reason = "packet sockets have no safe wrapper")]
pub mod packet_socket;
pub mod plumbing;
pub mod control;
pub mod readiness;
pub mod child;
pub mod readable;
pub mod clock;
pub mod sources;
pub mod hot_loop;
pub mod endpoint;
pub mod probe;

pub use fault::{Fault, OrFault};
