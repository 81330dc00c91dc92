//! Tests of tasks over a real store: every message once, whatever happens between two steps.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::model::application::Application;
use crate::model::clock::{Clock as _, SystemClock, Timestamp};
use crate::model::delivery::{QueueRow, State, Trigger, Verdict};
use crate::model::endpoint::{Endpoint, LiveSecret};
use crate::model::id::{AppId, EndpointId, MessageId};
use crate::model::message::NewMessage;
use crate::model::secret::SigningKey;
use crate::model::task::{Broadcast, ReplayFilter, Span};
use crate::store::Options;
use crate::store::attempts::AttemptResult;

pub(in crate::store) fn open(folder: &TempDir) -> Store {
    let options = Options::trial(
        folder.path().join("store"),
        Arc::new(SystemClock),
        Box::new(|buffer| getrandom::fill(buffer).unwrap()),
    );
    Store::open(options, Box::new(drop)).unwrap()
}

fn org() -> OrgId {
    OrgId::default_org()
}

fn app(store: &Store) -> AppId {
    let make = |writer: &mut Writer<'_>| {
        let now = writer.now();
        let app = Application {
            name: "shop".to_owned(),
            ..Application::new(writer.new_application_id(), org(), now)
        };
        Ok(writer.put_application(app)?.id)
    };
    store.write_and_wait(make).unwrap()
}

fn endpoint(
    store: &Store,
    app: AppId,
    change: impl FnOnce(&mut Endpoint) + Send + 'static,
) -> EndpointId {
    let make = move |writer: &mut Writer<'_>| {
        let now = writer.now();
        let key = SigningKey::symmetric_from_random([7; 32]);
        let mut endpoint = Endpoint {
            secrets: vec![LiveSecret { key, expires_at: None }],
            ..Endpoint::new(writer.new_endpoint_id(), app, "https://a.example", now)
        };
        change(&mut endpoint);
        Ok(writer.put_endpoint(endpoint)?.id)
    };
    store.write_and_wait(make).unwrap()
}

fn message(store: &Store, app: AppId, event_type: &str) -> MessageId {
    let new = NewMessage::new(event_type.to_owned(), bytes::Bytes::from_static(b"{}"));
    store.write_and_wait(move |writer| Ok(writer.accept(app, new)?.id)).unwrap()
}

fn messages(store: &Store, app: AppId, event_type: &str, count: usize) -> Vec<MessageId> {
    (0..count).map(|_| message(store, app, event_type)).collect()
}

fn due(store: &Store, endpoint: EndpointId) -> Vec<QueueRow> {
    let none = std::collections::HashSet::new();
    store.queue_head(endpoint, Timestamp(u64::MAX), &none, false, usize::MAX).unwrap().rows
}

/// Ends every delivery that waits for the endpoint.
fn end_all(store: &Store, app: AppId, endpoint: EndpointId, status: u16) {
    due(store, endpoint).into_iter().for_each(|row| end(store, app, row, status));
}

fn end(store: &Store, app: AppId, row: QueueRow, status: u16) {
    let result = AttemptResult {
        row,
        app,
        url: "https://a.example".to_owned(),
        started_at: store.now(),
        duration_ms: 1,
        status: Some(status),
        response: Vec::new(),
        failure_code: if status == 200 { "" } else { "status" },
        verdict: if status == 200 { Verdict::Succeeded } else { Verdict::Exhausted },
        keeps_place: false,
        gone: false,
        blames_endpoint: false,
    };
    store.write_and_wait(move |writer| writer.record(&result)).unwrap();
}

fn start(store: &Store, work: Work) -> TaskId {
    store.write_and_wait(move |writer| Ok(writer.start_task(org(), work)?.id)).unwrap()
}

/// Steps the task to its end; how many steps that took.
fn run(store: &Store, id: TaskId) -> usize {
    let mut steps = 1;
    while store.step_task(org(), id).unwrap() == Step::More {
        steps += 1;
        assert!(steps < 10_000, "it never ends");
    }
    steps
}

fn span(app: AppId, endpoint: EndpointId) -> Span {
    Span { app, endpoint, since: Timestamp(0), until: SystemClock.now() }
}

#[track_caller]
fn check_clean(store: &Store) {
    let report = store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
}

