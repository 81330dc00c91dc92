//! What the demo expects and what came: who subscribed to what, which deliveries a message must
//! lead to, and how each went. Everything it prints at the end is derived from here.

use std::collections::{BTreeSet, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::message::deliveries;
use crate::cli::receiver::Received;
use crate::cli::table::{Table, field};
use crate::client::Client;

/// Longest wait for the daemon to have written down what already arrived: a result is kept with
/// the next group of writes, so not at the same moment.
const RECORDING: Duration = Duration::from_secs(5);

/// Pause between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// An endpoint of the demo.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub app: String,
    pub app_name: String,
    pub endpoint: String,
    pub name: String,
    pub path: String,
    pub event_types: Option<Vec<String>>,
    /// Attempts that fail on purpose.
    pub failures: u32,
}

impl Subscription {
    fn wants(&self, event_type: &str) -> bool {
        self.event_types.as_ref().is_none_or(|types| types.iter().any(|t| t == event_type))
    }
}

/// A message that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub app: String,
    pub message: String,
    pub event_type: String,
    /// When the request that sent it was begun.
    pub sent: Instant,
}

/// One message at one endpoint.
#[derive(Debug)]
struct Line {
    message: Expected,
    subscription: Subscription,
    wanted: bool,
    /// Requests that came in.
    attempts: u32,
    /// Of those, the ones whose signature did not fit.
    unverified: u32,
    /// When it was verified and taken.
    taken: Option<Instant>,
}

impl Line {
    fn took(&self) -> Option<Duration> {
        self.taken.map(|taken| taken.saturating_duration_since(self.message.sent))
    }

    fn is_settled(&self) -> bool {
        !self.wanted || self.taken.is_some()
    }
}

/// The book of the demo.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    applications: Vec<String>,
    subscriptions: Vec<Subscription>,
    messages: Vec<Expected>,
    lines: Vec<Line>,
    /// Place of a line by message and path.
    places: HashMap<(String, String), usize>,
    /// Deliveries that fit no line.
    strays: Vec<String>,
}

impl Ledger {
    /// Notes an endpoint.
    pub(super) fn subscribe(&mut self, subscription: Subscription) {
        self.subscriptions.push(subscription);
    }

    /// Notes that an application is complete.
    pub(super) fn end_of_application(&mut self, app: &str) {
        self.applications.push(app.to_owned());
    }

    /// Ids of the applications, in the order they were made.
    pub(super) fn applications(&self) -> Vec<String> {
        self.applications.clone()
    }

    /// Notes a message: a line for each endpoint of its application, wanted or not.
    pub(super) fn expect(&mut self, message: &Expected) {
        for subscription in self.subscriptions.iter().filter(|s| s.app == message.app) {
            let place = (message.message.clone(), subscription.path.clone());
            self.places.insert(place, self.lines.len());
            self.lines.push(Line {
                wanted: subscription.wants(&message.event_type),
                message: message.clone(),
                subscription: subscription.clone(),
                attempts: 0,
                unverified: 0,
                taken: None,
            });
        }
        self.messages.push(message.clone());
    }

    /// Notes a delivery that came in, and gives back its event type.
    pub(super) fn arrived(&mut self, received: &Received) -> String {
        let id = received.id().unwrap_or_default().to_owned();
        let path = received.request.path().to_owned();
        let line = self.places.get(&(id.clone(), path.clone()));
        let Some(line) = line.and_then(|&place| self.lines.get_mut(place)) else {
            self.strays.push(format!("a delivery of {id:?} to {path} that nobody asked for"));
            return "-".to_owned();
        };
        line.attempts += 1;
        if received.verified.is_err() {
            line.unverified += 1;
        } else if (200..300).contains(&received.status) && line.taken.is_none() {
            line.taken = Some(received.at);
        }
        line.message.event_type.clone()
    }

    /// Whether every delivery that must come has come.
    pub(super) fn is_complete(&self) -> bool {
        self.lines.iter().all(Line::is_settled)
    }

