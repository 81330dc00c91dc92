//! Sending again, starting anew, giving up.

use super::super::Error;
use super::super::tasks::{STEP_MESSAGES, Step};
use super::*;
use crate::model::delivery::{QueueKey, Trigger};
use crate::model::task::{Span, Work};

fn resend(shelf: &Shelf, message: &Message, endpoint: EndpointId) -> Result<QueueKey> {
    let (app, id) = (shelf.app, message.id);
    shelf.write(move |writer| writer.resend(app, id, endpoint))
}

fn recover(shelf: &Shelf, message: &Arc<Message>, endpoint: EndpointId) -> bool {
    let message = Arc::clone(message);
    shelf.write(move |writer| writer.recover(&message, endpoint)).unwrap()
}

fn cancel(shelf: &Shelf, message: &Arc<Message>, endpoint: EndpointId) -> bool {
    let message = Arc::clone(message);
    shelf.write(move |writer| writer.cancel(&message, endpoint)).unwrap()
}

#[test]
fn a_resend_is_one_manual_attempt_now() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    shelf.tried(endpoint, Verdict::Succeeded);
    shelf.pass(seconds(7));
    shelf.heard();
    let key = resend(&shelf, &message, endpoint).unwrap();
    let row = shelf.row(endpoint);
    assert_eq!(row.key, QueueKey { endpoint, due: shelf.store.now(), message: message.id });
    assert_eq!((row.attempt, row.trigger), (1, Trigger::Manual));
    assert_eq!(shelf.heard().queued, [key]);
    assert_eq!(shelf.stands(&message, endpoint), State::Succeeded);
    shelf.check();
}

#[test]
fn resends_in_the_same_millisecond_each_have_a_place() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let keys: Vec<_> = (0..3).map(|_| resend(&shelf, &message, endpoint).unwrap()).collect();
    let dues: Vec<_> = keys.iter().map(|key| key.due.0 - START.0).collect();
    assert_eq!(dues, [1, 2, 3], "the scheduled row has the first");
    assert_eq!(shelf.queue(endpoint).len(), 4);
    shelf.check();
}

#[test]
fn what_cannot_be_resent_is_said() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let (app, id) = (shelf.app, message.id);
    let unknown = Message { id: crate::model::id::MessageId([1; 20]), ..Message::clone(&message) };
    let refused = resend(&shelf, &unknown, endpoint);
    assert!(matches!(refused, Err(Error::NotFound("message"))), "{refused:?}");
    let refused = resend(&shelf, &message, EndpointId([1; 20]));
    assert!(matches!(refused, Err(Error::NotFound("endpoint"))), "{refused:?}");
    let other = shelf.write(|w| w.put_application(new_application(w))).unwrap().id;
    let foreign = shelf.write(move |w| w.put_endpoint(new_endpoint(w, other))).unwrap().id;
    let refused = resend(&shelf, &message, foreign);
    assert!(matches!(refused, Err(Error::NotFound("endpoint"))), "{refused:?}");
    shelf.write(move |writer| writer.expunge_payload(app, id)).unwrap();
    let refused = resend(&shelf, &message, endpoint);
    assert!(matches!(refused, Err(Error::PayloadGone)), "{refused:?}");
    assert!(!recover(&shelf, &message, endpoint), "nor recovered");
    shelf.check();
}

#[test]
fn whatever_has_ended_can_be_started_anew() {
    for end in [State::Succeeded, State::Exhausted, State::Cancelled] {
        let shelf = Shelf::new();
        let endpoint = shelf.endpoint();
        let message = shelf.accept();
        let first = match end {
            State::Succeeded => shelf.tried(endpoint, Verdict::Succeeded),
            State::Exhausted => shelf.tried(endpoint, Verdict::Exhausted),
            State::Cancelled | State::Pending => {
                assert!(cancel(&shelf, &message, endpoint));
                None
            }
        };
        assert_eq!(shelf.stands(&message, endpoint), end);
        shelf.pass(seconds(3));
        assert!(recover(&shelf, &message, endpoint), "{end:?}");
        let row = shelf.row(endpoint);
        assert_eq!((row.key.due, row.attempt), (shelf.store.now(), 1), "{end:?}");
        let delivery = shelf.delivery(&message, endpoint).unwrap();
        assert_eq!((delivery.state, delivery.attempts), (State::Pending, 0), "{end:?}");
        assert_eq!(delivery.first_attempt, first, "{end:?}");
        assert!(!recover(&shelf, &message, endpoint), "it is pending now");
        shelf.check();
        shelf.tried(endpoint, Verdict::Succeeded);
        assert_eq!(shelf.stands(&message, endpoint), State::Succeeded, "{end:?}");
        shelf.check();
    }
}

