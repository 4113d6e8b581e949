//! The edge: the only place with sockets, clocks, threads and unsafe code.

#[expect(unsafe_code, reason = "sendmsg and recvmsg with UDP_SEGMENT and UDP_GRO have no safe wrapper")]
pub mod udp;