    /// How many messages of how many applications.
    pub(super) fn sent(&self) -> String {
        let (messages, apps) = (self.messages.len(), self.applications.len());
        format!("{messages} events in {apps} applications")
    }

    /// Who subscribed to what.
    pub(super) fn describe_subscriptions(&self) -> String {
        let mut table = Table::new(&["APPLICATION", "ENDPOINT", "WANTS", "RECEIVER"]);
        for subscription in &self.subscriptions {
            let wants =
                subscription.event_types.as_ref().map_or("everything".to_owned(), |t| t.join(", "));
            let receiver = match subscription.failures {
                0 => "takes everything".to_owned(),
                times => format!("fails the first {times} attempts"),
            };
            let row = [subscription.app_name.clone(), subscription.name.clone(), wants, receiver];
            table.row(row);
        }
        table.render()
    }

    /// What became of each message at each endpoint.
    pub(super) fn table(&self) -> String {
        let headings = ["APPLICATION", "EVENT", "ENDPOINT", "RESULT", "ATTEMPTS", "TOOK"];
        let mut table = Table::new(&headings);
        for line in &self.lines {
            let result = match (line.wanted, line.taken) {
                (true, Some(_)) => "verified",
                (true, None) => "MISSING",
                (false, None) if line.attempts == 0 => "filtered out",
                (false, _) => "UNWANTED",
            };
            table.row([
                line.subscription.app_name.clone(),
                line.message.event_type.clone(),
                line.subscription.name.clone(),
                result.to_owned(),
                if line.attempts == 0 { String::new() } else { line.attempts.to_string() },
                line.took().map_or_else(String::new, milliseconds),
            ]);
        }
        table.render()
    }

    /// The figures on one line.
    pub(super) fn summary(&self, took: Duration) -> String {
        let count = |f: &dyn Fn(&Line) -> bool| self.lines.iter().filter(|line| f(line)).count();
        let mut first_try: Vec<Duration> =
            self.lines.iter().filter(|l| l.attempts == 1).filter_map(Line::took).collect();
        first_try.sort_unstable();
        let median = first_try.get(first_try.len() / 2).copied().unwrap_or_default();
        format!(
            "{} of {} deliveries verified in {:.1} s, {} of them after retries; {} filtered out\n\
             from sending to verified: {} at the median of those that took one attempt",
            count(&|l| l.wanted && l.taken.is_some()),
            count(&|l| l.wanted),
            took.as_secs_f64(),
            count(&|l| l.taken.is_some() && l.attempts > 1),
            count(&|l| !l.wanted),
            milliseconds(median),
        )
    }

