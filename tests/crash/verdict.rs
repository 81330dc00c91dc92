//! Compares the three ledgers: what the clients were told, what the daemon kept, what arrived.
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::Measured;
use crate::clients::{self, Ledger};
use crate::support::http::Client;
use crate::support::receiver::{Arrival, Receiver, fnv};

/// From the last restart to the last delivery.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// A delivery that is made again was answered at most this long before the kill that undid its
/// record: recording it waits for the next group of the commit thread, not longer.
const AROUND_A_KILL: Duration = Duration::from_secs(2);
/// What a daemon sent just before it was killed may be read by the receiver only this much later.
const READ_LATE: Duration = Duration::from_millis(300);
/// No more than this many problems of one kind are told.
const SHOWN: usize = 5;

/// The figures of a run, and what is wrong with it.
#[derive(Default)]
pub struct Verdict {
    pub problems: Vec<String>,
    acknowledged: usize,
    sent_again: u64,
    echoed: u64,
    refused: u64,
    in_doubt: usize,
    doubt_kept: usize,
    kept: usize,
    lost: usize,
    undelivered: usize,
    arrivals: usize,
    answered_500: usize,
    duplicates: usize,
    outside: usize,
    oldest: Duration,
}

impl Verdict {
    pub fn rows(&self, loaded: Duration) -> Vec<(&'static str, String)> {
        vec![
            ("under load", format!("{:.1} s, copies and checks included", loaded.as_secs_f64())),
            ("acknowledged", self.acknowledged.to_string()),
            ("sent again after a kill, with a key", self.sent_again.to_string()),
            ("sent again though acknowledged", self.echoed.to_string()),
            ("refused for now (429, 503, 507)", self.refused.to_string()),
            (
                "never answered, not sent again",
                format!("{}, {} kept", self.in_doubt, self.doubt_kept),
            ),
            ("messages kept", self.kept.to_string()),
            ("acknowledged and lost", self.lost.to_string()),
            ("kept and never delivered", self.undelivered.to_string()),
            (
                "requests at the receiver",
                format!("{}, {} answered 500", self.arrivals, self.answered_500),
            ),
            (
                "delivered twice",
                format!(
                    "{}, {} of them not around a kill; longest from answer to kill {} ms",
                    self.duplicates,
                    self.outside,
                    self.oldest.as_millis()
                ),
            ),
        ]
    }

    fn problem(&mut self, kind: &str, all: &[String]) {
        if !all.is_empty() {
            let shown = all.get(..SHOWN.min(all.len())).unwrap_or_default().join("; ");
            self.problems.push(format!("{} {kind}: {shown}", all.len()));
        }
    }
}

/// Waits until all is delivered, then compares. `Err` when the daemon cannot be asked.
pub fn compare(
    ledger: &Ledger,
    client: &mut Client,
    app: &str,
    receiver: &Receiver,
    measured: &Measured,
) -> Result<Verdict, String> {
    let mut verdict = Verdict {
        acknowledged: ledger.acknowledged.len(),
        sent_again: ledger.sent_again,
        echoed: ledger.echoed,
        refused: ledger.refused,
        in_doubt: ledger.in_doubt.len(),
        ..Verdict::default()
    };
    verdict.problem("problems at the clients", &ledger.problems);
    if ledger.acknowledged.is_empty() {
        verdict.problems.push("nothing was acknowledged: this run shows nothing".to_owned());
    }
    let kept = kept(&mut verdict, ledger, client, app)?;
    delivered(&mut verdict, &kept, receiver);
    let arrivals = receiver.ledger(|ledger| ledger.arrivals.clone());
    arrived(&mut verdict, &kept, &arrivals, &measured.kills);
    Ok(verdict)
}