#[test]
fn recover_takes_every_failure_once_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let app = app(&store);
    let to = endpoint(&store, app, |_| {});
    let failed = messages(&store, app, "a", 200);
    end_all(&store, app, to, 500);
    messages(&store, app, "a", 100);
    end_all(&store, app, to, 200);
    let id = start(&store, Work::Recover(span(app, to)));
    let mut taken = 0;
    loop {
        let step = store.step_task(org(), id).unwrap();
        taken += 1;
        drop(store);
        store = open(&folder);
        check_clean(&store);
        if step == Step::Ended {
            break;
        }
    }
    assert!(taken >= 200 / STEP_MESSAGES, "{taken} steps");
    let mut queued: Vec<_> = due(&store, to).into_iter().map(|row| row.key.message).collect();
    queued.sort_unstable();
    assert_eq!(queued, failed, "each failed message once, and no other");
    let task = store.task(org(), id).unwrap().unwrap();
    assert_eq!((task.state, task.done, task.seen), (TaskState::Finished, 200, 300));
    assert!(store.running_tasks().unwrap().is_empty());
}

#[test]
fn a_step_that_was_taken_by_another_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    messages(&store, app, "a", 100);
    let id = start(&store, Work::EventTypeUsage);
    let task = store.task(org(), id).unwrap().unwrap();
    // Both have thought the same step out before either takes it.
    let take = |plan| {
        let task = task.clone();
        store.write_and_wait(move |writer| writer.take_step(&task, plan)).unwrap()
    };
    let mut plans = [store.plan(&task).unwrap(), store.plan(&task).unwrap()];
    for plan in &mut plans {
        plan.ended = false;
    }
    for plan in plans {
        assert!(!take(plan));
    }
    assert_eq!(store.task_counts(id, 10).unwrap(), [(b"a".to_vec(), 100)]);
    assert_eq!(store.task(org(), id).unwrap().unwrap().seen, 100);
    check_clean(&store);
}

#[test]
fn replay_missing_sends_what_was_wanted_and_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let early: Vec<_> = ["a", "b", "a"].map(|t| message(&store, app, t)).to_vec();
    let to = endpoint(&store, app, |e| e.event_types = Some(vec!["a".to_owned()]));
    let late = message(&store, app, "a");
    run(&store, start(&store, Work::ReplayMissing(span(app, to))));
    let mut queued: Vec<_> = due(&store, to).into_iter().map(|row| row.key.message).collect();
    queued.sort_unstable();
    assert_eq!(queued, [early[0], early[2], late]);
    end_all(&store, app, to, 200);
    let id = start(&store, Work::ReplayMissing(span(app, to)));
    run(&store, id);
    assert!(due(&store, to).is_empty());
    assert_eq!(store.task(org(), id).unwrap().unwrap().done, 0);
    check_clean(&store);
}

#[test]
fn bulk_replay_holds_to_its_filter() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let to = endpoint(&store, app, |_| {});
    let good = message(&store, app, "a");
    end_all(&store, app, to, 200);
    let bad = message(&store, app, "a");
    end_all(&store, app, to, 503);
    let other = message(&store, app, "b");
    end_all(&store, app, to, 404);
    let filters: [(ReplayFilter, Vec<MessageId>); 4] = [
        (ReplayFilter::default(), vec![good, bad, other]),
        (ReplayFilter { state: Some(State::Succeeded), ..Default::default() }, vec![good]),
        (ReplayFilter { status_class: Some(500), ..Default::default() }, vec![bad]),
        (ReplayFilter { event_types: vec!["b".to_owned()], ..Default::default() }, vec![other]),
    ];
    for (filter, expected) in filters {
        run(&store, start(&store, Work::BulkReplay(span(app, to), filter.clone())));
        let mut rows = due(&store, to);
        rows.sort_unstable_by_key(|row| row.key.message);
        let queued: Vec<_> = rows.iter().map(|row| row.key.message).collect();
        assert_eq!(queued, expected, "{filter:?}");
        // As they were before.
        for (id, status) in [(good, 200), (bad, 503), (other, 404)] {
            if queued.contains(&id) {
                let only = due(&store, to).into_iter().find(|row| row.key.message == id).unwrap();
                assert_eq!(only.trigger, Trigger::Scheduled);
                end(&store, app, only, status);
            }
        }
        check_clean(&store);
    }
}

#[test]
fn cancel_gives_up_what_waits_also_what_was_sent_again_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let to = endpoint(&store, app, |_| {});
    let first = message(&store, app, "a");
    messages(&store, app, "a", 150);
    store.write_and_wait(move |writer| writer.resend(app, first, to)).unwrap();
    let until = store.now().plus(Duration::from_secs(1));
    let id = start(&store, Work::Cancel(Span { until, ..span(app, to) }));
    run(&store, id);
    assert!(due(&store, to).is_empty());
    assert_eq!(store.delivery(first, to).unwrap().unwrap().state, State::Cancelled);
    check_clean(&store);
}

