//! From a host to the addresses that may be dialled.
//!
//! A name is looked up once for each new connection, and *every* address it has is vetted: one
//! bad address refuses the name, because a mix of public and private addresses is how a
//! rebinding attack looks. Only what was vetted is dialled. There is no cache: a pooled
//! connection needs no look-up, and a new one gets a new verdict.
//!
//! `connect` is the only caller. The HTTP client has a resolver of its own in its interface; it
//! is given [`Deferred`], which does nothing, because it would be asked even for requests on a
//! pooled connection.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::guard::AddressPolicy;
use crate::model::outcome::{Failure, Phase};

/// How many addresses of a name are dialled, at most. All of them are vetted.
const MAX_DIALLED: usize = 8;
/// How many look-ups may hang in the system's resolver at a time. It cannot be interrupted, so
/// a look-up that passed its deadline still holds a thread until the system gives up.
const MAX_WAITING: usize = 512;
/// Stack of such a thread.
const STACK: usize = 256 * 1024;

/// Looks a name up. The system does it in the daemon; tests bring their own.
pub trait Lookup: Debug + Send + Sync {
    /// All addresses of a name. May block.
    fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver (`getaddrinfo`).
#[derive(Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((name, port).to_socket_addrs()?.collect())
    }
}

/// Resolves hosts to vetted addresses.
#[derive(Debug)]
pub struct Names {
    policy: AddressPolicy,
    lookup: Arc<dyn Lookup>,
    waiting: Arc<AtomicUsize>,
}

impl Names {
    /// A resolver with this policy.
    pub fn new(policy: AddressPolicy, lookup: Arc<dyn Lookup>) -> Self {
        Self { policy, lookup, waiting: Arc::new(AtomicUsize::new(0)) }
    }

    /// The addresses to dial for a host, all vetted. `host` is a name, an IPv4 address, or an
    /// IPv6 address in brackets.
    pub fn resolve(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let addresses = self.resolve_unvetted(host, port, limit)?;
        for address in &addresses {
            self.policy.vet(address.ip())?;
        }
        Ok(addresses.into_iter().take(MAX_DIALLED).collect())
    }

    /// The addresses of a host that the operator named, such as the proxy: not vetted.
    pub fn resolve_unvetted(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(literal) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, port)]);
        }
        let addresses = self.look_up_within(host, port, limit)?;
        if addresses.is_empty() {
            return Err(Failure::Dns { detail: "the name has no address".into(), is_answer: true });
        }
        Ok(addresses)
    }

    /// Looks up on a thread of its own, since the system's resolver knows no deadline.
    fn look_up_within(
        &self,
        name: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let slot = Slot::take(&self.waiting)
            .ok_or_else(|| dns("too many look-ups are waiting for the system's resolver"))?;
        let (sender, receiver) = sync_channel(1);
        let lookup = Arc::clone(&self.lookup);
        let name = name.to_owned();
        let work = move || {
            let _slot = slot;
            // Nobody listens any more after the deadline; that is no fault.
            sender.send(lookup.lookup(&name, port)).ok();
        };
        thread::Builder::new()
            .name("lookup".to_owned())
            .stack_size(STACK)
            .spawn(work)
            .map_err(|e| Failure::Internal { detail: format!("no thread for a look-up: {e}") })?;
        match receiver.recv_timeout(limit) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(e)) => Err(look_up_failure(&e.to_string())),
            Err(RecvTimeoutError::Timeout) => Err(Failure::Timeout { phase: Phase::Resolve }),
            Err(RecvTimeoutError::Disconnected) => Err(dns("the look-up failed")),
        }
    }
}

fn dns(detail: &str) -> Failure {
    Failure::Dns { detail: detail.to_owned(), is_answer: false }
}

/// What the C libraries say when the answer is that there is no such name, or none with an address;
/// the standard library keeps only their text. Anything else may be our own network's fault.
const NO_SUCH_NAME: [&str; 3] =
    ["Name or service not known", "No address associated with hostname", "Name does not resolve"];

fn look_up_failure(detail: &str) -> Failure {
    let is_answer = NO_SUCH_NAME.iter().any(|text| detail.contains(text));
    Failure::Dns { detail: detail.to_owned(), is_answer }
}

/// One of the [`MAX_WAITING`] places, given back when dropped.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        // Made first: dropping it undoes the addition.
        let slot = Self(Arc::clone(waiting));
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers the HTTP client's question for addresses with none. `connect` resolves.
#[derive(Debug)]
pub struct Deferred;