/// What the daemon kept against what the clients were told; message id to key.
fn kept(
    verdict: &mut Verdict,
    ledger: &Ledger,
    client: &mut Client,
    app: &str,
) -> Result<HashMap<String, String>, String> {
    let mut ids: HashMap<String, String> = HashMap::new();
    let mut keys: HashMap<String, String> = HashMap::new();
    let (mut changed, mut twice) = (Vec::new(), Vec::new());
    client.each_message(app, |message| {
        let id = message["id"].as_str().unwrap_or("(no id)").to_owned();
        let key = message["payload"]["key"].as_str().unwrap_or("(no key)").to_owned();
        if message["payload"] != clients::payload(&key) {
            changed.push(format!("{id} ({key})"));
        }
        if let Some(other) = keys.insert(key.clone(), id.clone()) {
            twice.push(format!("{key} is {other} and {id}"));
        }
        ids.insert(id, key);
    })?;
    verdict.kept = ids.len();
    verdict.problem("messages with another payload than was sent", &changed);
    verdict.problem("requests made two messages", &twice);

    let lost: Vec<String> = (ledger.acknowledged.iter())
        .filter(|(key, id)| ids.get(*id) != Some(key))
        .map(|(key, id)| format!("{id} ({key})"))
        .collect();
    verdict.lost = lost.len();
    verdict.problem("acknowledged messages LOST", &lost);

    let doubt: HashSet<&String> = ledger.in_doubt.iter().collect();
    verdict.doubt_kept = keys.keys().filter(|key| doubt.contains(key)).count();
    let strangers: Vec<String> = (keys.iter())
        .filter(|(key, _)| !ledger.acknowledged.contains_key(*key) && !doubt.contains(key))
        .map(|(key, id)| format!("{id} ({key})"))
        .collect();
    verdict.problem("messages kept that nobody knows of", &strangers);
    Ok(ids)
}

/// Every message that was kept arrives, as the bytes that were sent.
fn delivered(verdict: &mut Verdict, kept: &HashMap<String, String>, receiver: &Receiver) {
    let ids: Vec<&String> = kept.keys().collect();
    let mut place = 0;
    receiver.wait(DRAIN_LIMIT, |ledger| {
        while ids.get(place).is_some_and(|id| ledger.successes(id) > 0) {
            place += 1;
        }
        place == ids.len()
    });
    let (missing, changed) = receiver.ledger(|ledger| {
        let missing: Vec<String> =
            (ids.iter()).filter(|id| ledger.successes(id) == 0).map(|id| (*id).clone()).collect();
        let as_sent = |id: &str, key: &str| {
            ledger
                .digest(id)
                .is_none_or(|digest| digest == fnv(clients::payload(key).to_string().as_bytes()))
        };
        let mut changed = ledger.changed.clone();
        changed.extend(kept.iter().filter(|(id, key)| !as_sent(id, key)).map(|(id, _)| id.clone()));
        (missing, changed)
    });
    verdict.undelivered = missing.len();
    verdict.problem(&format!("messages not delivered within {DRAIN_LIMIT:?}"), &missing);
    verdict.problem("messages delivered with another payload than was sent", &changed);
}

/// What arrived was kept, and arrived twice only around a kill.
fn arrived(
    verdict: &mut Verdict,
    kept: &HashMap<String, String>,
    arrivals: &[Arrival],
    kills: &[(Instant, Instant)],
) {
    verdict.arrivals = arrivals.len();
    verdict.answered_500 = arrivals.iter().filter(|arrival| arrival.status == 500).count();
    let strangers: Vec<String> = (arrivals.iter())
        .filter(|arrival| !kept.contains_key(&arrival.id))
        .map(|arrival| arrival.id.clone())
        .collect();
    verdict.problem("deliveries of a message that is not kept", &strangers);

    let mut last: HashMap<&str, &Arrival> = HashMap::new();
    let mut outside = Vec::new();
    for arrival in arrivals {
        // A success that was undone by a kill: a later request for the same message.
        if let Some(first) = last.get(arrival.id.as_str()) {
            verdict.duplicates += 1;
            let answered = first.answered.unwrap_or(first.arrived);
            let kill = kills.iter().find(|(before, after)| {
                *after + READ_LATE >= first.arrived && *before <= arrival.arrived
            });
            match kill.map(|(before, _)| before.saturating_duration_since(answered)) {
                Some(age) if age <= AROUND_A_KILL => verdict.oldest = verdict.oldest.max(age),
                Some(age) => outside.push(format!("{} (answered {age:?} before)", arrival.id)),
                None => outside.push(format!("{} (no kill between)", arrival.id)),
            }
        }
        if arrival.status == 200 && arrival.answered.is_some() {
            last.insert(&arrival.id, arrival);
        }
    }
    verdict.outside = outside.len();
    verdict.problem("deliveries made again without a kill to blame", &outside);
}
