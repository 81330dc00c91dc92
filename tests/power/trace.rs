//! Reads what the shim wrote down (shim.c says what the records mean and why their order is true),
//! and finds the promises in it: which `202` began to leave the daemon when, and which delivery
//! was first tried when.
use std::collections::HashMap;
use std::path::Path;

use crate::record::LITTER_TYPE;

const MAGIC: u32 = 0x3152_5750;
const HEADER: usize = 48;
/// Longer records are a sign of a broken trace.
const MAX_LENGTH: usize = 64 << 20;
/// Characters after the prefix of an id.
const ID_TAIL: usize = 27;

/// Keep in step with `enum kind` in shim.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Open,
    Close,
    Dup,
    Write,
    Truncate,
    Sync,
    SyncRange,
    Rename,
    Link,
    Unlink,
    Mkdir,
    Answer,
    Request,
    Unknown,
}

const KINDS: [Kind; 14] = [
    Kind::Open,
    Kind::Close,
    Kind::Dup,
    Kind::Write,
    Kind::Truncate,
    Kind::Sync,
    Kind::SyncRange,
    Kind::Rename,
    Kind::Link,
    Kind::Unlink,
    Kind::Mkdir,
    Kind::Answer,
    Kind::Request,
    Kind::Unknown,
];

/// One thing the shim wrote down.
#[derive(Clone, Debug)]
pub struct Record {
    pub kind: Kind,
    /// The call came back; otherwise it is about to be made.
    pub end: bool,
    /// Joins the two records of one call.
    pub call: u64,
    pub result: i64,
    pub offset: u64,
    pub fd: i32,
    pub flags: u32,
    pub data: Vec<u8>,
}

impl Record {
    /// Whether a file or a name begins to change here.
    pub fn changes_something(&self) -> bool {
        let names = [Kind::Rename, Kind::Link, Kind::Unlink, Kind::Mkdir];
        let contents = [Kind::Open, Kind::Write, Kind::Truncate];
        !self.end && (names.contains(&self.kind) || contents.contains(&self.kind))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// All records of one process, in order. The last one may be cut off by a kill and is then left out.
pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= HEADER {
        let (header, after) = rest.split_at(HEADER);
        let length = number(header, 40, 4) as usize;
        let kind = KINDS.get((number(header, 4, 2) as usize).wrapping_sub(1));
        let (Some(kind), true) = (kind, number(header, 0, 4) == u64::from(MAGIC)) else {
            return Err(format!("the trace is garbled after {} records", records.len()));
        };
        if length > MAX_LENGTH {
            return Err(format!("a record of {length} bytes after {} records", records.len()));
        }
        if after.len() < length {
            break;
        }
        let (data, after) = after.split_at(length);
        records.push(Record {
            kind: *kind,
            end: number(header, 6, 2) == 1,
            call: number(header, 8, 8),
            result: number(header, 16, 8).cast_signed(),
            offset: number(header, 24, 8),
            fd: (number(header, 32, 4) as u32).cast_signed(),
            flags: number(header, 36, 4) as u32,
            data: data.to_vec(),
        });
        rest = after;
    }
    Ok(records)
}

fn number(header: &[u8], at: usize, size: usize) -> u64 {
    header[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// What the daemon told its clients and did for them, with the place in the trace.
#[derive(Default)]
pub struct Promises {
    /// Message id to the place where its first `202` began to leave.
    pub acknowledged: HashMap<String, u64>,
    /// Message id to the place where its first delivery began to leave.
    pub tried: HashMap<String, u64>,
    streams: HashMap<(Kind, i32), String>,
}

impl Promises {
    /// Takes the record that stands at this place of the trace.
    pub fn see(&mut self, place: u64, record: &Record) {
        if !matches!(record.kind, Kind::Answer | Kind::Request) {
            return;
        }
        let stream = self.streams.entry((record.kind, record.fd)).or_default();
        if record.flags == 1 {
            stream.clear();
        }
        stream.push_str(&record.text());
        if record.kind == Kind::Answer {
            // The client can know the id as soon as the part that holds it has left. Of litter
            // nothing is promised; its answers are short and leave whole.
            if stream.starts_with("HTTP/1.1 202")
                && !stream.contains(LITTER_TYPE)
                && let Some(id) = message_id(stream)
            {
                self.acknowledged.entry(id).or_insert(place);
                stream.clear();
            }
        } else if let Some(at) = stream.to_ascii_lowercase().find("webhook-id:")
            && let Some(id) = stream.get(at..).and_then(message_id)
        {
            self.tried.entry(id).or_insert(place);
            stream.clear();
        }
    }

    /// The process ended; its descriptors mean nothing any more.
    pub fn end_of_process(&mut self) {
        self.streams.clear();
    }
}

/// The first message id in a text.
fn message_id(text: &str) -> Option<String> {
    let start = text.find("msg_")?;
    let id = text.get(start..start + 4 + ID_TAIL)?;
    id.get(4..)?.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| id.to_owned())
}
