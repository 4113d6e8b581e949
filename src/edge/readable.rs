//! Waiting, in tokio, until a descriptor of ours is readable: pipes, pidfds, TUN devices.

#![expect(unsafe_code, reason = "tokio cannot see that nobody closes the descriptor under it")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor that one can wait for. It is never lent mutably, so it stays what it is until it is dropped.
#[derive(Debug)]
pub struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// Registers a descriptor, which epoll must be able to watch and which should not block.
    ///
    /// # Errors
    /// If epoll refuses it (a regular file, say).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the `OwnedFd` owns an open descriptor, moves into the `AsyncFd`, and is reachable only by shared reference
        // through this type (its field is private and there is no `&mut` access), so it is neither closed nor replaced
        // before the `AsyncFd` is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        registered.map(Self).map_err(Into::into)
    }

    /// Until the descriptor is readable, and stays so without being read.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Calls `read` each time the descriptor becomes readable, until it does something else than block.
    ///
    /// # Errors
    /// Those of `read`; if the runtime is shutting down.
    pub async fn read_with<R>(&self, mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|fd| read(fd.get_ref().as_fd())) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_becomes_readable_when_something_is_written() {
        let (rx, tx) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let readable = Readable::new(rx).unwrap();
        let mut buffer = [0; 8];
        let reading = readable.read_with(|fd| Ok(rustix::io::read(fd, &mut buffer)?));
        let writing = async { rustix::io::write(&tx, b"abc").unwrap() };
        let (read, _) = tokio::join!(reading, writing);
        assert_eq!(read.unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
    }
}
