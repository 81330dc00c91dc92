//! A webhook receiver for `listen` and `demo`: takes a delivery, verifies it, answers as told.
//!
//! Not a web server: HTTP/1.1 as a sender of webhooks speaks it, one thread per connection, with
//! limits on all of it. It never listens anywhere but where it is told (loopback by default).

mod behaviour;
mod http;
mod verify;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Instant;

pub use behaviour::{Behaviour, Failing};
pub use http::Request;
pub use verify::Unverified;

use crate::model::clock::{Clock as _, SystemClock};
use crate::model::secret::SigningKey;

/// Connections held at once; past it a new one is closed unanswered.
pub const MAX_CONNECTIONS: usize = 256;

/// A delivery as it came in, and what was made of it.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it had been read and verified.
    pub at: Instant,
    /// The request.
    pub request: Request,
    /// `Ok` when the signature fits the door's secret; otherwise why not.
    pub verified: Result<(), Unverified>,
    /// The status that was answered.
    pub status: u16,
}

impl Received {
    /// The message's id; the same on every attempt.
    pub fn id(&self) -> Option<&str> {
        self.request.header("webhook-id").or_else(|| self.request.header("svix-id"))
    }

    /// Which attempt of the delivery this is, as the sender counts.
    pub fn attempt(&self) -> Option<&str> {
        self.request.header("posthaste-attempt")
    }
}

/// A path deliveries come in at, what to verify with and how to answer.
#[derive(Debug)]
pub struct Door {
    /// The path of the request, `/` being every path no other door has.
    pub path: String,
    /// The key to verify with.
    pub key: SigningKey,
    /// How to answer.
    pub behaviour: Behaviour,
}

/// All doors of a receiver, shared with its threads.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<RwLock<Vec<Door>>>);

impl Doors {
    /// Opens another door.
    pub fn open(&self, door: Door) {
        // A panicking thread leaves the list as it was: nothing here is half done.
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(door);
    }

    /// What to make of a request: whether it verifies, and the answer.
    fn take(&self, request: Request) -> (Received, Behaviour) {
        let doors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let path = request.path();
        let door = doors
            .iter()
            .find(|door| door.path == path)
            .or_else(|| doors.iter().find(|door| door.path == "/"));
        let (verified, status, behaviour) = match door {
            None => (Err(Unverified::NoDoor), 404, Behaviour::default()),
            Some(door) => {
                let now = SystemClock.now().seconds();
                let verified = verify::verify(&door.key, &request, now);
                let status = if verified.is_ok() { door.behaviour.status(&request) } else { 400 };
                (verified, status, door.behaviour.clone())
            }
        };
        (Received { at: Instant::now(), request, verified, status }, behaviour)
    }
}

/// A receiver that runs until the process ends.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
}

impl Receiver {
    /// Starts receiving on a bound listener. `deliver` is called once for each request, on the
    /// connection's thread, before it is answered.
    ///
    /// # Errors
    /// The listener has no address, or no thread can be started.
    pub fn start(
        listener: TcpListener,
        doors: Doors,
        deliver: impl Fn(Received) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let deliver: Arc<dyn Fn(Received) + Send + Sync> = Arc::new(deliver);
        let open = Arc::new(AtomicUsize::new(0));
        let accept = move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let slot = Slot::take(&open);
                if slot.number > MAX_CONNECTIONS {
                    continue;
                }
                let (doors, deliver) = (doors.clone(), Arc::clone(&deliver));
                let serve = move || {
                    serve(&stream, &doors, &*deliver);
                    drop(slot);
                };
                // Without a thread the connection is closed, which a sender sees as a failure.
                drop(thread::Builder::new().name("receive".to_owned()).spawn(serve));
            }
        };
        thread::Builder::new().name("receiver".to_owned()).spawn(accept)?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One of the connections being served; gives its place back when dropped, also by a panic.
struct Slot {
    open: Arc<AtomicUsize>,
    number: usize,
}

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        let number = open.fetch_add(1, Ordering::Relaxed) + 1;
        Self { open: Arc::clone(open), number }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes requests from one connection until it is closed or says something that is not HTTP.
fn serve(stream: &TcpStream, doors: &Doors, deliver: &(dyn Fn(Received) + Send + Sync)) {
    let Ok(mut connection) = http::Connection::new(stream) else { return };
    loop {
        match connection.next() {
            Ok(Some(request)) => {
                let (received, behaviour) = doors.take(request);
                let status = received.status;
                deliver(received);
                thread::sleep(behaviour.delay);
                if connection.answer(status).is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(refusal) => {
                drop(connection.answer(refusal.status()));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
