//! Starts the daemon on one image and holds it to what was promised before the cut.
use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use crate::image::{Plan, write_out};
use crate::record::{DATA, RETRIES, Recording, START_LIMIT, payload};
use crate::support::daemon::{self, Daemon};
use crate::support::http::Client;
use crate::support::receiver::Policy;

/// What was accepted and never tried before the cut has to arrive within this time.
const DELIVERY_LIMIT: Duration = Duration::from_secs(15);
/// No more ids than these are told.
const SHOWN: usize = 3;

/// What was wrong with an image, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    DoesNotStart,
    Lost,
    Undelivered,
    StoreCheck,
    /// The test could not do its work.
    Test,
}

/// An image that stood the test.
pub struct Stood {
    pub acknowledged: usize,
    /// Accepted and not yet tried before the cut, delivered after it.
    pub delivered: usize,
    /// From the start of the process until it listened.
    pub start: Duration,
}

/// Builds the image in `folder`, which must not exist, and tests it.
pub fn check(recording: &Recording, plan: Plan, folder: &Path) -> Result<Stood, (Fault, String)> {
    write_out(&recording.disk.image(plan), folder)
        .map_err(|error| (Fault::Test, error.to_string()))?;
    let data = folder.join(DATA);
    let errors = folder.join("stderr");
    let promises = &recording.promises;
    let acknowledged: HashSet<&String> = (promises.acknowledged.iter())
        .filter(|(_, place)| **place <= plan.cut)
        .map(|(id, _)| id)
        .collect();

    recording.receiver.set_policy(Policy::default());
    recording.receiver.clear();
    let mut daemon = Daemon::spawn(&data, &errors, &[(RETRIES.0, OsStr::new(RETRIES.1))])
        .map_err(|text| (Fault::Test, text))?;
    let port = daemon.port(START_LIMIT).map_err(|text| (Fault::DoesNotStart, text))?;
    let start = daemon.started.elapsed();
    let mut delivered = 0;
    if !acknowledged.is_empty() {
        let token = daemon::token(&data).map_err(|text| (Fault::DoesNotStart, text))?;
        kept(port, &token, &recording.app, &acknowledged).map_err(|text| {
            let unsure = recording.disk.unsure_names(plan.cut);
            let text = format!("{text} (names that no fsync of their folder covers: {unsure:?})");
            (Fault::Lost, daemon.tell(&text))
        })?;
        delivered = arrives(recording, plan, &acknowledged)
            .map_err(|text| (Fault::Undelivered, daemon.tell(&text)))?;
    }
    daemon.kill().map_err(|text| (Fault::DoesNotStart, text))?;
    daemon::store_check(&data).map_err(|text| (Fault::StoreCheck, text))?;
    Ok(Stood { acknowledged: acknowledged.len(), delivered, start })
}

/// Every acknowledged message is there, with the payload that was sent.
fn kept(port: u16, token: &str, app: &str, acknowledged: &HashSet<&String>) -> Result<(), String> {
    let mut missing: HashSet<&str> = acknowledged.iter().map(|id| id.as_str()).collect();
    let mut changed = Vec::new();
    let mut client = Client::connect(port, token).map_err(|error| error.to_string())?;
    client.each_message(app, |message| {
        let id = message["id"].as_str().unwrap_or_default();
        let number = message["payload"]["number"].as_u64().unwrap_or(u64::MAX);
        if missing.remove(id) && message["payload"] != payload(number) {
            changed.push(id.to_owned());
        }
    })?;
    if !missing.is_empty() {
        let shown: Vec<_> = missing.iter().take(SHOWN).collect();
        let (lost, all) = (missing.len(), acknowledged.len());
        return Err(format!("lost {lost} of {all} acknowledged messages: {shown:?}"));
    }
    if !changed.is_empty() {
        return Err(format!("changed the payload of {changed:?}"));
    }
    Ok(())
}

/// Accepted means scheduled: what was not tried before the cut is delivered now. How many.
fn arrives(
    recording: &Recording,
    plan: Plan,
    acknowledged: &HashSet<&String>,
) -> Result<usize, String> {
    let tried = |id: &str| recording.promises.tried.get(id).is_some_and(|place| *place <= plan.cut);
    let open: Vec<&&String> = acknowledged.iter().filter(|id| !tried(id)).collect();
    let mut place = 0;
    let done = recording.receiver.wait(DELIVERY_LIMIT, |ledger| {
        while open.get(place).is_some_and(|id| ledger.successes(id) > 0) {
            place += 1;
        }
        place == open.len()
    });
    if done {
        return Ok(open.len());
    }
    let missing = recording.receiver.ledger(|ledger| {
        open.iter()
            .filter(|id| ledger.successes(id) == 0)
            .map(|id| (**id).clone())
            .collect::<Vec<_>>()
    });
    let shown: Vec<_> = missing.iter().take(SHOWN).collect();
    Err(format!("kept {} messages but does not deliver them: {shown:?}", missing.len()))
}
