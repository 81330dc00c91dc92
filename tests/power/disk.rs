//! What a power cut can leave: files and names as the trace says they were changed, and the disks
//! they may add up to when the power goes at some place of the trace.
//!
//! The model, on the careful side of what ext4, xfs and btrfs promise:
//!
//! - `fsync` and `fdatasync` of a file make durable what was written to it by calls that had come
//!   back before the barrier was begun, and its length. Nothing else does: `sync_file_range` does
//!   not, nor does closing, renaming, or the barrier of another file.
//! - A name (a new file or folder, a rename, a removal) is durable after `fsync` of the folder it
//!   stands in. That ext4 also keeps the name of a new file at `fsync` of the file itself is luck
//!   that this model does not count on.
//! - Whatever is not durable is there, or not, or torn at pages of 4 KiB, each page and each name
//!   by itself and in any order; a file may have grown without its new bytes (they read as zero).
//! - A rename is there or not as a whole.
//!
//! `image.rs` rolls the dice about what is not durable.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::image::{Dice, Entry, Files, Mode, PAGE, Plan, real_files};
use crate::trace::{Kind, Record};

/// "Not yet", and "never happened" as a beginning.
const NEVER: u64 = u64::MAX;
const MADE_NEW: u32 = 0x8000_0000;
const O_TRUNC: u32 = 0o1000;
/// `O_DSYNC`; `O_SYNC` contains it.
const O_DSYNC: u32 = 0o10000;

type Id = usize;
type Name = (Id, String);

/// What the trace amounts to.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub writes: u64,
    pub bytes: u64,
    pub barriers: u64,
    pub sync_ranges: u64,
    pub names: u64,
}

/// From one barrier to the next, of whatever file.
#[derive(Clone, Copy, Default)]
pub struct Stretch {
    pub begin: u64,
    pub end: u64,
    /// Bytes written in it.
    pub bytes: u64,
}

/// What a call does to a file.
pub enum Change {
    Bytes { offset: u64, data: Vec<u8> },
    Length(u64),
}

/// One such call: the places where it began and came back.
pub struct Op {
    pub begin: u64,
    pub end: u64,
    pub change: Change,
}

/// A file or a folder with its history.
#[derive(Default)]
pub struct Node {
    folder: bool,
    pub ops: Vec<Op>,
    /// Barriers that succeeded: where they began and ended.
    barriers: Vec<(u64, u64)>,
}

impl Node {
    /// What ended before this place is durable when the power goes at `cut`.
    pub fn durable_before(&self, cut: u64) -> u64 {
        self.barriers
            .iter()
            .filter(|(_, end)| *end <= cut)
            .map(|(begin, _)| *begin)
            .max()
            .unwrap_or(0)
    }
}

enum Naming {
    Set(Name, Id),
    Remove(Name),
    Move { from: Name, to: Name, node: Id },
}

struct Named {
    begin: u64,
    end: u64,
    naming: Naming,
}

/// A call that has begun.
enum Running {
    Op(Id, usize),
    Name(usize),
    Barrier(Id, u64),
    /// The model expects this call to fail, and says why.
    Impossible(String),
}

/// Files and names below one folder, with their history.
pub struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    names: Vec<Named>,
    /// The names as the daemon sees them.
    now: BTreeMap<Name, Id>,
    descriptors: HashMap<i32, Id>,
    running: HashMap<u64, Running>,
    pub counts: Counts,
    /// Those that a barrier ended.
    pub stretches: Vec<Stretch>,
    /// The one that goes on.
    stretch: Stretch,
}

