//! Images of the disk: decides what of the things that are not durable is there, and writes the
//! outcome into a folder. `disk.rs` says what is durable.
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::disk::{Change, Node, Op};
use crate::support::Chance;

/// What a drive writes as a whole, in bytes.
pub const PAGE: u64 = 4096;

/// How what is not durable fares in one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// None of it is there.
    Nothing,
    /// All of it is there, as after a mere kill.
    Everything,
    /// What was done before some moment is there; the last of it is torn.
    Prefix,
    /// Each page as it was at some moment since it was last durable; each name there or not.
    Pages,
    /// Each piece of a page that a write touched, and each name, is there or not.
    Pieces,
}

pub const MODES: [Mode; 5] =
    [Mode::Nothing, Mode::Everything, Mode::Prefix, Mode::Pages, Mode::Pieces];

/// One image: everything needed to build it again.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The power goes right after this place of the trace.
    pub cut: u64,
    pub mode: Mode,
    pub seed: u64,
}

/// A file with its bytes, or a folder.
pub struct Entry {
    pub bytes: Option<Vec<u8>>,
}

/// Path below the root to what is there; a folder sorts before what is in it.
pub type Files = BTreeMap<PathBuf, Entry>;

/// Writes an image into a new folder.
pub fn write_out(files: &Files, root: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(root)?;
    for (path, entry) in files {
        match &entry.bytes {
            // Modes are not part of the model; nothing of the daemon's may be open to others.
            None => std::fs::DirBuilder::new().mode(0o700).create(root.join(path))?,
            Some(bytes) => {
                let mut private = std::fs::OpenOptions::new();
                let mut file =
                    private.write(true).create_new(true).mode(0o600).open(root.join(path))?;
                file.write_all(bytes)?;
            }
        }
    }
    Ok(())
}

/// What is really there.
pub fn real_files(root: &Path) -> Result<Files, String> {
    fn walk(root: &Path, at: &Path, files: &mut Files) -> std::io::Result<()> {
        for entry in std::fs::read_dir(root.join(at))? {
            let entry = entry?;
            let path = at.join(entry.file_name());
            let bytes = if entry.file_type()?.is_dir() {
                walk(root, &path, files)?;
                None
            } else {
                Some(std::fs::read(entry.path())?)
            };
            files.insert(path, Entry { bytes });
        }
        Ok(())
    }
    let mut files = Files::new();
    walk(root, Path::new(""), &mut files).map_err(|error| error.to_string())?;
    Ok(files)
}

/// Decides what of the things that are not durable is there.
pub struct Dice {
    plan: Plan,
    chance: Chance,
    /// Of a hundred undecided things so many are there.
    percent: u64,
    /// `Prefix`: what was begun up to here is there.
    moment: u64,
}

impl Dice {
    pub fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed, 7);
        let percent = [3, 20, 50, 80, 97][usize::try_from(chance.between(0, 4)).unwrap_or(0)];
        // Most of what is undecided lies close to the cut.
        let back = [4, 40, 400, 4_000][usize::try_from(chance.between(0, 3)).unwrap_or(0)];
        let moment = plan.cut.saturating_sub(chance.between(0, back));
        Self { plan, chance, percent, moment }
    }

    /// Whether a change of a name or a length that began there is on the disk.
    pub fn has_whole(&mut self, begin: u64) -> bool {
        match self.plan.mode {
            Mode::Nothing => false,
            Mode::Everything => true,
            Mode::Prefix => begin <= self.moment,
            Mode::Pages | Mode::Pieces => self.chance.percent(self.percent),
        }
    }

    /// The bytes of one file.
    pub fn file(&mut self, node: &Node) -> Vec<u8> {
        let durable = node.durable_before(self.plan.cut);
        let cut = self.plan.cut;
        let ops = || node.ops.iter().filter(|op| op.begin <= cut);
        let last = ops().map(|op| op.begin).filter(|begin| *begin <= self.moment).max();
        let mut pages = self.plan_pages(ops().filter(|op| op.end >= durable));
        let mut bytes = Vec::new();
        let mut full = 0;
        for op in ops() {
            let sure = op.end < durable;
            match &op.change {
                Change::Length(length) => {
                    full = *length;
                    if sure || self.has_whole(op.begin) {
                        bytes.resize(usize::try_from(*length).unwrap_or(0), 0);
                    }
                }
                Change::Bytes { offset, data } => {
                    full = full.max(offset + data.len() as u64);
                    for (page, start, piece) in pieces(*offset, data) {
                        let torn = last == Some(op.begin);
                        if sure || self.has_piece(op.begin, torn, page, &mut pages) {
                            put(&mut bytes, start, piece);
                        }
                    }
                }
            }
        }
        let mixed = matches!(self.plan.mode, Mode::Pages | Mode::Pieces);
        if mixed && full > bytes.len() as u64 && self.chance.percent(30) {
            bytes.resize(usize::try_from(full).unwrap_or(0), 0);
        }
        bytes
    }

    fn has_piece(
        &mut self,
        begin: u64,
        torn: bool,
        page: u64,
        pages: &mut HashMap<u64, u64>,
    ) -> bool {
        match self.plan.mode {
            Mode::Prefix => begin <= self.moment && (!torn || self.chance.percent(50)),
            Mode::Pages => {
                let left = pages.entry(page).or_default();
                let there = *left > 0;
                *left = left.saturating_sub(1);
                there
            }
            Mode::Nothing | Mode::Everything | Mode::Pieces => self.has_whole(begin),
        }
    }

    /// For each page how many of its undecided changes are there: the first so many.
    fn plan_pages<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> HashMap<u64, u64> {
        let mut pages: HashMap<u64, u64> = HashMap::new();
        if self.plan.mode != Mode::Pages {
            return pages;
        }
        for op in ops {
            if let Change::Bytes { offset, data } = &op.change {
                for (page, ..) in pieces(*offset, data) {
                    *pages.entry(page).or_default() += 1;
                }
            }
        }
        for (page, count) in &mut pages {
            let mut chance = Chance::new(self.plan.seed, 1 << 32 | page);
            *count = match chance.between(0, 3) {
                0 => chance.between(0, *count),
                _ if chance.percent(self.percent) => *count,
                _ => 0,
            };
        }
        pages
    }
}

/// The parts of a write that fall into one page each: page, offset in the file, bytes.
fn pieces(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let start = offset + done as u64;
        let room = usize::try_from(PAGE - start % PAGE).unwrap_or(1);
        let piece = data.get(done..)?;
        let piece = piece.get(..room.min(piece.len()))?;
        done += piece.len();
        (!piece.is_empty()).then_some((start / PAGE, start, piece))
    })
}

fn put(bytes: &mut Vec<u8>, offset: u64, piece: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(0);
    let end = start + piece.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(piece);
}