#[test]
fn what_is_pending_is_not_started_anew() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    assert!(!recover(&shelf, &message, endpoint), "never tried");
    shelf.tried(endpoint, Verdict::Retry(START.plus(seconds(5))));
    assert!(!recover(&shelf, &message, endpoint), "waits for its next try");
    assert_eq!(shelf.queue(endpoint).len(), 1);
}

#[test]
fn an_endpoint_made_later_can_be_sent_what_was_before_it() {
    let shelf = Shelf::new();
    let message = shelf.accept();
    let endpoint = shelf.endpoint();
    assert!(recover(&shelf, &message, endpoint));
    shelf.tried(endpoint, Verdict::Succeeded);
    assert_eq!(shelf.stands(&message, endpoint), State::Succeeded);
    shelf.check();
    shelf.pass(RETENTION + seconds(1));
    shelf.store.expire_messages(shelf.app).unwrap();
    assert_eq!(shelf.rows("deliveries") + shelf.rows("attempts"), 0, "and it goes with it");
    shelf.check();
}

/// Recovers in a task, step by step; how many deliveries that were.
fn recover_span(shelf: &Shelf, span: Span) -> u64 {
    let org = OrgId::default_org();
    let id = shelf.write(move |w| w.start_task(org, Work::Recover(span))).unwrap().id;
    while shelf.store.step_task(org, id).unwrap() == Step::More {
        shelf.check();
    }
    shelf.store.task(org, id).unwrap().unwrap().done
}

#[test]
fn only_what_failed_in_the_span_is_recovered() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let mut exhausted = Vec::new();
    let count = STEP_MESSAGES + 10;
    for n in 0..count {
        let message = shelf.accept();
        let verdict = if n % 2 == 0 { Verdict::Exhausted } else { Verdict::Succeeded };
        shelf.tried(endpoint, verdict);
        if verdict == Verdict::Exhausted {
            exhausted.push(message.id);
        }
        shelf.pass(seconds(1));
    }
    let since = START.plus(seconds(10));
    let until = START.plus(seconds(u64::try_from(count).unwrap() - 11));
    let done = recover_span(&shelf, Span { app: shelf.app, endpoint, since, until });
    let expected = &exhausted[5..exhausted.len() - 5];
    assert_eq!(done, expected.len() as u64);
    let mut queued: Vec<_> = shelf.queue(endpoint).iter().map(|row| row.key.message).collect();
    queued.sort_unstable();
    assert_eq!(queued, expected);
    assert_eq!(recover_span(&shelf, Span { app: shelf.app, endpoint, since, until }), 0);
    shelf.check();
}

#[test]
fn only_what_is_pending_can_be_cancelled() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    shelf.heard();
    assert!(cancel(&shelf, &message, endpoint), "never tried");
    assert_eq!(shelf.heard().changed, [endpoint]);
    assert!(!cancel(&shelf, &message, endpoint), "only once");
    recover(&shelf, &message, endpoint);
    let first = shelf.tried(endpoint, Verdict::Retry(START.plus(seconds(5))));
    assert!(cancel(&shelf, &message, endpoint), "waiting for its next try");
    let delivery = shelf.delivery(&message, endpoint).unwrap();
    assert_eq!((delivery.state, delivery.attempts), (State::Cancelled, 1));
    assert_eq!((delivery.first_attempt, delivery.next_due), (first, None));
    assert_eq!(shelf.queue(endpoint), []);
    recover(&shelf, &message, endpoint);
    shelf.tried(endpoint, Verdict::Succeeded);
    assert!(!cancel(&shelf, &message, endpoint), "it has succeeded");
    shelf.check();
}

#[test]
fn a_cancellation_leaves_a_resend_alone() {
    let shelf = Shelf::new();
    let endpoint = shelf.endpoint();
    let message = shelf.accept();
    let manual = resend(&shelf, &message, endpoint).unwrap();
    assert!(cancel(&shelf, &message, endpoint));
    assert_eq!(shelf.row(endpoint).key, manual);
    shelf.check();
}
