//! Reading a TOML table key by key, collecting every problem instead of stopping at the first.
//!
//! A key that nobody asked for is a problem too, with the nearest name that exists.
//! Only `table` uses it.

use std::fmt;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a profile table, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line in the text, counting from 1.
    pub line: usize,
    /// The profile's name; empty when the text as a whole is wrong.
    pub profile: String,
    /// The key, with its table in front: `body_digest.hash`. Empty when the profile as a whole
    /// is wrong.
    pub key: String,
    /// The value as it was written, shortened; empty when there is none.
    pub value: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.profile.is_empty() {
            write!(f, "profile `{}`: ", self.profile)?;
        }
        match (self.key.as_str(), self.value.as_str()) {
            ("", _) => {}
            (key, "") => write!(f, "`{key}`: ")?,
            (key, value) => write!(f, "`{key} = {value}`: ")?,
        }
        f.write_str(&self.message)
    }
}

/// Longest value shown in a problem.
const MAX_SHOWN: usize = 60;

/// The whole text, and what has been found wrong in it.
pub(super) struct Findings<'t> {
    pub(super) text: &'t str,
    pub(super) problems: Vec<Problem>,
}

impl Findings<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }

    fn shown(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        let mut line = text.lines().next().unwrap_or_default().chars();
        let shown: String = line.by_ref().take(MAX_SHOWN).collect();
        if line.next().is_some() || text.contains('\n') { shown + "…" } else { shown }
    }

    /// A problem of the text itself, such as a missing quote.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let line = self.line(error.span().map_or(0, |span| span.start));
        let (profile, key, value) = (String::new(), String::new(), String::new());
        let message = format!("this is not TOML: {}", error.message());
        self.problems.push(Problem { line, profile, key, value, message });
    }
}

/// One table of one profile.
pub(super) struct Reader<'r, 't, 'i> {
    findings: &'r mut Findings<'t>,
    table: &'r DeTable<'i>,
    profile: &'r str,
    /// `body_digest.`, or nothing.
    prefix: String,
    /// Where the table begins, for what is missing from it.
    at: usize,
    known: Vec<&'static str>,
}

/// A value with the place it stands at.
pub(super) struct Placed<T> {
    pub(super) value: T,
    span: Range<usize>,
}

impl<'r, 't, 'i> Reader<'r, 't, 'i> {
    pub(super) fn new(
        findings: &'r mut Findings<'t>,
        table: &'r DeTable<'i>,
        profile: &'r str,
        at: usize,
    ) -> Self {
        Self { findings, table, profile, prefix: String::new(), at, known: Vec::new() }
    }

    fn find(&mut self, key: &'static str) -> Option<(&'r DeValue<'i>, Range<usize>)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((value.get_ref(), value.span()))
    }

    /// Reports `key`, whose value stands at `span`.
    pub(super) fn wrong(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        let line = self.findings.line(span.start);
        let value = self.findings.shown(span);
        self.push(line, key, value, message.into());
    }

    /// Reports that something about `key` is missing or does not go with the rest.
    pub(super) fn lacking(&mut self, key: &str, message: impl Into<String>) {
        let at = self.table.get(key).map_or(self.at, |value| value.span().start);
        let line = self.findings.line(at);
        self.push(line, key, String::new(), message.into());
    }

    fn push(&mut self, line: usize, key: &str, value: String, message: String) {
        let key = if key.is_empty() { String::new() } else { format!("{}{key}", self.prefix) };
        let profile = self.profile.to_owned();
        self.findings.problems.push(Problem { line, profile, key, value, message });
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<String>> {
        let (value, span) = self.find(key)?;
        let Some(text) = value.as_str() else {
            self.wrong(key, span, "must be a text in quotes");
            return None;
        };
        Some(Placed { value: text.to_owned(), span })
    }

    pub(super) fn plain(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key)?;
        if text.value.is_empty() {
            self.wrong(key, text.span, "must not be empty; leave the key out instead");
            return None;
        }
        Some(text.value)
    }

