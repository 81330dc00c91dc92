//! Counting over all messages of many applications, a piece at a time.

use std::collections::BTreeMap;

use super::super::Store;
use super::super::error::Result;
use super::steps::{Actions, Plan, STEP_MESSAGES, STEP_SCAN};
use crate::model::clock::Timestamp;
use crate::model::id::{AppId, ID_BYTES};
use crate::model::message::Message;
use crate::model::task::{Task, Work};

impl Store {
    /// One step: the rest of one application, and as many more as fit. The cursor is the
    /// application and, behind it, the last message counted; without one the application is done.
    pub(super) fn plan_usage(&self, task: &Task) -> Result<Plan> {
        let (since, until) = if let Work::AppUsage { since, until, .. } = &task.work {
            (*since, until.minus(std::time::Duration::from_millis(1)))
        } else {
            (Timestamp(0), task.created_at)
        };
        let mut counts = BTreeMap::new();
        let mut plan =
            Plan { actions: Actions::Nothing, cursor: task.cursor.clone(), seen: 0, ended: false };
        for _ in 0..STEP_MESSAGES {
            if plan.seen >= STEP_SCAN as u64 {
                break;
            }
            let Some((app, after)) = self.next_app(task, &plan.cursor)? else {
                plan.ended = true;
                break;
            };
            let walk = self.walk_messages(app, &after, since, until, |message| {
                count(&task.work, message, &mut counts);
                Ok(false)
            })?;
            plan.seen += walk.seen;
            plan.cursor = app.0.to_vec();
            if !walk.ended {
                plan.cursor.extend_from_slice(&walk.cursor);
            }
        }
        plan.actions = Actions::Count(counts.into_iter().collect());
        Ok(plan)
    }

    /// The application to go on with, and the message in it to go on after.
    fn next_app(&self, task: &Task, cursor: &[u8]) -> Result<Option<(AppId, Vec<u8>)>> {
        let id = |bytes: &[u8]| bytes.try_into().ok().map(AppId);
        let (last, after) = match cursor.split_at_checked(ID_BYTES) {
            Some((app, after)) => (id(app), after),
            None => (None, &[][..]),
        };
        if let Some(app) = last.filter(|_| !after.is_empty()) {
            return Ok(Some((app, after.to_vec())));
        }
        let next = if let Work::AppUsage { apps, .. } = &task.work
            && !apps.is_empty()
        {
            apps.iter().copied().filter(|app| last.is_none_or(|last| *app > last)).min()
        } else {
            let found = self.directory().applications(task.org, last, false, 1)?;
            found.first().map(|app| app.id)
        };
        Ok(next.map(|app| (app, Vec::new())))
    }
}

/// Adds a message to what it counts for: its application or its event type.
fn count(work: &Work, message: &Message, counts: &mut BTreeMap<Vec<u8>, u64>) {
    let (what, more) = if matches!(work, Work::AppUsage { .. }) {
        (message.app.0.to_vec(), message.endpoints.len() as u64)
    } else {
        (message.event_type.clone().into_bytes(), 1)
    };
    *counts.entry(what).or_default() += more;
}
