//! What was written: each key with its value as it stands there, and the place.
//!
//! Reads TOML text and environment variables into the same shape, so that every later step is the
//! same for both. It knows the names of the keys and nothing about their meaning. The tree is
//! walked by hand rather than by `derive(Deserialize)`, because serde stops at the first fault and
//! an operator wants all of them, each with its line.
use super::problem::{Origin, Problem};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every key there is, in the order of `data/posthaste.toml`.
pub const KEYS: [&str; 30] = [
    "server.listen",
    "server.jwt_secret",
    "server.max_payload",
    "server.max_connections",
    "server.header_timeout",
    "server.body_timeout",
    "server.shutdown_grace",
    "server.encryption_key",
    "server.encryption_key_old",
    "server.public_url",
    "storage.path",
    "storage.sync",
    "storage.retention",
    "storage.max_size",
    "storage.cache",
    "storage.min_free",
    "delivery.retry_schedule",
    "delivery.timeout",
    "delivery.max_in_flight",
    "delivery.per_endpoint_in_flight",
    "delivery.allow_networks",
    "delivery.https_only",
    "delivery.proxy",
    "delivery.ca_file",
    "delivery.client_cert_file",
    "delivery.default_signature",
    "inbound.spool",
    "console.enabled",
    "log.level",
    "log.format",
];

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Quoted text in a file.
    Text(String),
    /// A whole number in a file.
    Number(i64),
    /// `true` or `false` in a file.
    Switch(bool),
    /// An array in a file.
    List(Vec<Value>),
    /// Text from an environment variable or a flag, which says nothing of its type.
    Untyped(String),
    /// Something no key takes: a date, a fraction, a table. Holds its text.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Untyped(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What stands there.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// What one place says, key by key.
#[derive(Debug, Default)]
pub struct Layer {
    /// The known keys that were written.
    pub keys: BTreeMap<&'static str, Written>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What looks like a mistake and may be none.
    pub warnings: Vec<Problem>,
}

/// Variables that begin with `POSTHASTE_` and belong to the command line, not to a key.
const OTHER_VARIABLES: [&str; 5] =
    ["POSTHASTE_CONFIG", "POSTHASTE_SERVER", "POSTHASTE_URL", "POSTHASTE_TOKEN", "POSTHASTE_DATA"];

/// Short names that are in use for a key, beside the regular one.
const SHORT_VARIABLES: [(&str, &str); 1] = [("POSTHASTE_JWT_SECRET", "server.jwt_secret")];

/// Longest key that is compared with the known ones for "did you mean".
const LONGEST_GUESS: usize = 64;

/// Reads the text of a configuration file. `origin` makes the place out of a line number.
pub fn parse_file(text: &str, origin: &dyn Fn(usize) -> Origin) -> Layer {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut walk = Walk { text, origin, keys: BTreeMap::new(), found: Vec::new() };
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        walk.problem(at, "syntax", error.message(), "mend the TOML; see https://toml.io");
    }
    walk.top(table.get_ref());
    walk.found.sort_by_key(|(at, _)| *at);
    let problems = walk.found.into_iter().map(|(_, problem)| problem).collect();
    Layer { keys: walk.keys, problems, warnings: Vec::new() }
}

/// A place in a named file, for [`parse_file`].
pub fn lines_of(path: &Path) -> impl Fn(usize) -> Origin {
    move |line| Origin::file(path, line)
}

/// Reads `POSTHASTE_SECTION_KEY` variables. An empty variable counts as not set, because that is
/// how compose files and unit files spell it.
pub fn parse_environment(environment: &BTreeMap<String, String>) -> Layer {
    let mut layer = Layer::default();
    let ours = environment.iter().filter(|(name, value)| {
        name.starts_with("POSTHASTE_") && !value.is_empty() && !is_foreign(name)
    });
    for (name, value) in ours {
        let short = SHORT_VARIABLES.iter().find(|(short, _)| short == name);
        let wanted = short.map(|(_, key)| *key);
        let key = KEYS.into_iter().find(|key| Some(*key) == wanted || variable(key) == *name);
        let Some(key) = key else {
            layer.warnings.push(unknown_variable(name));
            continue;
        };
        let written = Written {
            value: Value::Untyped(value.clone()),
            origin: Origin::Environment(name.clone()),
        };
        // The regular name sorts after the short one only by chance, so it is asked for.
        if short.is_none() || !layer.keys.contains_key(key) {
            layer.keys.insert(key, written);
        }
    }
    layer
}

/// The environment variable of a key: `delivery.timeout` is `POSTHASTE_DELIVERY_TIMEOUT`.
pub fn variable(key: &str) -> String {
    format!("POSTHASTE_{}", key.replace('.', "_").to_uppercase())
}