    /// A text that `parse` understands; its error is what is reported.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.wrong(key, text.span, message);
                None
            }
        }
    }

    /// One of some names.
    pub(super) fn one_of<T>(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Option<T>,
        names: &str,
    ) -> Option<T> {
        self.parsed(key, |text| parse(text).ok_or(format!("must be one of {names}")))
    }

    /// A text or a list of texts, each of which `parse` understands. An empty list is a problem.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, span) = self.find(key)?;
        let texts: Vec<(Option<&str>, Range<usize>)> = match value {
            DeValue::String(text) => vec![(Some(text), span)],
            DeValue::Array(items) if !items.is_empty() => {
                items.iter().map(|item| (item.get_ref().as_str(), item.span())).collect()
            }
            DeValue::Array(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![(None, span)],
        };
        let mut parsed = Vec::with_capacity(texts.len());
        for (text, span) in texts {
            match text.ok_or("must be a text or a list of texts".to_owned()).and_then(&parse) {
                Ok(value) => parsed.push(value),
                Err(message) => self.wrong(key, span, message),
            }
        }
        Some(parsed)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (value, span) = self.find(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong(key, span, "must be true or false");
        }
        flag
    }

    pub(super) fn number(&mut self, key: &'static str, range: Range<u32>) -> Option<u32> {
        let (value, span) = self.find(key)?;
        let integer = value.as_integer();
        let number = integer.and_then(|int| u32::from_str_radix(int.as_str(), int.radix()).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("must be a number from {} to {}", range.start, range.end - 1);
            self.wrong(key, span, message);
        }
        number
    }

    /// A table under `key`, read by `read`; its unknown keys are reported.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_, 't, 'i>) -> T,
    ) -> Option<T> {
        let (value, span) = self.find(key)?;
        let Some(table) = value.as_table() else {
            self.wrong(key, span, "must be a table");
            return None;
        };
        Some(self.inner(key, table, span.start, read))
    }

    /// A list of tables under `key`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Reader<'_, 't, 'i>) -> T,
    ) -> Option<Vec<T>> {
        let (value, span) = self.find(key)?;
        let Some(items) = value.as_array() else {
            self.wrong(key, span, "must be a list of tables");
            return None;
        };
        let mut all = Vec::new();
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => all.push(self.inner(key, table, item.span().start, &read)),
                None => self.wrong(key, item.span(), "must be a table"),
            }
        }
        Some(all)
    }

    fn inner<T>(
        &mut self,
        key: &str,
        table: &'r DeTable<'i>,
        at: usize,
        read: impl FnOnce(&mut Reader<'_, 't, 'i>) -> T,
    ) -> T {
        let mut inner = Reader::new(self.findings, table, self.profile, at);
        inner.prefix = format!("{}{key}.", self.prefix);
        let value = read(&mut inner);
        inner.finish();
        value
    }

    /// All pairs of a table whose keys are free and whose values are texts.
    pub(super) fn pairs<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str, &str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.table(key, |inner| {
            let mut all = Vec::new();
            let table = inner.table;
            for (name, value) in table {
                let name = name.get_ref();
                let text = value.get_ref().as_str().ok_or("must be a text in quotes".to_owned());
                match text.and_then(|text| parse(name, text)) {
                    Ok(pair) => all.push(pair),
                    Err(message) => inner.wrong(name, value.span(), message),
                }
            }
            inner.known.push(ANY_KEY);
            all
        })
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(mut self) {
        if self.known.contains(&ANY_KEY) {
            return;
        }
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|known| distance(known, name));
            let message = match nearest.filter(|known| distance(known, name) <= 3) {
                Some(known) => format!("there is no such key; did you mean `{known}`?"),
                None => format!("there is no such key; there are {}", self.known.join(", ")),
            };
            let line = self.findings.line(key.span().start);
            self.push(line, name, String::new(), message);
        }
    }
}

const ANY_KEY: &str = "*";

/// Edits between two names: insertions, removals and replacements.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (b, cell) in right.chars().zip(row.iter_mut().skip(1)) {
            let edited = (diagonal + usize::from(a != b)).min(before + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, edited);
            before = edited;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in
            [("", "abc", 3), ("abc", "abc", 0), ("sig", "sgi", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
            assert_eq!(distance(right, left), edits, "{right} {left}");
        }
    }
}
