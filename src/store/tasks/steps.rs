//! What one step of each kind of work is: what to do is found outside of the commit thread
//! ([`Store::step_task`]), checked once more and done inside of it ([`Writer::take_step`]).

use std::ops::Bound;

use super::super::error::{Error, Result};
use super::super::messages::assemble;
use super::super::records::{self, QueueRecord};
use super::super::trees::Tree;
use super::super::writer::Writer;
use super::super::{Store, keys};
use crate::model::clock::Timestamp;
use crate::model::delivery::{Delivery, QueueKey, State};
use crate::model::endpoint::Endpoint;
use crate::model::id::{AppId, ID_BYTES, MessageId, OrgId, TaskId, first_at};
use crate::model::matching::{self, Verdict};
use crate::model::message::{Message, NewMessage};
use crate::model::task::{Broadcast, ReplayFilter, Span, Task, TaskState, Work};

/// Messages one step does something to, at the most.
pub const STEP_MESSAGES: usize = 64;
/// Rows one step looks at, at the most.
pub const STEP_SCAN: usize = 2_000;
/// Deliveries that one step of a broadcast schedules before it stops.
const STEP_DELIVERIES: usize = 1_000;
/// Bytes of payload that one step of a broadcast writes before it stops.
const STEP_BYTES: usize = 512 * 1024;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do at once.
    More,
    /// There is nothing to do before this moment.
    Waits(Timestamp),
    /// The task has ended.
    Ended,
}

/// What a step is going to do.
pub(super) enum Actions {
    /// Start the schedule anew.
    Recover(Span, Vec<MessageId>),
    Cancel(Span, Vec<QueueKey>),
    Purge(AppId, Vec<MessageId>),
    Accept(Vec<AppId>, NewMessage),
    /// Add to the task's counts.
    Count(Vec<(Vec<u8>, u64)>),
    ExpireTokens(AppId, Timestamp),
    Nothing,
}

/// A step that was thought out.
pub(super) struct Plan {
    pub(super) actions: Actions,
    /// Where the step ends.
    pub(super) cursor: Vec<u8>,
    pub(super) seen: u64,
    pub(super) ended: bool,
}

/// Rows that were walked over.
pub(super) struct Walk<T> {
    pub(super) taken: Vec<T>,
    pub(super) cursor: Vec<u8>,
    pub(super) seen: u64,
    pub(super) ended: bool,
}

impl<T> Walk<T> {
    fn plan(self, actions: impl FnOnce(Vec<T>) -> Actions) -> Plan {
        let Self { taken, cursor, seen, ended } = self;
        Plan { actions: actions(taken), cursor, seen, ended }
    }
}

impl Store {
    /// Takes one step of a task. May be called by anybody at any time; of two who take the same
    /// step at once one does nothing.
    ///
    /// Errors: the store's own. A task that cannot go on has failed, which is no error here.
    pub fn step_task(&self, org: OrgId, id: TaskId) -> Result<Step> {
        let Some(task) = self.task(org, id)?.filter(|t| t.state == TaskState::Running) else {
            return Ok(Step::Ended);
        };
        if let Work::ExpireTokens { at, .. } = task.work
            && at > self.now()
        {
            return Ok(Step::Waits(at));
        }
        let plan = match self.plan(&task) {
            Ok(plan) => plan,
            Err(Error::NotFound(what)) => {
                self.fail_task(org, id, &format!("the {what} was deleted"))?;
                return Ok(Step::Ended);
            }
            Err(err) => return Err(err),
        };
        let ended = self.write_and_wait(move |writer| writer.take_step(&task, plan))?;
        Ok(if ended { Step::Ended } else { Step::More })
    }