/// Whether a variable is the command line's, or one that Kubernetes sets in every container for a
/// service by the name of `posthaste`.
fn is_foreign(name: &str) -> bool {
    OTHER_VARIABLES.contains(&name)
        || name.starts_with("POSTHASTE_SERVICE_")
        || name == "POSTHASTE_PORT"
        || name.starts_with("POSTHASTE_PORT_")
}

fn unknown_variable(name: &str) -> Problem {
    // Without the beginning they share, a fifth of the letters means something.
    let plain = |name: &str| name.trim_start_matches("POSTHASTE_").to_lowercase();
    let names: Vec<String> = KEYS.iter().map(|key| plain(&variable(key))).collect();
    let way_out = match closest(&plain(name), names.iter().map(String::as_str)) {
        Some(close) => format!("did you mean POSTHASTE_{}?", close.to_uppercase()),
        None => "see posthaste config show for the keys".to_owned(),
    };
    Problem {
        key: name.to_owned(),
        value: None,
        origin: None,
        what: "this environment variable is no key and has no effect".to_owned(),
        way_out,
    }
}

/// Goes through the tables of one file.
struct Walk<'a> {
    text: &'a str,
    origin: &'a dyn Fn(usize) -> Origin,
    keys: BTreeMap<&'static str, Written>,
    /// Each problem with the byte it begins at.
    found: Vec<(usize, Problem)>,
}

impl Walk<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let section: &str = name.get_ref();
            let at = name.span().start;
            if !sections().contains(&section) {
                self.problem(at, section, "is no section", &section_way_out(section));
            } else if let DeValue::Table(keys) = value.get_ref() {
                self.section(section, keys);
            } else {
                let way_out = format!("write [{section}] on a line and its keys below it");
                self.problem(at, section, "is a section, not a key", &way_out);
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{section}.{}", name.get_ref());
            let at = name.span().start;
            let Some(key) = KEYS.into_iter().find(|key| *key == full) else {
                self.problem(at, &full, "is no key", &key_way_out(section, &full));
                continue;
            };
            let written = Written { value: self.value(value), origin: self.place(at) };
            self.keys.insert(key, written);
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(on) => Value::Switch(*on),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Other(number.to_string()), Value::Number),
            DeValue::Array(values) => {
                Value::List(values.iter().map(|value| self.value(value)).collect())
            }
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
                Value::Other(self.text.get(value.span()).unwrap_or("a table").to_owned())
            }
        }
    }

    fn problem(&mut self, at: usize, key: &str, what: &str, way_out: &str) {
        let problem = Problem {
            key: key.to_owned(),
            value: None,
            origin: Some(self.place(at)),
            what: what.replace('\n', ", "),
            way_out: way_out.to_owned(),
        };
        self.found.push((at, problem));
    }

    /// The place of a byte of the text: its line, counted from 1.
    fn place(&self, at: usize) -> Origin {
        let before = self.text.bytes().take(at);
        (self.origin)(1 + before.filter(|byte| *byte == b'\n').count())
    }
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&str> =
        KEYS.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section).collect();
    sections.dedup();
    sections
}

fn section_way_out(written: &str) -> String {
    let inside = KEYS.iter().find(|key| key.ends_with(&format!(".{written}")));
    if let Some((section, _)) = inside.and_then(|key| key.split_once('.')) {
        return format!("write it below a line that says [{section}]");
    }
    match closest(written, sections().into_iter()) {
        Some(close) => format!("did you mean [{close}]?"),
        None => format!("the sections are {}", sections().join(", ")),
    }
}

fn key_way_out(section: &str, written: &str) -> String {
    let plain = snake_case(written);
    if let Some(close) = closest(&plain, KEYS.into_iter()) {
        return format!("did you mean {close}?");
    }
    let last = plain.rsplit('.').next().unwrap_or_default();
    if let Some(elsewhere) = KEYS.iter().find(|key| key.ends_with(&format!(".{last}"))) {
        return format!("did you mean {elsewhere}?");
    }
    let start = format!("{section}.");
    let keys: Vec<&str> = KEYS.iter().filter_map(|key| key.strip_prefix(&start)).collect();
    format!("the keys of [{section}] are {}", keys.join(", "))
}

/// `maxPayload` and `max-payload` are `max_payload`.
fn snake_case(written: &str) -> String {
    let mut plain = String::new();
    for letter in written.chars() {
        if letter.is_ascii_uppercase() {
            plain.push('_');
        }
        plain.push(if letter == '-' { '_' } else { letter.to_ascii_lowercase() });
    }
    plain
}

/// The candidate that is the fewest edits away, if that is at most a fifth of the letters or two.
pub fn closest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST_GUESS {
        return None;
    }
    candidates
        .map(|candidate| (edits(written, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= candidate.chars().count().div_ceil(5).max(2))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed to turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.chars()) {
            let changed = diagonal + usize::from(letter != other);
            diagonal = *cell;
            left = changed.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
