//! What a page is bounded by: rows, time and bytes; and that what is behind a bound is found.

use std::cell::Cell;
use std::time::Instant;

use super::{Shelf, new_message};
use crate::model::id::MessageId;
use crate::model::message::Message;
use crate::store::pages::{PAGE_BYTES, PAGE_SCAN, PAGE_TIME, Range};

const FIRST: Range = Range { after: None, before: None, descending: true, limit: 250 };

/// Pages from the newest to the oldest; the ids on each.
fn walk(
    shelf: &Shelf,
    with_payload: bool,
    wanted: impl Fn(&Message) -> bool,
) -> Vec<Vec<MessageId>> {
    let (mut pages, mut range) = (Vec::new(), FIRST);
    loop {
        let page = shelf.store.page_of_messages(shelf.app, &range, with_payload, &wanted).unwrap();
        pages.push(page.rows.iter().map(|(message, _)| message.id).collect());
        assert!(pages.len() < 10_000, "no end");
        match page.more {
            None => return pages,
            Some(id) => range.before = Some(id),
        }
    }
}

#[test]
fn a_filter_that_finds_little_ends_a_page_at_a_number_of_rows() {
    let shelf = Shelf::new();
    let app = shelf.app;
    let oldest = shelf.accept().id;
    for _ in 0..PAGE_SCAN / 50 {
        shelf
            .write(move |writer| {
                (0..50).try_for_each(|_| writer.accept(app, new_message(b"{}")).map(drop))
            })
            .unwrap();
    }
    let seen = Cell::new(0);
    let pages = walk(&shelf, false, |message| {
        seen.set(seen.get() + 1);
        message.id == oldest
    });
    // Time may have ended one before.
    assert!(pages.len() >= 2, "{} rows in one page", seen.get());
    assert_eq!((pages.concat(), seen.get()), (vec![oldest], PAGE_SCAN + 1));
}

#[test]
fn and_at_the_time_it_takes() {
    let shelf = Shelf::new();
    for _ in 0..100 {
        shelf.accept();
    }
    let slow = |_: &Message| {
        // As long as a look at a disk may take.
        let begun = Instant::now();
        while begun.elapsed() < PAGE_TIME / 4 {}
        false
    };
    let pages = walk(&shelf, false, slow);
    assert!(pages.len() >= 100 / 16, "{} pages", pages.len());
    assert!(pages.concat().is_empty());
    // What is kept is not held back, however long it takes.
    let all = walk(&shelf, false, |message| !slow(message));
    assert_eq!((all.len(), all[0].len()), (1, 100));
}

#[test]
fn a_page_ends_behind_so_many_bytes_of_payload() {
    let shelf = Shelf::new();
    for _ in 0..9 {
        shelf.try_accept(new_message(&vec![b'1'; PAGE_BYTES / 4])).unwrap();
    }
    let lengths = |with_payload| {
        walk(&shelf, with_payload, |_| true).iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!((lengths(true), lengths(false)), (vec![4, 4, 1], vec![9]));
}
