//! Reading and writing a TCP socket inside the deadline of the attempt.
//!
//! The sockets are non-blocking and are waited for with `poll`: one call less for each request
//! than setting socket timeouts, and exact. Used by `wire`, `tls` and `proxy`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::trace;

/// Waits until there is something to read, or the end of it.
pub fn wait_readable(stream: &TcpStream) -> io::Result<()> {
    wait(stream, PollFlags::IN)
}

/// Waits until something can be written.
pub fn wait_writable(stream: &TcpStream) -> io::Result<()> {
    wait(stream, PollFlags::OUT)
}

/// Waits and reads once. `Ok(0)` is the end of the stream.
pub fn read(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        // Nearly always the answer is not there yet: asking first would only cost a call.
        wait_readable(stream)?;
        match stream.read(buf) {
            Err(e) if is_again(&e) => {}
            done => return done,
        }
    }
}

/// Reads exactly as much as `buf` takes.
pub fn read_exact(stream: &TcpStream, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match read(stream, buf)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => buf = buf.get_mut(n..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Writes everything.
pub fn write_all(mut stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if is_again(&e) => wait_writable(stream)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// True for the errors that mean "not now".
pub fn is_again(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits for one event, until the deadline of the attempt.
fn wait(stream: &TcpStream, flags: PollFlags) -> io::Result<()> {
    loop {
        let left = trace::time_left();
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let left =
            Timespec::try_from(left).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        match poll(&mut [PollFd::new(stream, flags)], Some(&left)) {
            // Not yet; the head of the loop knows whether it is too late.
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}
