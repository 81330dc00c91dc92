//! What a finished attempt means: for its delivery, its endpoint, and our own network.

use std::sync::Arc;

use super::core::{Command, Finished, State};
use super::lane::{Pace, QUICK, SLOW};
use super::offline::{Blame, SUSPECT_WAIT, Trouble};
use crate::delivery::{host_of, says_itself};
use crate::model::clock::Timestamp;
use crate::model::delivery::{Trigger, Verdict};
use crate::model::endpoint::Endpoint;
use crate::model::outcome::{Failure, Outcome};
use crate::model::retry::{Hints, next_try};
use crate::store::attempts::AttemptResult;

/// The status that says: nothing more, ever.
const GONE: u16 = 410;

/// Takes a finished attempt in.
pub(super) fn finished(state: &mut State, now: Timestamp, done: Finished, out: &mut Vec<Command>) {
    let id = done.endpoint.id;
    state.ended(now, id, done.outcome.as_ref().map(pace));
    let Some(outcome) = &done.outcome else {
        out.push(Command::Drop(done.task.row.key));
        state.settle(now, id);
        return;
    };
    let verdict = judge(state, now, &done, outcome, out);
    match verdict {
        Some((verdict, blames_endpoint)) => {
            out.push(Command::Record(Arc::new(result(done, verdict, blames_endpoint))));
        }
        None => {
            // Not even recorded: the row is where it was, and free again.
            if let Some(lane) = state.lanes.get_mut(&id) {
                lane.held.remove(&done.task.row.key);
                lane.note_stored(now);
                if lane.endpoint.ordered {
                    state.unbuffer(id, now);
                }
            }
        }
    }
    state.settle(now, id);
}

/// How fast an endpoint is that answered so.
fn pace(outcome: &Outcome) -> Pace {
    match outcome.failure {
        _ if outcome.is_network_down() => Pace::Unproven,
        Some(Failure::Internal { .. }) => Pace::Unproven,
        _ if outcome.is_timeout() => Pace::Stuck,
        _ if outcome.duration >= SLOW => Pace::Slow,
        _ => Pace::Well,
    }
}

/// The verdict and whether it counts against the endpoint; `None` when the attempt is as if it
/// had not been.
fn judge(
    state: &mut State,
    now: Timestamp,
    done: &Finished,
    outcome: &Outcome,
    out: &mut Vec<Command>,
) -> Option<(Verdict, bool)> {
    let id = done.endpoint.id;
    let schedule = done.schedule.as_ref().unwrap_or(&state.limits.schedule);
    let hints = Hints { retry_after: outcome.retry_after, overloaded: outcome.slows_down() };
    let next = next_try(schedule, done.task.row.attempt, now, hints, done.chance);
    let retry = next.map_or(Verdict::Exhausted, Verdict::Retry);
    if let Some(Failure::Internal { .. }) = outcome.failure {
        // Nothing was sent: it says nothing of the endpoint, nor of our network.
        return Some((retry, false));
    }
    let was_offline = state.network.offline_since().is_some();
    let lane = state.lanes.get_mut(&id)?;
    lane.quick = outcome.is_success() && outcome.duration <= QUICK;
    if outcome.is_network_down() {
        let since = *lane.network_since.get_or_insert(now);
        let host = host_of(failed_url(&done.endpoint, outcome.failure.as_ref()));
        let trouble = Trouble { host: &host, since, is_cut_off: done.is_cut_off };
        let blame = if outcome.failure.as_ref().is_some_and(Failure::is_unknown_name) {
            state.network.unknown_name(&trouble, now)
        } else {
            state.network.failure(&trouble, now)
        };
        let is_offline = state.network.offline_since().is_some();
        if is_offline != was_offline {
            out.push(Command::Offline(is_offline));
        }
        if blame == Blame::Unclear {
            lane.blocked_until = Some(now.plus(SUSPECT_WAIT));
            return (!was_offline).then_some((Verdict::Hold, false));
        }
    } else {
        lane.network_since = None;
        if state.network.contact(now) {
            out.push(Command::Offline(false));
        }
    }
    let lane = state.lanes.get_mut(&id)?;
    if outcome.is_success() {
        lane.blocked_until = None;
        if lane.breaker.succeeded() {
            out.push(Command::Paused(id, None));
        }
        return Some((Verdict::Succeeded, true));
    }
    let was_paused = lane.breaker.is_paused();
    let code = outcome.failure.as_ref().map_or("", Failure::code);
    // Of an endpoint that was disabled or deleted meanwhile nothing is remembered.
    let counts = lane.endpoint.is_active();
    let trips = counts && lane.breaker.failed(now, code, schedule);
    if trips || (counts && was_paused) {
        out.push(Command::Paused(id, lane.breaker.pause()));
    }
    if trips {
        // It may stay paused for days: what memory there is belongs to the others.
        state.unbuffer(id, now);
    }
    let scheduled = done.task.row.trigger == Trigger::Scheduled;
    if was_paused && scheduled && outcome.status != Some(GONE) {
        return Some((Verdict::Hold, true));
    }
    Some((retry, true))
}

/// What could not be reached: the receiver, or the server of its access tokens.
fn failed_url<'a>(endpoint: &'a Endpoint, failure: Option<&Failure>) -> &'a str {
    match (failure, &endpoint.oauth) {
        (Some(Failure::Token(_)), Some(oauth)) => &oauth.token_url,
        _ => &endpoint.url,
    }
}

/// Whether the failure's text says more than the status that is recorded beside it.
fn says_more(failure: &Failure) -> bool {
    !matches!(failure, Failure::Status(_))
}

/// What the endpoint's owner reads. The whole of it where it says nothing but what is wrong with
/// their own URL.
fn text_for_owner(failure: &Failure, url: &str) -> String {
    if failure.refused_address().is_some_and(|address| says_itself(url, address)) {
        return failure.to_string();
    }
    failure.public_text()
}

fn result(done: Finished, verdict: Verdict, blames_endpoint: bool) -> AttemptResult {
    let outcome = done.outcome.unwrap_or_else(|| {
        Outcome::failed(Failure::Internal { detail: String::new() }, std::time::Duration::ZERO)
    });
    let failure = outcome.failure.as_ref();
    let response = match failure {
        // What people read where there is no answer to show.
        Some(failure) if outcome.body.is_empty() && says_more(failure) => {
            let url = failed_url(&done.endpoint, Some(failure));
            text_for_owner(failure, url).into_bytes()
        }
        Some(_) | None => outcome.body,
    };
    AttemptResult {
        row: done.task.row,
        app: done.endpoint.app,
        url: done.endpoint.url.clone(),
        started_at: done.started_at,
        duration_ms: u32::try_from(outcome.duration.as_millis()).unwrap_or(u32::MAX),
        status: outcome.status,
        response,
        failure_code: failure.map_or("", Failure::code),
        verdict,
        keeps_place: done.endpoint.ordered,
        gone: outcome.status == Some(GONE),
        blames_endpoint,
    }
}
