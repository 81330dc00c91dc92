//! One connection to a receiver, as the HTTP client sees it: plain or TLS, with its buffers.
//!
//! It differs from the client's own transport in what was measured to matter:
//! - a request goes out in one write, headers and small body together;
//! - waiting is bounded by the deadline of the attempt, not per read;
//! - what a receiver may send before its answer is bounded (header bytes, interim answers);
//! - an idle connection holds no buffers;
//! - a connection is not used again [`MAX_AGE`] after it was opened, so that a changed address
//!   policy and changed DNS take effect.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

use super::classify::{Carried, io_failure};
use super::{socket, tls, trace};
use crate::model::outcome::{Failure, Phase};

/// How long after its opening a connection may still be given a new request.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// The most bytes of a header section.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most interim (1xx) answers before the real one.
const MAX_INTERIM: u32 = 3;
/// Size of a buffer in the normal case, each way.
const BUFFER: usize = 8 * 1024;
/// What must be free for the next piece of a request: a header line has at most 64 bytes of
/// name and 4,096 of value, a request line at most 2,048 of URL.
const MIN_ROOM: usize = 5 * 1024;

/// A connection.
pub struct Wire {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
    buffers: WireBuffers,
    opened: Instant,
}

impl Wire {
    /// A connection over a connected, non-blocking socket, with its TLS session if it has one.
    pub fn new(stream: TcpStream, session: Option<ClientConnection>) -> Self {
        Self {
            stream,
            session: session.map(Box::new),
            buffers: WireBuffers::default(),
            opened: Instant::now(),
        }
    }

    /// Sends what the client has written so far.
    fn flush(&mut self) -> io::Result<()> {
        let pending = self.buffers.take_pending();
        if !pending.is_empty() {
            trace::update(|it| it.phase = Phase::Send);
        }
        match &mut self.session {
            None => socket::write_all(&self.stream, pending),
            Some(session) => {
                let mut rest = pending;
                while !rest.is_empty() {
                    let n = session.writer().write(rest)?;
                    rest = rest.get(n..).unwrap_or_default();
                    tls::flush(session, &self.stream)?;
                }
                tls::flush(session, &self.stream)
            }
        }
    }

    /// Reads once into the buffer. `Ok(0)` is the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        let Self { stream, session, buffers, .. } = self;
        let free = buffers.input_append_buf();
        let n = match session {
            None => socket::read(stream, free)?,
            Some(session) => read_session(session, stream, free)?,
        };
        buffers.input_appended(n);
        Ok(n)
    }

    /// True when an idle connection has neither been closed nor sent anything unasked.
    fn is_quiet(&mut self) -> bool {
        match self.stream.peek(&mut [0]) {
            Err(e) if socket::is_again(&e) => true,
            Err(_) | Ok(0) => false,
            // TLS has messages of its own between answers, such as new session tickets.
            Ok(_) => self.session.as_mut().is_some_and(|session| {
                let stream = &mut &self.stream;
                matches!(session.read_tls(stream), Ok(1..))
                    && session.process_new_packets().is_ok_and(|state| {
                        state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
                    })
            }),
        }
    }
}

/// Decrypted bytes of a session, waiting for more of them when there are none.
fn read_session(
    session: &mut ClientConnection,
    stream: &TcpStream,
    free: &mut [u8],
) -> io::Result<usize> {
    use std::io::Read;
    loop {
        match session.reader().read(free) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                tls::receive(session, stream)?;
                tls::flush(session, stream)?;
            }
            done => return done,
        }
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        if self.buffers.add_pending(amount) < MIN_ROOM {
            self.flush().map_err(|e| pack(&e))?;
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        if is_flooded() {
            return Err(Carried::pack(Failure::Protocol {
                detail: format!("more than {MAX_INTERIM} interim (1xx) answers"),
            }));
        }
        self.flush().map_err(|e| pack(&e))?;
        trace::update(|it| it.phase = it.phase.max(Phase::Headers));
        if self.buffers.is_full() {
            let detail = "a chunk of the body has an endless head".to_owned();
            let failure = if trace::current().phase == Phase::Body {
                Failure::Protocol { detail }
            } else {
                Failure::TooLarge
            };
            return Err(Carried::pack(failure));
        }
        let n = match self.fill() {
            // The client knows whether a body may end like this.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            done => done.map_err(|e| pack(&e))?,
        };
        if n > 0 {
            trace::update(|it| it.answered = true);
        }
        Ok(n > 0)
    }

    /// Asked before a request, when the connection comes out of the pool, and after one, when it
    /// goes back. Only the first costs a call to the system.
    fn is_open(&mut self) -> bool {
        if self.opened.elapsed() >= MAX_AGE {
            return false;
        }
        if trace::current().phase >= Phase::Headers {
            self.buffers.release();
            return true;
        }
        self.is_quiet()
    }

    fn is_tls(&self) -> bool {
        self.session.is_some()
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("peer", &self.stream.peer_addr().ok())
            .field("tls", &self.session.is_some())
            .finish_non_exhaustive()
    }
}

/// True when more interim answers came than are taken.
fn is_flooded() -> bool {
    let trace = trace::current();
    trace.phase == Phase::Headers && trace.heads > MAX_INTERIM
}

fn pack(error: &io::Error) -> ureq::Error {
    Carried::pack(io_failure(error, trace::current().phase))
}

thread_local! {
    /// The buffers of the last connection this thread was done with.
    static SPARE: RefCell<Option<(Vec<u8>, Vec<u8>)>> = const { RefCell::new(None) };
}