#[test]
fn a_damaged_place_in_a_queue_is_said_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let to = endpoint(&store, app, |_| {});
    let id = start(&store, Work::Cancel(span(app, to)));
    let places = [vec![0; keys::QUEUE_BYTES], vec![u8::MAX; keys::QUEUE_BYTES], vec![1]];
    for cursor in places {
        let task = Task { cursor, ..store.task(org(), id).unwrap().unwrap() };
        let error = store.plan(&task).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("its place"), "{error}");
    }
}

#[test]
fn a_broadcast_reaches_every_application_that_was_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder);
    let apps: Vec<_> = (0..150).map(|_| app(&store)).collect();
    let payload = vec![b'x'; 20_000];
    let message = Broadcast {
        event_type: "news".to_owned(),
        event_id: Some("n1".to_owned()),
        channels: Vec::new(),
        payload_retention_hours: None,
    };
    let body = payload.clone();
    let id = store
        .write_and_wait(move |writer| {
            let task = writer.start_task(org(), Work::Broadcast(message))?;
            writer.put_task_payload(task.id, &body);
            Ok(task.id)
        })
        .unwrap();
    let later = app(&store);
    loop {
        let step = store.step_task(org(), id).unwrap();
        drop(store);
        store = open(&folder);
        if step == Step::Ended {
            break;
        }
    }
    for app in &apps {
        let found = store.message_of_event(*app, "n1").unwrap().expect("it was sent");
        let (_, kept) = store.message(*app, found).unwrap().unwrap();
        assert_eq!(kept, crate::store::messages::Payload::Here(payload.clone().into()));
    }
    assert_eq!(store.message_of_event(later, "n1").unwrap(), None);
    assert_eq!(store.task(org(), id).unwrap().unwrap().done, 150);
    check_clean(&store);
}

#[test]
fn usage_is_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (one, two) = (app(&store), app(&store));
    endpoint(&store, one, |_| {});
    endpoint(&store, one, |_| {});
    messages(&store, one, "a", 70);
    messages(&store, two, "b", 5);
    let until = store.now().plus(Duration::from_secs(1));
    let work = |apps| Work::AppUsage { apps, since: Timestamp(0), until };
    let counted = |work| {
        let id = start(&store, work);
        run(&store, id);
        store.task_counts(id, 1000).unwrap()
    };
    let (a, b) = (one.0.to_vec(), two.0.to_vec());
    assert_eq!(counted(work(Vec::new())), [(a, 140), (b.clone(), 0)]);
    assert_eq!(counted(work(vec![two])), [(b, 0)]);
    assert_eq!(counted(Work::EventTypeUsage), [(b"a".to_vec(), 70), (b"b".to_vec(), 5)]);
    check_clean(&store);
}

#[test]
fn a_task_whose_endpoint_goes_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let to = endpoint(&store, app, |_| {});
    let id = start(&store, Work::Recover(span(app, to)));
    let delete = move |writer: &mut Writer<'_>| {
        let endpoint = Endpoint::clone(&*writer.endpoint(app, &to.to_string())?);
        writer.put_endpoint(Endpoint { deleted: true, ..endpoint })
    };
    store.write_and_wait(delete).unwrap();
    assert_eq!(store.step_task(org(), id).unwrap(), Step::Ended);
    let task = store.task(org(), id).unwrap().unwrap();
    assert_eq!(task.state, TaskState::Failed);
    assert_eq!(task.failure.as_deref(), Some("the endpoint was deleted"));
}

#[test]
fn tokens_end_at_their_moment_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let app = app(&store);
    let issued_before = store.now();
    let far = store.now().plus(Duration::from_secs(60));
    let id = start(&store, Work::ExpireTokens { app, issued_before, at: far });
    assert_eq!(store.step_task(org(), id).unwrap(), Step::Waits(far));
    let valid_from = || store.directory().tenant(app).unwrap().unwrap().app.tokens_valid_from;
    assert_eq!(valid_from(), Timestamp(0));
    run(&store, start(&store, Work::ExpireTokens { app, issued_before, at: issued_before }));
    assert_eq!(valid_from(), issued_before);
}

#[test]
fn so_many_may_run_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let fill = |writer: &mut Writer<'_>| {
        (0..RUNNING_TASKS)
            .try_for_each(|_| writer.start_task(org(), Work::EventTypeUsage).map(drop))
    };
    store.write_and_wait(fill).unwrap();
    let one_more = store.write_and_wait(|writer| writer.start_task(org(), Work::EventTypeUsage));
    assert!(matches!(one_more, Err(Error::Limit(_))), "{one_more:?}");
}
