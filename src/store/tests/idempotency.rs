//! The same key is answered as it was the first time.

use super::super::Error;
use super::super::idempotency::{Answer, IdempotencyKey, KEPT_MS};
use super::*;

fn key(hash: u8, fingerprint: u8) -> IdempotencyKey {
    IdempotencyKey { hash: [hash; 32], fingerprint: [fingerprint; 32] }
}

/// Accepts a message once per key.
fn once(shelf: &Shelf, key: Option<IdempotencyKey>) -> Result<(Answer, bool)> {
    let app = shelf.app;
    shelf.write(move |writer| {
        writer.once(key.as_ref(), |writer| {
            let message = writer.accept(app, new_message(b"{}"))?;
            Ok(Answer::Message { app, message: message.id })
        })
    })
}

#[test]
fn the_same_key_does_the_work_once() {
    let shelf = Shelf::new();
    let (first, repeated) = once(&shelf, Some(key(1, 1))).unwrap();
    assert!(!repeated);
    assert_eq!(once(&shelf, Some(key(1, 1))).unwrap(), (first.clone(), true));
    assert_eq!(shelf.rows("messages"), 1);
    assert!(!once(&shelf, Some(key(2, 1))).unwrap().1, "another key");
    assert!(!once(&shelf, None).unwrap().1, "no key");
    assert!(!once(&shelf, None).unwrap().1, "no key again");
    assert_eq!(shelf.rows("messages"), 4);
    let shelf = shelf.reopened();
    assert_eq!(once(&shelf, Some(key(1, 1))).unwrap(), (first, true), "after a restart too");
    shelf.check();
}

#[test]
fn bodies_are_kept_as_they_were() {
    let shelf = Shelf::new();
    let answer = Answer::Body { status: 201, body: vec![0, 255, b'{'] };
    let kept = answer.clone();
    shelf.write(move |w| w.once(Some(&key(1, 1)), |_| Ok(kept))).unwrap();
    let repeated = shelf.write(|w| w.once(Some(&key(1, 1)), |_| Err(Error::Closing)));
    assert_eq!(repeated.unwrap(), (answer, true));
}

#[test]
fn the_same_key_with_another_body_is_refused() {
    let shelf = Shelf::new();
    once(&shelf, Some(key(1, 1))).unwrap();
    let refused = once(&shelf, Some(key(1, 2)));
    assert!(matches!(refused, Err(Error::IdempotencyMismatch)), "{refused:?}");
    assert_eq!(shelf.rows("messages"), 1);
}

#[test]
fn work_that_failed_may_be_tried_again() {
    let shelf = Shelf::new();
    let failed = shelf.write(|w| w.once(Some(&key(1, 1)), |_| Err(Error::NotFound("message"))));
    assert!(failed.is_err());
    assert!(!once(&shelf, Some(key(1, 2))).unwrap().1);
}

#[test]
fn twice_in_one_group_is_once() {
    let shelf = Shelf::new();
    let app = shelf.app;
    let (first, second) = shelf
        .write(move |writer| {
            let mut once = || {
                writer.once(Some(&key(1, 1)), |writer| {
                    let message = writer.accept(app, new_message(b"{}"))?;
                    Ok(Answer::Message { app, message: message.id })
                })
            };
            Ok((once()?, once()?))
        })
        .unwrap();
    assert_eq!((first.0, false, true), (second.0, first.1, second.1));
}

#[test]
fn a_key_is_free_again_after_twelve_hours() {
    // The rows lie in buckets: whatever the time of day the key was used at.
    for at in [0, 1, 3_600_000, 7_199_999, 14_399_999] {
        let shelf = Shelf::new();
        shelf.pass(Duration::from_millis(at));
        once(&shelf, Some(key(1, 1))).unwrap();
        shelf.pass(Duration::from_millis(KEPT_MS - 1));
        assert!(once(&shelf, Some(key(1, 1))).unwrap().1, "{at}: a millisecond before");
        shelf.pass(Duration::from_millis(1));
        assert!(!once(&shelf, Some(key(1, 2))).unwrap().1, "{at}: and then it is free");
    }
}

#[test]
fn a_clock_that_is_set_back_a_little_forgets_nothing() {
    for at in [0, 1, 3_600_000, 7_199_999, 14_399_999] {
        let shelf = Shelf::new();
        shelf.pass(Duration::from_millis(at));
        once(&shelf, Some(key(1, 1))).unwrap();
        shelf.set(shelf.store.now().minus(seconds(3600)));
        assert!(once(&shelf, Some(key(1, 1))).unwrap().1, "{at}");
    }
}
