//! How large a group may be, and what is set aside, on a small disk in memory where one can be had.

use super::super::fresh::ENDED_BYTES;
use super::super::tidy::STEP;
use super::super::trees::ROW_BYTES;
use super::*;

const MIB: u64 = 1 << 20;

#[test]
fn a_group_is_a_part_of_what_is_left_and_none_at_the_floor() {
    #[track_caller]
    fn check(left: u64, expected: Option<usize>) {
        assert_eq!(room(left, 8 * MIB), expected, "{left} bytes left");
    }
    check(8 * MIB, Some(GROUP_BYTES));
    check(6 * MIB, Some(GROUP_BYTES));
    check(6 * MIB - 1, Some(436_906));
    check(4 * MIB, Some(256 * 1024));
    check(FLOOR + 12, Some(1));
    check(FLOOR, Some(1));
    check(FLOOR - 1, None);
    check(0, None);
}

#[test]
fn the_reserve_takes_the_largest_group() {
    let group = 2 * 4 * (GROUP_BYTES as u64 + 256 * 1024 + ENDED_BYTES as u64);
    // And what sled moves for a step of tidying: a page for ten changes, of up to 17 rows.
    let tidying = STEP / 10 * 17 * ROW_BYTES as u64;
    assert!(enough(LEAST_RESERVE) >= FLOOR + group + tidying);
}

fn reserve(path: &Path, wanted: u64) -> Reserve {
    let file = File::options().write(true).create(true).truncate(true).open(path).unwrap();
    Reserve { file: Some(file), wanted, backed_to: 0, length: 0, blocks: 0 }
}

#[test]
fn what_is_missing_is_set_aside_and_what_was_cut_off_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut reserve = reserve(&path, 8 * MIB);
    assert_eq!(reserve.top_up(1 << 40), 8 * MIB);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "the length stays");
    let file = reserve.file.as_ref().unwrap().try_clone().unwrap();
    let grow = |to: u64| {
        use std::os::unix::fs::FileExt as _;
        let from = file.metadata().unwrap().len();
        file.write_all_at(&vec![1; usize::try_from(to - from).unwrap()], from).unwrap();
    };
    grow(MIB);
    assert_eq!(reserve.top_up(1 << 40), 7 * MIB, "enough");
    grow(3 * MIB);
    assert_eq!(reserve.top_up(0), 5 * MIB, "no room for more");
    assert_eq!(reserve.top_up(2 * MIB), 5 * MIB + 3 * MIB / 2, "half of what is missing");
    assert_eq!(reserve.top_up(1 << 40), 6 * MIB + MIB / 2, "enough");
    // Cut off and longer again before anybody looked.
    file.set_len(2 * MIB).unwrap();
    grow(4 * MIB);
    assert_eq!(reserve.top_up(0), 0);
    assert_eq!(reserve.top_up(1 << 40), 8 * MIB);
    file.set_len(MIB).unwrap();
    assert_eq!(reserve.top_up(0), 0);
}

#[test]
fn what_expires_from_a_grown_file_is_held_until_it_has_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let space = Space::new(folder.path(), 0, 4 * MIB);
    let look = |size: u64| space.settle(size);
    look(4 * MIB + 1);
    assert!(space.check_for(1000).is_err(), "over the limit");
    space.freed(2000);
    assert!(space.check_for(1000).is_ok());
    assert!(space.check_for(1000).is_err(), "the credit is spent");
    look(5 * MIB + 1);
    space.freed(4000);
    assert!(space.check_for(900).is_ok(), "a quarter, and what was left");
    assert!(space.check_for(1000).is_err());
    look(5 * MIB + 1);
    assert!(space.check_for(1000).is_err(), "still grown");
    look(5 * MIB - 2000);
    assert!(space.check_for(900).is_ok(), "what there is room for");
    assert!(space.check_for(900).is_err());
    look(5 * MIB - 6000);
    assert!(space.check_for(1900).is_ok(), "the rest");
    assert!(space.check_for(1000).is_err());
    look(5 * MIB + 1);
    space.freed(100 << 20);
    look(5 * MIB - 2000);
    assert!(space.check_for((25 << 20) + 2000).is_err(), "not all at once");
}

#[test]
fn room_inside_of_the_file_is_there_until_it_is_filled_or_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let space = Space::new(folder.path(), 0, 4 * MIB);
    space.settle(4 * MIB + 1);
    space.freed(10_000);
    // Just below the limit and above it again.
    space.settle(4 * MIB - 1);
    space.settle(4 * MIB + 1);
    assert!(space.check_for(2000).is_ok());
    space.settle(4 * MIB - 8000);
    assert!(space.check_for(1000).is_ok(), "below the limit");
    space.settle(4 * MIB + 1);
    // 10,000 - 2064 - 1064 - 4000
    assert!(space.check_for(2900).is_err());
    assert!(space.check_for(2800).is_ok());
    space.freed(100 << 20);
    space.settle(4 * MIB + 1);
    assert!(space.check_for(2 << 20).is_err(), "more than the file can hold");
    assert!(space.check_for(1 << 20).is_ok());
}