    pub(super) fn plan(&self, task: &Task) -> Result<Plan> {
        match &task.work {
            Work::Recover(span) | Work::ReplayMissing(span) | Work::BulkReplay(span, _) => {
                let walk = self.walk_endpoint(task, span)?;
                Ok(walk.plan(|taken| Actions::Recover(*span, taken)))
            }
            Work::Cancel(span) => {
                let walk = self.walk_queue(span, &task.cursor)?;
                Ok(walk.plan(|taken| Actions::Cancel(*span, taken)))
            }
            Work::PurgeContent(app, until) => {
                self.directory().tenant(*app)?.ok_or(Error::NotFound("application"))?;
                let walk = self.walk_messages(*app, &task.cursor, Timestamp(0), *until, |m| {
                    Ok(!m.payload_gone)
                })?;
                Ok(walk.plan(|taken| Actions::Purge(*app, taken)))
            }
            Work::Broadcast(message) => self.plan_broadcast(task, message),
            Work::AppUsage { .. } | Work::EventTypeUsage => self.plan_usage(task),
            Work::ExpireTokens { app, issued_before, .. } => Ok(Plan {
                actions: Actions::ExpireTokens(*app, *issued_before),
                cursor: Vec::new(),
                seen: 1,
                ended: true,
            }),
            Work::ExportEventTypes => {
                Ok(Plan { actions: Actions::Nothing, cursor: Vec::new(), seen: 0, ended: true })
            }
        }
    }

    /// Messages that the task's endpoint is to get.
    fn walk_endpoint(&self, task: &Task, span: &Span) -> Result<Walk<MessageId>> {
        let endpoint = self.directory().endpoint(span.endpoint)?;
        let endpoint = endpoint.ok_or(Error::NotFound("endpoint"))?;
        let class =
            if let Work::BulkReplay(_, filter) = &task.work { filter.status_class } else { None };
        self.walk_messages(span.app, &task.cursor, span.since, span.until, |message| {
            let delivery = self.delivery(message.id, span.endpoint)?;
            if !is_wanted(&task.work, &endpoint, message, delivery.as_ref()) {
                return Ok(false);
            }
            match class {
                Some(class) => Ok(self.last_class(span, delivery.as_ref())? == Some(class)),
                None => Ok(true),
            }
        })
    }

    /// The class of the answer to a delivery's last attempt; 0 when there was no answer.
    fn last_class(&self, span: &Span, delivery: Option<&Delivery>) -> Result<Option<u16>> {
        let Some(last) = delivery.and_then(|d| d.last_attempt) else { return Ok(None) };
        let attempt = self.attempt(span.endpoint, last)?;
        Ok(attempt.map(|a| a.status.unwrap_or(0) / 100 * 100))
    }

    /// Walks over messages accepted from `since` to `until` behind `cursor`, until enough of them
    /// were taken or looked at.
    pub(super) fn walk_messages(
        &self,
        app: AppId,
        cursor: &[u8],
        since: Timestamp,
        until: Timestamp,
        mut take: impl FnMut(&Message) -> Result<bool>,
    ) -> Result<Walk<MessageId>> {
        let start = match <[u8; ID_BYTES]>::try_from(cursor) {
            Ok(id) => Bound::Excluded(keys::pair(&app.0, &id)),
            Err(_) => Bound::Included(keys::pair(&app.0, &first_at(since))),
        };
        // Ids carry their time to 4 ms.
        let past = first_at(until.plus(std::time::Duration::from_millis(4)));
        let end = Bound::Excluded(keys::pair(&app.0, &past));
        let mut walk = Walk { taken: Vec::new(), cursor: cursor.to_vec(), seen: 0, ended: true };
        for row in self.shared.trees.tree(Tree::Messages).range((start, end)) {
            if walk.taken.len() >= STEP_MESSAGES || walk.seen >= STEP_SCAN as u64 {
                walk.ended = false;
                break;
            }
            let (key, value) = row?;
            let damaged = || Error::corrupt("messages", "a key has the wrong length");
            let (_, id) = keys::split_pair(&key).ok_or_else(damaged)?;
            let (message, _) = assemble(self, app, MessageId(id), &value, false)?;
            walk.seen += 1;
            walk.cursor = id.to_vec();
            let is_inside = message.created_at >= since && message.created_at <= until;
            if is_inside && take(&message)? {
                walk.taken.push(message.id);
            }
        }
        Ok(walk)
    }