impl Disk {
    /// An empty folder, or one with empty folders in it that are durable.
    pub fn new(root: &Path, folders: &[&str]) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            nodes: vec![Node { folder: true, ..Node::default() }],
            names: Vec::new(),
            now: BTreeMap::new(),
            descriptors: HashMap::new(),
            running: HashMap::new(),
            counts: Counts::default(),
            stretches: Vec::new(),
            stretch: Stretch::default(),
        };
        for folder in folders {
            let node = disk.node(true);
            let name = (0, (*folder).to_owned());
            disk.now.insert(name.clone(), node);
            disk.names.push(Named { begin: 0, end: 0, naming: Naming::Set(name, node) });
        }
        // Place 0 stands before the trace, whose first record has place 1.
        disk.nodes[0].barriers.push((1, 0));
        disk
    }

    /// Takes the record that stands at this place of the trace.
    pub fn see(&mut self, place: u64, record: &Record) -> Result<(), String> {
        match (record.kind, record.end) {
            (Kind::Open | Kind::Mkdir | Kind::Unlink | Kind::Rename | Kind::Link, false) => {
                self.begin_name(place, record);
            }
            (Kind::Open, true) => self.opened(place, record)?,
            (Kind::Close, _) => drop(self.descriptors.remove(&record.fd)),
            (Kind::Dup, _) => {
                let node = self.at(record.fd)?;
                let copy = i32::try_from(record.offset).unwrap_or(-1);
                self.descriptors.insert(copy, node);
            }
            (Kind::Write, false) => {
                self.counts.writes += 1;
                self.counts.bytes += record.data.len() as u64;
                self.stretch.bytes += record.data.len() as u64;
                let change = Change::Bytes { offset: record.offset, data: record.data.clone() };
                self.begin_op(place, record, change)?;
            }
            (Kind::Truncate, false) => {
                self.begin_op(place, record, Change::Length(record.offset))?;
            }
            (Kind::Sync, false) => {
                let node = self.at(record.fd)?;
                self.running.insert(record.call, Running::Barrier(node, place));
            }
            (Kind::SyncRange, _) => self.counts.sync_ranges += 1,
            (Kind::Unknown, _) => {
                return Err(format!("the model knows no such call: {}", record.text()));
            }
            (Kind::Answer | Kind::Request, _) => {}
            (_, true) => self.end(place, record)?,
        }
        Ok(())
    }

    /// The process is gone: calls that never came back are settled by looking at the real folder,
    /// which must then equal what the trace adds up to. A difference means that the daemon
    /// changes files in a way the shim does not see.
    pub fn settle(&mut self, place: u64) -> Result<(), String> {
        self.descriptors.clear();
        let mut half_done = Vec::new();
        for running in std::mem::take(&mut self.running).into_values() {
            match running {
                Running::Op(node, op) => {
                    self.nodes[node].ops[op].end = place;
                    half_done.push(node);
                }
                Running::Name(index) => self.settle_name(place, index),
                Running::Barrier(..) | Running::Impossible(_) => {}
            }
        }
        let real = real_files(&self.root)?;
        let told = self.image(Plan { cut: place, mode: Mode::Everything, seed: 0 });
        let names =
            |files: &Files| files.keys().map(|path| path.display().to_string()).collect::<Vec<_>>();
        if names(&real) != names(&told) {
            return Err(unseen(&format!(
                "files {:?}, by the trace {:?}",
                names(&real),
                names(&told)
            )));
        }
        for (path, real) in real {
            let told = &told[&path];
            let (Some(bytes), Some(told)) = (&real.bytes, &told.bytes) else { continue };
            if bytes != told {
                let node = self.lookup(&path).ok_or("a file without a node")?;
                if !half_done.contains(&node) {
                    let at = bytes.iter().zip(told).take_while(|(real, told)| real == told).count();
                    return Err(unseen(&format!(
                        "{} differs from byte {at} on: it has {} bytes, by the trace {}",
                        path.display(),
                        bytes.len(),
                        told.len()
                    )));
                }
                self.correct(place, node, bytes, told);
            }
        }
        Ok(())
    }

    /// The names that a cut at this place may take back, without sled's snapshots: sled never
    /// makes those durable, and does without them.
    pub fn unsure_names(&self, cut: u64) -> Vec<String> {
        let told =
            self.names.iter().filter(|named| named.begin <= cut && !self.is_durable(named, cut));
        let text = told.map(|named| match &named.naming {
            Naming::Set((_, name), _) => format!("{name} made"),
            Naming::Remove((_, name)) => format!("{name} removed"),
            Naming::Move { from, to, .. } => format!("{} renamed to {}", from.1, to.1),
        });
        text.filter(|text| !text.starts_with("snap.")).collect()
    }

    /// Everything that is on the disk when the plan is carried out.
    pub fn image(&self, plan: Plan) -> Files {
        let mut dice = Dice::new(plan);
        let mut names: BTreeMap<Name, Id> = BTreeMap::new();
        for named in self.names.iter().filter(|named| named.begin <= plan.cut) {
            if self.is_durable(named, plan.cut) || dice.has_whole(named.begin) {
                apply(&mut names, &named.naming);
            }
        }
        let mut files = Files::new();
        self.collect(0, Path::new(""), &names, &mut dice, &mut files);
        files
    }

    fn collect(
        &self,
        folder: Id,
        at: &Path,
        names: &BTreeMap<Name, Id>,
        dice: &mut Dice,
        files: &mut Files,
    ) {
        for ((_, name), id) in names.range((folder, String::new())..(folder + 1, String::new())) {
            let path = at.join(name);
            let bytes = if self.nodes[*id].folder {
                self.collect(*id, &path, names, dice, files);
                None
            } else {
                Some(dice.file(&self.nodes[*id]))
            };
            files.insert(path, Entry { bytes });
        }
    }

    fn is_durable(&self, named: &Named, cut: u64) -> bool {
        let covered = |name: &Name| named.end < self.nodes[name.0].durable_before(cut);
        match &named.naming {
            Naming::Set(name, _) | Naming::Remove(name) => covered(name),
            Naming::Move { from, to, .. } => covered(from) && covered(to),
        }
    }

    fn opened(&mut self, place: u64, record: &Record) -> Result<(), String> {
        if record.flags & O_DSYNC != 0 {
            return Err("the model knows no O_SYNC or O_DSYNC".to_owned());
        }
        if record.flags & MADE_NEW != 0 {
            self.end(place, record)?;
        }
        if record.result < 0 {
            return Ok(());
        }
        let path = record.text();
        let Some(node) = self.lookup(&self.relative(&path)?) else {
            return Err(unseen(&format!("{path} was opened, but never made")));
        };
        self.descriptors.insert(record.fd, node);
        if record.flags & O_TRUNC != 0 && record.flags & MADE_NEW == 0 {
            let op = Op { begin: place, end: place, change: Change::Length(0) };
            self.nodes[node].ops.push(op);
        }
        Ok(())
    }

    fn begin_op(&mut self, place: u64, record: &Record, change: Change) -> Result<(), String> {
        let node = self.at(record.fd)?;
        self.nodes[node].ops.push(Op { begin: place, end: NEVER, change });
        self.running.insert(record.call, Running::Op(node, self.nodes[node].ops.len() - 1));
        Ok(())
    }

    fn begin_name(&mut self, place: u64, record: &Record) {
        let running = match self.naming(record) {
            Ok(naming) => {
                self.names.push(Named { begin: place, end: NEVER, naming });
                Running::Name(self.names.len() - 1)
            }
            // As a rule the call then fails too: making a folder is tried before its parent is.
            Err(problem) => Running::Impossible(problem),
        };
        self.running.insert(record.call, running);
    }

    fn naming(&mut self, record: &Record) -> Result<Naming, String> {
        let text = record.text();
        if matches!(record.kind, Kind::Rename | Kind::Link) {
            let (from, to) = text.split_once('\n').ok_or("a rename or link without two names")?;
            let (from, to) = (self.name(from)?, self.name(to)?);
            let node =
                *self.now.get(&from).ok_or_else(|| unseen(&format!("{text}: never made")))?;
            let is_link = record.kind == Kind::Link;
            return Ok(if is_link {
                Naming::Set(to, node)
            } else {
                Naming::Move { node, from, to }
            });
        }
        let name = self.name(&text)?;
        if record.kind == Kind::Unlink {
            return Ok(Naming::Remove(name));
        }
        Ok(Naming::Set(name, self.node(record.kind == Kind::Mkdir)))
    }

    /// A call came back.
    fn end(&mut self, place: u64, record: &Record) -> Result<(), String> {
        let failed = record.result < 0;
        match self.running.remove(&record.call) {
            Some(Running::Op(node, op)) => {
                let op = &mut self.nodes[node].ops[op];
                op.end = place;
                if failed {
                    op.begin = NEVER;
                } else if let Change::Bytes { data, .. } = &mut op.change {
                    data.truncate(usize::try_from(record.result).unwrap_or(0));
                }
            }
            Some(Running::Name(index)) => self.end_name(place, index, failed),
            Some(Running::Barrier(node, begin)) if !failed => {
                self.counts.barriers += 1;
                self.nodes[node].barriers.push((begin, place));
                self.stretches.push(Stretch { end: place, ..self.stretch });
                self.stretch = Stretch { begin: place, ..Stretch::default() };
            }
            Some(Running::Impossible(problem)) if !failed => return Err(problem),
            Some(Running::Barrier(..) | Running::Impossible(_)) | None => {}
        }
        Ok(())
    }

    fn end_name(&mut self, place: u64, index: usize, failed: bool) {
        let named = &mut self.names[index];
        named.end = place;
        if failed {
            named.begin = NEVER;
        } else {
            self.counts.names += 1;
            apply(&mut self.now, &named.naming);
        }
    }

    fn settle_name(&mut self, place: u64, index: usize) {
        let exists = |name: &Name| self.path(name).is_some_and(|path| path.exists());
        let done = match &self.names[index].naming {
            Naming::Set(name, _) => exists(name),
            Naming::Remove(name) | Naming::Move { from: name, .. } => !exists(name),
        };
        self.end_name(place, index, !done);
    }

    /// A write was cut short by the kill: what is really there becomes part of the history.
    fn correct(&mut self, place: u64, node: Id, real: &[u8], told: &[u8]) {
        let size = usize::try_from(PAGE).unwrap_or(4096);
        for (number, page) in real.chunks(size).enumerate() {
            let start = number * size;
            if told.get(start..start + page.len()) != Some(page) {
                let change = Change::Bytes { offset: start as u64, data: page.to_vec() };
                self.nodes[node].ops.push(Op { begin: place, end: place, change });
            }
        }
        let change = Change::Length(real.len() as u64);
        self.nodes[node].ops.push(Op { begin: place, end: place, change });
    }

    fn node(&mut self, folder: bool) -> Id {
        self.nodes.push(Node { folder, ..Node::default() });
        self.nodes.len() - 1
    }

    fn at(&self, fd: i32) -> Result<Id, String> {
        self.descriptors.get(&fd).copied().ok_or_else(|| unseen(&format!("descriptor {fd}")))
    }

    /// The folder and the last part of an absolute path.
    fn name(&self, path: &str) -> Result<Name, String> {
        let path = self.relative(path)?;
        let name = path.file_name().ok_or("the root itself cannot be changed")?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let folder = self
            .lookup(parent)
            .ok_or_else(|| unseen(&format!("folder {} of {}", parent.display(), path.display())))?;
        Ok((folder, name.to_string_lossy().into_owned()))
    }

    /// The path below the root, with `..` taken out.
    fn relative(&self, path: &str) -> Result<PathBuf, String> {
        let mut plain = PathBuf::new();
        for part in Path::new(path) {
            if part == ".." {
                plain.pop();
            } else {
                plain.push(part);
            }
        }
        let below = plain.strip_prefix(&self.root);
        below.map(Path::to_owned).map_err(|_| format!("{path} is not below the recorded folder"))
    }

    /// The node of a path relative to the root, as the daemon sees it.
    fn lookup(&self, path: &Path) -> Option<Id> {
        path.iter().try_fold(0, |folder, part| {
            self.now.get(&(folder, part.to_string_lossy().into_owned())).copied()
        })
    }

    fn path(&self, name: &Name) -> Option<PathBuf> {
        if name.0 == 0 {
            return Some(self.root.join(&name.1));
        }
        let (above, _) = self.now.iter().find(|(_, id)| **id == name.0)?;
        Some(self.path(above)?.join(&name.1))
    }
}

fn apply(names: &mut BTreeMap<Name, Id>, naming: &Naming) {
    match naming {
        Naming::Set(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Remove(name) => drop(names.remove(name)),
        Naming::Move { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

fn unseen(what: &str) -> String {
    format!(
        "the shim does not see all that the daemon does to its files ({what}): does it use raw \
         system calls (rustix), or a call that shim.c does not intercept?"
    )
}
