//! What was ended stays so, and is forgotten when nobody needs to know.

use super::super::ended::Ended;
use super::*;

#[test]
fn is_there_after_a_reopening_until_nothing_lives() {
    let shelf = Shelf::new();
    let (app, now) = (shelf.app, shelf.store.now().0);
    let ended = Ended { made_before: now, from: now, kept_until: now + 1_000 };
    let later = Ended { made_before: now + 5, from: now + 9, kept_until: now + 1_001 };
    for one in [ended, later] {
        shelf.store.write_and_wait(move |writer| writer.end(app, &[7; 32], one)).unwrap();
    }
    let both = Ended { made_before: now + 5, from: now, kept_until: now + 1_001 };
    let shelf = shelf.reopened();
    assert_eq!(shelf.store.ended(app, &[7; 32]).unwrap(), Some(both));
    assert_eq!(shelf.store.ended(app, &[8; 32]).unwrap(), None);
    shelf.check();
    shelf.pass(Duration::from_millis(1_001));
    assert!(!shelf.store.expire_ended().unwrap());
    assert!(shelf.store.ended(app, &[7; 32]).unwrap().is_some(), "to the millisecond");
    shelf.pass(Duration::from_millis(1));
    shelf.store.expire_ended().unwrap();
    assert_eq!(shelf.store.ended(app, &[7; 32]).unwrap(), None);
}