    /// Everything that is not as it should be, also by the daemon's own account.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(super) fn faults(&self, client: &Client) -> anyhow::Result<Vec<String>> {
        let mut faults = self.strays.clone();
        faults.extend(self.lines.iter().filter_map(fault));
        let deadline = Instant::now() + RECORDING;
        for message in &self.messages {
            faults.extend(self.account(client, message, deadline)?);
        }
        Ok(faults)
    }

    /// What the daemon says about a message, as far as it differs from what happened.
    fn account(
        &self,
        client: &Client,
        message: &Expected,
        deadline: Instant,
    ) -> anyhow::Result<Option<String>> {
        let lines = self.lines.iter().filter(|line| line.message.message == message.message);
        let wanted: BTreeSet<String> = lines
            .filter(|line| line.wanted)
            .map(|line| format!("{} success", line.subscription.endpoint))
            .collect();
        loop {
            let deliveries = deliveries(client, &message.app, &message.message)?;
            let found: BTreeSet<String> = deliveries.iter().map(state).collect();
            if found == wanted {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                let (id, event_type) = (&message.message, &message.event_type);
                let fault = format!(
                    "{event_type} {id}: the daemon says {found:?}, {wanted:?} was expected"
                );
                return Ok(Some(fault));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

fn state(delivery: &Value) -> String {
    format!("{} {}", field(delivery, "id"), field(delivery, "statusText"))
}

fn fault(line: &Line) -> Option<String> {
    let what = format!("{} to {}", line.message.event_type, line.subscription.name);
    if !line.wanted {
        return (line.attempts > 0).then(|| format!("{what}: delivered, and not wanted"));
    }
    if line.taken.is_none() {
        return Some(format!("{what}: not delivered after {} attempts", line.attempts));
    }
    if line.unverified > 0 {
        return Some(format!("{what}: {} attempts did not verify", line.unverified));
    }
    let expected = line.subscription.failures + 1;
    (line.attempts != expected)
        .then(|| format!("{what}: {} attempts, {expected} expected", line.attempts))
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::receiver::{Request, Unverified};

    /// An application with one endpoint that takes `a`, fails once, and a second that wants `b`.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (name, event_type, failures) in [("one", "a", 1), ("two", "b", 0)] {
            ledger.subscribe(Subscription {
                app: "app".to_owned(),
                app_name: "App".to_owned(),
                endpoint: format!("ep_{name}"),
                name: name.to_owned(),
                path: format!("/{name}"),
                event_types: Some(vec![event_type.to_owned()]),
                failures,
            });
        }
        ledger.end_of_application("app");
        let message = Expected {
            app: "app".to_owned(),
            message: "msg_1".to_owned(),
            event_type: "a".to_owned(),
            sent: Instant::now(),
        };
        ledger.expect(&message);
        ledger
    }

    fn received(path: &str, status: u16, verified: Result<(), Unverified>) -> Received {
        let headers = vec![("webhook-id".to_owned(), "msg_1".to_owned())];
        let request = Request { target: path.to_owned(), headers, ..Request::default() };
        Received { at: Instant::now(), request, verified, status }
    }

    fn faults_after(deliveries: &[Received]) -> Vec<String> {
        let mut ledger = ledger();
        for delivery in deliveries {
            ledger.arrived(delivery);
        }
        let mut faults = ledger.strays.clone();
        faults.extend(ledger.lines.iter().filter_map(fault));
        faults
    }

    #[test]
    fn what_should_happen_has_no_faults() {
        let deliveries = [received("/one", 500, Ok(())), received("/one", 204, Ok(()))];
        assert_eq!(faults_after(&deliveries), Vec::<String>::new());
        let mut ledger = ledger();
        assert!(!ledger.is_complete());
        for delivery in &deliveries {
            assert_eq!(ledger.arrived(delivery), "a");
        }
        assert!(ledger.is_complete());
        assert!(ledger.table().contains("verified"), "{}", ledger.table());
        assert!(ledger.table().contains("filtered out"), "{}", ledger.table());
        assert!(
            ledger.summary(Duration::ZERO).starts_with("1 of 1 deliveries verified in 0.0 s, 1 of")
        );
    }

    #[test]
    fn each_thing_gone_wrong_is_a_fault() {
        let good = || received("/one", 204, Ok(()));
        let failed = || received("/one", 500, Ok(()));
        let forged = || received("/one", 400, Err(Unverified::Signature));
        let check = |deliveries: &[Received], expected: &str| {
            assert_eq!(faults_after(deliveries), [expected]);
        };
        check(&[], "a to one: not delivered after 0 attempts");
        check(&[failed()], "a to one: not delivered after 1 attempts");
        check(&[good()], "a to one: 1 attempts, 2 expected");
        check(&[failed(), good(), good()], "a to one: 3 attempts, 2 expected");
        check(&[forged(), good()], "a to one: 1 attempts did not verify");
        let unwanted = [failed(), good(), received("/two", 204, Ok(()))];
        check(&unwanted, "a to two: delivered, and not wanted");
        let stray = [failed(), good(), received("/three", 404, Err(Unverified::NoDoor))];
        check(&stray, "a delivery of \"msg_1\" to /three that nobody asked for");
    }
}
