//! From a folder to one declaration: every `*.toml` in it, in the order of names, together.
//!
//! A name may be described once. References to secrets are followed. Faults carry file and line.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path as FilePath, PathBuf};

use toml::de::{DeTable, DeValue};

use super::declaration::{Declaration, Path};
use crate::config::limits::CONFIG_FILE;
use crate::config::load::Environment;
use crate::config::problem::{Origin, Problem, Problems};
use crate::config::secret::resolve;
use crate::config::watch::MAX_FILES;

/// How deep keys have places of their own: `applications.shop.endpoints.crm.url`.
const DEPTH: usize = 5;

/// Where each key stands.
#[derive(Debug, Default, Clone)]
pub struct Lines(BTreeMap<Path, (PathBuf, usize)>);

impl Lines {
    /// The place of a key, or of the nearest one around it.
    pub fn origin(&self, at: &[String]) -> Option<Origin> {
        let mut rest = at;
        loop {
            if let Some((file, line)) = self.0.get(rest) {
                return Some(Origin::file(file, *line));
            }
            rest = rest.get(..rest.len().checked_sub(1)?)?;
        }
    }

    /// A problem at a key.
    pub fn problem(
        &self,
        at: &[String],
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Problem {
        Problem {
            key: at.join("."),
            value: None,
            origin: self.origin(at),
            what: what.into(),
            way_out: way_out.into(),
        }
    }
}

/// The folder that holds the files: `DIR/conf.d` if there is one, else `DIR`.
pub fn folder_of(dir: &FilePath) -> PathBuf {
    let inner = dir.join("conf.d");
    if inner.is_dir() { inner } else { dir.to_owned() }
}

/// Reads a folder. A folder that is not there describes nothing.
///
/// # Errors
/// Every problem that can be seen at once.
pub fn read(
    folder: &FilePath,
    environment: &Environment,
) -> Result<(Declaration, Lines), Problems> {
    let mut problems = Vec::new();
    let (mut whole, mut lines) = (Declaration::default(), Lines::default());
    for file in files(folder)? {
        match read_file(&file) {
            Ok(text) => add(&file, &text, &mut whole, &mut lines, &mut problems),
            Err(problem) => problems.push(*problem),
        }
    }
    for (at, text) in whole.references() {
        match resolve(text, environment) {
            Ok(secret) => secret.reveal().clone_into(text),
            Err(fault) => problems.push(lines.problem(&at, fault.what, fault.way_out)),
        }
    }
    if problems.is_empty() { Ok((whole, lines)) } else { Err(Problems(problems)) }
}

fn files(folder: &FilePath) -> Result<Vec<PathBuf>, Problems> {
    let unreadable = |err: std::io::Error| {
        let way_out = "make it readable for this user, or name another folder";
        Problems(vec![whole_file(folder, format!("cannot be read ({err})"), way_out)])
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(unreadable(err)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    if found.len() > MAX_FILES {
        let what = format!("has more than {MAX_FILES} files");
        return Err(Problems(vec![whole_file(folder, what, "put several things into one file")]));
    }
    Ok(found)
}

fn whole_file(path: &FilePath, what: impl Into<String>, way_out: &str) -> Problem {
    Problem {
        key: path.display().to_string(),
        value: None,
        origin: None,
        what: what.into(),
        way_out: way_out.to_owned(),
    }
}

fn read_file(path: &FilePath) -> Result<String, Box<Problem>> {
    let failed = |err: std::io::Error| {
        let what = format!("cannot be read ({err})");
        Box::new(whole_file(path, what, "make it a readable text file"))
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(CONFIG_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > CONFIG_FILE {
        return Err(Box::new(whole_file(path, "is larger than 1 MiB", "split it")));
    }
    Ok(text)
}

fn add(
    file: &FilePath,
    text: &str,
    whole: &mut Declaration,
    lines: &mut Lines,
    problems: &mut Vec<Problem>,
) {
    let part: Declaration = match toml::from_str(text) {
        Ok(part) => part,
        Err(err) => {
            let line = line_at(text, err.span().map_or(0, |span| span.start));
            problems.push(Problem {
                key: "syntax".to_owned(),
                value: None,
                origin: Some(Origin::file(file, line)),
                what: err.message().trim().replace('\n', " "),
                way_out: "mend the file".to_owned(),
            });
            return;
        }
    };
    let mut own = Lines::default();
    if let (table, errors) = DeTable::parse_recoverable(text)
        && errors.is_empty()
    {
        collect(file, text, table.get_ref(), &mut Vec::new(), &mut own);
    }
    let names = |kind: &str, names: Vec<&String>| -> Vec<Path> {
        names.into_iter().map(|name| vec![kind.to_owned(), name.clone()]).collect()
    };
    let described = [
        names("event_types", part.event_types.keys().collect()),
        names("applications", part.applications.keys().collect()),
        names("sources", part.sources.keys().collect()),
    ];
    for at in described.concat() {
        if let Some((other, line)) = lines.0.get(&at) {
            let what = format!("is described in {}:{line} already", other.display());
            problems.push(own.problem(&at, what, "describe it once, in one file"));
        }
    }
    lines.0.extend(own.0);
    whole.event_types.extend(part.event_types);
    whole.applications.extend(part.applications);
    whole.sources.extend(part.sources);
    whole.providers.0.push_str(&part.providers.0);
}

/// Notes the line of every key, down to [`DEPTH`].
fn collect(file: &FilePath, text: &str, table: &DeTable<'_>, at: &mut Path, lines: &mut Lines) {
    for (key, value) in table {
        at.push(key.get_ref().to_string());
        lines.0.insert(at.clone(), (file.to_owned(), line_at(text, key.span().start)));
        if at.len() < DEPTH
            && let DeValue::Table(inner) = value.get_ref()
        {
            collect(file, text, inner, at, lines);
        }
        at.pop();
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