impl Resolver for Deferred {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;
    use std::sync::mpsc::channel;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Gives the answers it was told, one after the other.
    #[derive(Debug)]
    struct Scripted(Mutex<Vec<Vec<&'static str>>>);

    impl Lookup for Scripted {
        fn lookup(&self, _name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            let answer = self.0.lock().unwrap().remove(0);
            Ok(answer.into_iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect())
        }
    }

    fn names(answers: &[&[&'static str]]) -> Names {
        let answers = answers.iter().map(|it| it.to_vec()).collect();
        Names::new(AddressPolicy::default(), Arc::new(Scripted(Mutex::new(answers))))
    }

    fn refused(result: &Result<Vec<SocketAddr>, Failure>, wanted: &str) -> bool {
        matches!(result, Err(Failure::AddressRefused { address, .. }) if address == wanted)
    }

    #[test]
    fn one_bad_address_refuses_the_whole_name() {
        for answer in
            [["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["2606:4700::1111", "10.0.0.1"]]
        {
            let result = names(&[&answer]).resolve("mixed.example", 443, LIMIT);
            assert!(refused(&result, "10.0.0.1"), "{answer:?}: {result:?}");
        }
    }

    #[test]
    fn a_bad_address_past_the_dialled_ones_refuses_too() {
        let mut answer = vec!["8.8.8.8"; MAX_DIALLED];
        let result = names(&[&answer]).resolve("many.example", 443, LIMIT);
        assert_eq!(result.unwrap().len(), MAX_DIALLED);
        answer.push("127.0.0.1");
        let result = names(&[&answer]).resolve("many.example", 443, LIMIT);
        assert!(refused(&result, "127.0.0.1"), "{result:?}");
    }

    #[test]
    fn a_name_that_changes_its_mind_is_judged_anew() {
        let names = names(&[&["8.8.8.8"], &["127.0.0.1"], &["8.8.8.8"]]);
        let public: SocketAddr = "8.8.8.8:443".parse().unwrap();
        assert_eq!(names.resolve("flip.example", 443, LIMIT), Ok(vec![public]));
        let result = names.resolve("flip.example", 443, LIMIT);
        assert!(refused(&result, "127.0.0.1"), "{result:?}");
        assert_eq!(names.resolve("flip.example", 443, LIMIT), Ok(vec![public]));
    }

    #[test]
    fn literal_addresses_are_vetted_and_never_looked_up() {
        let names = names(&[]);
        let result = names.resolve("8.8.8.8", 80, LIMIT).unwrap();
        assert_eq!(result, ["8.8.8.8:80".parse().unwrap()]);
        for (host, address) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("[::ffff:10.0.0.1]", "10.0.0.1")]
        {
            let result = names.resolve(host, 80, LIMIT);
            assert!(refused(&result, address), "{host}: {result:?}");
        }
    }

    #[test]
    fn a_name_without_addresses_is_a_dns_failure() {
        let result = names(&[&[]]).resolve("empty.example", 80, LIMIT);
        assert!(matches!(result, Err(Failure::Dns { is_answer: true, .. })), "{result:?}");
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_from_a_resolver_that_is_not_there() {
        for (text, expected) in [
            ("failed to lookup address information: Name or service not known", true),
            ("failed to lookup address information: Name does not resolve", true),
            ("failed to lookup address information: Temporary failure in name resolution", false),
            ("failed to lookup address information: Try again", false),
        ] {
            assert_eq!(look_up_failure(text).is_unknown_name(), expected, "{text}");
        }
    }

    /// Blocks until the test lets go.
    #[derive(Debug)]
    struct Hanging(Mutex<std::sync::mpsc::Receiver<()>>);

    impl Lookup for Hanging {
        fn lookup(&self, _name: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().unwrap().recv().ok();
            Err(io::ErrorKind::Other.into())
        }
    }

    fn hanging() -> (Names, Sender<()>) {
        let (release, held) = channel();
        let lookup = Arc::new(Hanging(Mutex::new(held)));
        (Names::new(AddressPolicy::default(), lookup), release)
    }

    #[test]
    fn a_look_up_that_hangs_ends_at_the_limit() {
        let (names, _release) = hanging();
        let result = names.resolve("slow.example", 80, Duration::from_millis(30));
        let phase = Phase::Resolve;
        assert_eq!(result, Err(Failure::Timeout { phase }));
    }

    #[test]
    fn look_ups_that_hang_are_limited_in_number() {
        let (names, _release) = hanging();
        names.waiting.store(MAX_WAITING - 1, Ordering::Relaxed);
        let limit = Duration::from_millis(10);
        let result = names.resolve("last.example", 80, limit);
        assert!(matches!(result, Err(Failure::Timeout { .. })), "{result:?}");
        let result = names.resolve("one-more.example", 80, limit);
        assert!(matches!(result, Err(Failure::Dns { .. })), "{result:?}");
        // The refused one gave its place back.
        assert_eq!(names.waiting.load(Ordering::Relaxed), MAX_WAITING);
    }
}