/// The two buffers of a connection. Empty vectors while it is idle.
#[derive(Debug, Default)]
struct WireBuffers {
    input: Vec<u8>,
    /// Where the bytes that are not consumed begin and end in `input`.
    start: usize,
    end: usize,
    /// Whether the last look at the input consumed any of it.
    progress: bool,
    output: Vec<u8>,
    /// How much of `output` waits to be sent.
    pending: usize,
}

impl WireBuffers {
    fn ensure(&mut self) {
        if !self.output.is_empty() {
            return;
        }
        let spare = SPARE.with_borrow_mut(Option::take);
        let (input, output) = spare.unwrap_or_else(|| (vec![0; BUFFER], vec![0; BUFFER]));
        self.input = input;
        self.output = output;
    }

    /// Gives the buffers to the thread's next connection.
    fn release(&mut self) {
        if self.output.is_empty() || self.input.len() > BUFFER {
            return;
        }
        let pair = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        (self.start, self.end, self.pending) = (0, 0, 0);
        SPARE.with_borrow_mut(|spare| *spare = Some(pair));
    }

    /// Counts bytes that the client wrote; the result is the room that is left.
    fn add_pending(&mut self, amount: usize) -> usize {
        self.pending = self.output.len().min(self.pending + amount);
        self.output.len() - self.pending
    }

    fn take_pending(&mut self) -> &[u8] {
        let pending = std::mem::take(&mut self.pending);
        self.output.get(..pending).unwrap_or_default()
    }

    /// True when a header section has used up everything it may.
    fn is_full(&self) -> bool {
        self.end - self.start > MAX_HEADER_BYTES
    }
}

impl Drop for WireBuffers {
    fn drop(&mut self) {
        self.release();
    }
}

impl Buffers for WireBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.ensure();
        self.output.get_mut(self.pending..).unwrap_or_default()
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.ensure();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.input.len() && self.start > 0 {
            self.input.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            // One byte more than allowed, so that "too large" can be told from "just fits".
            self.input.resize(MAX_HEADER_BYTES + 1, 0);
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = self.input.len().min(self.end + amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.start = self.end.min(self.start + amount);
        if amount > 0 {
            trace::update(|it| it.heads += 1);
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.ensure();
        // The first is for chunked bodies, which are never sent.
        let tmp = self.input.get_mut(self.end..).unwrap_or_default();
        (tmp, self.output.get_mut(self.pending..).unwrap_or_default())
    }

    fn can_use_input(&self) -> bool {
        // Saying no leads the client to `await_input`, which is where it can be told.
        self.start < self.end && self.progress && !is_flooded()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// A wire and the other end of it.
    fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        (Wire::new(stream, None), listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_closed_at_its_age_however_busy_it_is() {
        for (age, open) in
            [(MAX_AGE.saturating_sub(Duration::from_secs(5)), true), (MAX_AGE, false)]
        {
            let (mut wire, _other) = wire();
            // A machine that came up less than a minute ago has no such instant.
            let Some(opened) = Instant::now().checked_sub(age) else {
                return;
            };
            wire.opened = opened;
            trace::begin(Instant::now() + MAX_AGE);
            assert_eq!(wire.is_open(), open, "before a request, {age:?} old");
            trace::update(|it| it.phase = Phase::Body);
            assert_eq!(wire.is_open(), open, "after a request, {age:?} old");
        }
    }

    #[test]
    fn headers_and_body_go_out_together_and_an_idle_wire_holds_no_buffers() {
        let (mut wire, mut other) = wire();
        trace::begin(Instant::now() + MAX_AGE);
        let timeout = NextTimeout::default();
        for part in [b"head".as_slice(), b"body"] {
            wire.buffers.output()[..4].copy_from_slice(part);
            wire.transmit_output(4, timeout).unwrap();
        }
        other.set_nonblocking(true).unwrap();
        assert!(other.read(&mut [0; 8]).is_err(), "sent before the answer is awaited");
        other.set_nonblocking(false).unwrap();
        other.write_all(b"answer").unwrap();
        assert!(wire.await_input(timeout).unwrap());
        assert_eq!(wire.buffers.input(), b"answer");
        let mut seen = [0; 8];
        other.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"headbody");
        wire.buffers.input_consume(6);
        assert!(wire.is_open());
        assert_eq!(wire.buffers.input.capacity() + wire.buffers.output.capacity(), 0);
    }

    #[test]
    fn an_idle_wire_is_open_until_it_is_closed_or_sends_something_unasked() {
        trace::begin(Instant::now() + MAX_AGE);
        let (mut quiet, _other) = wire();
        assert!(quiet.is_open() && quiet.is_open());
        let (mut closed, other) = wire();
        drop(other);
        socket::wait_readable(&closed.stream).unwrap();
        assert!(!closed.is_open());
        let (mut chatty, mut other) = wire();
        other.write_all(b"x").unwrap();
        socket::wait_readable(&chatty.stream).unwrap();
        assert!(!chatty.is_open());
    }

    #[test]
    fn outside_an_attempt_nothing_waits() {
        trace::end();
        let (mut wire, _other) = wire();
        let error = wire.await_input(NextTimeout::default()).unwrap_err();
        assert!(error.to_string().contains("deadline"), "{error}");
    }

    #[test]
    fn the_input_buffer_grows_to_the_header_limit_and_no_further() {
        let mut buffers = WireBuffers::default();
        let mut taken = 0;
        loop {
            let free = buffers.input_append_buf().len();
            if free == 0 {
                break;
            }
            assert!(!buffers.is_full());
            buffers.input_appended(free);
            taken += free;
        }
        assert_eq!(taken, MAX_HEADER_BYTES + 1);
        assert!(buffers.is_full());
        buffers.input_consume(1);
        assert_eq!(buffers.input_append_buf().len(), 1);
    }
}