    /// Walks over an endpoint's queue: rows of messages accepted before the end of the span.
    fn walk_queue(&self, span: &Span, cursor: &[u8]) -> Result<Walk<QueueKey>> {
        self.directory().endpoint(span.endpoint)?.ok_or(Error::NotFound("endpoint"))?;
        let queue = keys::queue_of(span.endpoint);
        let start = match keys::split_queue(cursor) {
            Some(last) if queue.contains(&last) => Bound::Excluded(last),
            Some(_) => return Err(Error::corrupt("tasks", "its place is in another queue")),
            None if cursor.is_empty() => Bound::Included(*queue.start()),
            None => return Err(Error::corrupt("tasks", "its place in a queue is cut off")),
        };
        let range = (start, Bound::Included(*queue.end()));
        let mut walk = Walk { taken: Vec::new(), cursor: cursor.to_vec(), seen: 0, ended: true };
        for row in self.shared.queue(range, STEP_SCAN + 1) {
            if walk.taken.len() >= STEP_MESSAGES || walk.seen >= STEP_SCAN as u64 {
                walk.ended = false;
                break;
            }
            let (raw, _) = row?;
            let damaged = || Error::corrupt("queue", "a key has the wrong length");
            let key = keys::split_queue(&raw).ok_or_else(damaged)?;
            walk.seen += 1;
            walk.cursor = raw.to_vec();
            if key.message.made_at() < span.until {
                walk.taken.push(key);
            }
        }
        Ok(walk)
    }

    fn plan_broadcast(&self, task: &Task, message: &Broadcast) -> Result<Plan> {
        let from = <[u8; ID_BYTES]>::try_from(task.cursor.as_slice()).ok().map(AppId);
        let found = self.directory().applications(task.org, from, false, STEP_MESSAGES)?;
        let full = found.len() == STEP_MESSAGES;
        // Ids never go backwards: what was made after the task sorts behind it.
        let apps: Vec<AppId> =
            found.iter().map(|app| app.id).filter(|app| app.0 < task.id.0).collect();
        let ended = !full || apps.len() < found.len();
        let rows = self.task_rows(task.id, usize::from(u16::MAX))?;
        let payload: Vec<u8> = rows.into_iter().flat_map(|(_, chunk)| chunk).collect();
        let new = NewMessage {
            event_id: message.event_id.clone(),
            channels: message.channels.clone(),
            payload_retention_hours: message.payload_retention_hours,
            ..NewMessage::new(message.event_type.clone(), payload)
        };
        let cursor = apps.last().map_or_else(|| task.cursor.clone(), |app| app.0.to_vec());
        let seen = apps.len() as u64;
        Ok(Plan { actions: Actions::Accept(apps, new), cursor, seen, ended })
    }
}

/// Whether a delivery is one the task is about, by all that can be told without its attempts.
fn is_wanted(
    work: &Work,
    endpoint: &Endpoint,
    message: &Message,
    delivery: Option<&Delivery>,
) -> bool {
    let was_sent = || delivery.is_some() || message.endpoints.contains(&endpoint.id);
    match work {
        Work::Recover(_) => {
            delivery.is_some_and(|d| matches!(d.state, State::Exhausted | State::Cancelled))
        }
        Work::ReplayMissing(_) => {
            let enabled = Endpoint { disabled: None, ..endpoint.clone() };
            let verdict = matching::explain(&enabled, &message.event_type, &message.channels);
            verdict == Verdict::Matches && !was_sent()
        }
        Work::BulkReplay(_, filter) => lets(filter, message, delivery) && was_sent(),
        Work::Cancel(_)
        | Work::PurgeContent(..)
        | Work::Broadcast(_)
        | Work::AppUsage { .. }
        | Work::EventTypeUsage
        | Work::ExportEventTypes
        | Work::ExpireTokens { .. } => false,
    }
}

fn lets(filter: &ReplayFilter, message: &Message, delivery: Option<&Delivery>) -> bool {
    let state = delivery.map_or(State::Pending, |d| d.state);
    (filter.event_types.is_empty() || filter.event_types.contains(&message.event_type))
        && filter.channel.as_ref().is_none_or(|c| message.channels.contains(c))
        && filter.tag.as_ref().is_none_or(|t| message.tags.contains(t))
        && filter.state.is_none_or(|wanted| wanted == state)
}

