//! Tests of the test: the disk model on small histories written by hand.
use std::collections::HashSet;
use std::path::Path;

use crate::disk::Disk;
use crate::image::{Files, MODES, Plan};
use crate::trace::{Kind, Record};

const ROOT: &str = "/root-of-the-model";
const CREATE: u32 = 0x8000_0000 | 0o100;
const TRIES: u64 = 300;

/// A history that is written by hand: each call makes its two records.
struct Script {
    disk: Disk,
    place: u64,
    call: u64,
}

impl Script {
    fn new() -> Self {
        Self { disk: Disk::new(Path::new(ROOT), &["data"]), place: 0, call: 0 }
    }

    fn record(&mut self, kind: Kind, end: bool, fd: i32, offset: u64, data: &[u8]) {
        self.place += 1;
        let flags = if kind == Kind::Open { CREATE } else { 0 };
        let result =
            if kind == Kind::Write { data.len() } else { usize::try_from(fd).unwrap_or(0) };
        let result = i64::try_from(result).unwrap();
        let data = if end && kind != Kind::Open { Vec::new() } else { data.to_vec() };
        let record = Record { kind, end, call: self.call, result, offset, fd, flags, data };
        self.disk.see(self.place, &record).expect("the model takes the record");
    }

    fn call(&mut self, kind: Kind, fd: i32, offset: u64, data: &[u8]) {
        self.call += 1;
        self.record(kind, false, fd, offset, data);
        self.record(kind, true, fd, offset, data);
    }

    fn create(&mut self, fd: i32, path: &str) {
        self.call(Kind::Open, fd, 0, format!("{ROOT}/{path}").as_bytes());
    }

    /// `fsync` of the folder `data`.
    fn sync_data_folder(&mut self) {
        self.place += 1;
        let data = format!("{ROOT}/data").into_bytes();
        let open = Record {
            kind: Kind::Open,
            end: true,
            call: 0,
            result: 90,
            offset: 0,
            fd: 90,
            flags: 0,
            data,
        };
        self.disk.see(self.place, &open).expect("the model takes the record");
        self.call(Kind::Sync, 90, 0, b"");
    }

    /// All contents that the file has in many images; `None` is "not there".
    fn outcomes(&self, path: &str) -> HashSet<Option<Vec<u8>>> {
        let plans = MODES
            .iter()
            .flat_map(|mode| (0..TRIES).map(|seed| Plan { cut: self.place, mode: *mode, seed }));
        plans.map(|plan| content(&self.disk.image(plan), path)).collect()
    }
}

fn content(files: &Files, path: &str) -> Option<Vec<u8>> {
    files.get(Path::new(path)).and_then(|entry| entry.bytes.clone())
}

pub fn check() -> Result<(), String> {
    let page = |byte: u8| vec![byte; 4096];
    let two = |first: u8, second: u8| [page(first), page(second)].concat();

    let mut script = Script::new();
    script.create(5, "data/db");
    script.call(Kind::Write, 5, 0, &two(1, 1));
    let all = script.outcomes("data/db");
    wants(
        &all,
        "nothing synced",
        &[None, Some(Vec::new()), Some(page(1)), Some(two(0, 1)), Some(two(1, 1))],
    )?;

    script.call(Kind::Sync, 5, 0, b"");
    is(&script.outcomes("data/db"), "the name is not synced", &[None, Some(two(1, 1))])?;
    script.sync_data_folder();
    is(&script.outcomes("data/db"), "all synced", &[Some(two(1, 1))])?;

    script.call(Kind::Write, 5, 0, &two(2, 2));
    script.call(Kind::SyncRange, 5, 0, b"");
    let torn = [two(1, 1), two(1, 2), two(2, 1), two(2, 2)].map(Some);
    is(&script.outcomes("data/db"), "a later write, torn", &torn)?;

    // A barrier that began before the write came back does not cover it.
    script.call(Kind::Sync, 5, 0, b"");
    script.call = 1_000;
    script.record(Kind::Write, false, 5, 0, &page(3));
    script.call = 1_001;
    script.record(Kind::Sync, false, 5, 0, b"");
    script.call = 1_000;
    script.record(Kind::Write, true, 5, 0, &page(3));
    script.call = 1_001;
    script.record(Kind::Sync, true, 5, 0, b"");
    is(
        &script.outcomes("data/db"),
        "a write while a barrier ran",
        &[Some(two(2, 2)), Some(two(3, 2))],
    )?;
    script.call(Kind::Sync, 5, 0, b"");
    is(&script.outcomes("data/db"), "the next barrier", &[Some(two(3, 2))])?;

    script.call(Kind::Truncate, 5, 4096, b"");
    is(&script.outcomes("data/db"), "cut short", &[Some(two(3, 2)), Some(page(3))])?;
    script.call(Kind::Rename, -1, 0, format!("{ROOT}/data/db\n{ROOT}/data/new").as_bytes());
    let names: HashSet<_> = MODES
        .iter()
        .flat_map(|mode| (0..TRIES).map(|seed| Plan { cut: script.place, mode: *mode, seed }))
        .map(|plan| {
            let files = script.disk.image(plan);
            (content(&files, "data/db").is_some(), content(&files, "data/new").is_some())
        })
        .collect();
    is(&names, "renamed as a whole or not", &[(true, false), (false, true)])?;
    script.sync_data_folder();
    is(&script.outcomes("data/db"), "the rename is synced", &[None])
}

fn is<T: Eq + std::hash::Hash + Clone>(
    got: &HashSet<T>,
    what: &str,
    expected: &[T],
) -> Result<(), String> {
    wants(got, what, expected)?;
    if got.len() == expected.len() {
        return Ok(());
    }
    Err(format!("{what}: {} outcomes, {} are possible", got.len(), expected.len()))
}

fn wants<T: Eq + std::hash::Hash>(
    got: &HashSet<T>,
    what: &str,
    expected: &[T],
) -> Result<(), String> {
    match expected.iter().position(|one| !got.contains(one)) {
        None => Ok(()),
        Some(index) => Err(format!("{what}: outcome {index} of {} never comes", expected.len())),
    }
}