impl Writer<'_> {
    /// Does what was planned and moves the cursor. `true` when the task has ended.
    pub(super) fn take_step(&mut self, planned: &Task, plan: Plan) -> Result<bool> {
        let Some(mut task) = self.task(planned.org, planned.id)? else { return Ok(true) };
        if task.state != TaskState::Running {
            return Ok(true);
        }
        if task.cursor != planned.cursor || task.seen != planned.seen {
            // Somebody else took this step.
            return Ok(false);
        }
        task.cursor = plan.cursor;
        task.seen += plan.seen;
        let mut ended = plan.ended;
        task.done += match plan.actions {
            Actions::Recover(span, ids) => self.recover_all(&task.work, &span, &ids)?,
            Actions::Cancel(span, rows) => self.cancel_all(&span, &rows)?,
            Actions::Purge(app, ids) => {
                let (done, last) = self.purge_some(app, &ids)?;
                if let Some(last) = last {
                    ended = false;
                    task.cursor = last.0.to_vec();
                }
                done
            }
            Actions::Accept(apps, new) => {
                let (done, last) = self.accept_for_all(&apps, &new)?;
                if let Some(last) = last {
                    ended &= apps.last() == Some(&last);
                    task.cursor = last.0.to_vec();
                }
                done
            }
            Actions::Count(counts) => {
                for (what, more) in &counts {
                    self.add_to_count(task.id, what, *more)?;
                }
                plan.seen
            }
            Actions::ExpireTokens(app, issued_before) => self.expire_tokens(app, issued_before)?,
            Actions::Nothing => 0,
        };
        if ended {
            task.state = TaskState::Finished;
        }
        self.put_task(&task);
        Ok(ended)
    }

    /// Removes payloads until that is enough for one commit: a large one has many rows. Gives how
    /// many there were, and which was the last if there are more.
    fn purge_some(&mut self, app: AppId, ids: &[MessageId]) -> Result<(u64, Option<MessageId>)> {
        let mut done = 0;
        for (id, next) in ids.iter().zip(ids.iter().skip(1).map(Some).chain([None])) {
            if self.message(app, *id)?.is_some() {
                self.expunge_payload(app, *id)?;
            }
            done += 1;
            if self.is_full() && next.is_some() {
                return Ok((done, Some(*id)));
            }
        }
        Ok((done, None))
    }

    fn recover_all(&mut self, work: &Work, span: &Span, ids: &[MessageId]) -> Result<u64> {
        self.shared().space.check()?;
        let Some(endpoint) = self.shared().directory.endpoint(span.endpoint)? else { return Ok(0) };
        let mut done = 0;
        for id in ids {
            // It may have been removed, or sent by hand, since the step was thought out.
            let Some(message) = self.message(span.app, *id)? else { continue };
            let delivery = self.delivery(*id, span.endpoint)?;
            if is_wanted(work, &endpoint, &message, delivery.as_ref()) {
                done += u64::from(self.recover(&message, span.endpoint)?);
            }
        }
        Ok(done)
    }

    fn cancel_all(&mut self, span: &Span, rows: &[QueueKey]) -> Result<u64> {
        let mut done = 0;
        for key in rows {
            let Some(row) = self.get(Tree::Queue, &keys::queue(key))? else { continue };
            let record: QueueRecord = records::read(Tree::Queue, &row)?;
            record.into_domain(*key)?;
            let message = self.message(span.app, key.message)?;
            if let Some(message) = message {
                self.cancel(&message, span.endpoint)?;
            }
            if self.get(Tree::Queue, &keys::queue(key))?.is_some() {
                // An attempt by hand, beside the schedule.
                self.remove(Tree::Queue, &keys::queue(key));
                self.events().changed.push(span.endpoint);
            }
            done += 1;
        }
        Ok(done)
    }

    /// Accepts a message for one application after the other until that is enough for one commit.
    /// Gives how many there were and which was the last.
    fn accept_for_all(&mut self, apps: &[AppId], new: &NewMessage) -> Result<(u64, Option<AppId>)> {
        let (mut done, mut deliveries, mut bytes) = (0, 0, 0);
        let mut last = None;
        for app in apps {
            if deliveries >= STEP_DELIVERIES || bytes >= STEP_BYTES {
                break;
            }
            last = Some(*app);
            match self.accept(*app, new.clone()) {
                Ok(message) => {
                    done += 1;
                    deliveries += message.endpoints.len();
                    bytes += new.payload.len();
                }
                // It was deleted since, or has this event already.
                Err(Error::NotFound(_) | Error::Conflict { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok((done, last))
    }

    fn expire_tokens(&mut self, app: AppId, issued_before: Timestamp) -> Result<u64> {
        let Some(tenant) = self.shared().directory.tenant(app)? else { return Ok(0) };
        let mut app = crate::model::application::Application::clone(&tenant.app);
        app.tokens_valid_from = app.tokens_valid_from.max(issued_before);
        self.put_application(app)?;
        Ok(1)
    }
}
