//! The only place where the process writes to its terminal.
//!
//! Results go to stdout, everything about the work to stderr, so that a pipe gets results only.
//! Text from outside (payloads, descriptions, answers) loses its control characters first: a
//! webhook must not be able to drive the terminal that shows it.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

/// Writes one line to stdout.
///
/// # Errors
/// Stdout is closed or full.
pub fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes bytes to stdout as they are: for a pipe, not for a terminal.
///
/// # Errors
/// As [`line`].
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes a JSON value to stdout, indented.
///
/// # Errors
/// As [`line`].
pub fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Writes one line to stderr. Nothing can be done about a stderr that is gone.
pub fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Whether stdout is a terminal that may be coloured.
pub fn colour() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !forbidden
}

/// Puts colour around text, or leaves it alone.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Colour if stdout takes it.
    pub fn for_stdout() -> Self {
        Self { on: colour() }
    }

    /// Never any colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { on: false }
    }

    /// Green: as it should be.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Red: wrong.
    pub fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Yellow: worth a look.
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Faint: beside the point.
    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    /// Bold: a heading.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text from outside, fit for one line of a terminal: white space becomes one space, other control
/// and direction-changing characters go, and at most `max` characters stay.
pub fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::new();
    let mut chars = 0;
    for piece in text.split_whitespace() {
        if !cleaned.is_empty() {
            cleaned.push(' ');
            chars += 1;
        }
        for c in piece.chars().filter(|&c| !drives_terminal(c)) {
            if chars >= max {
                cleaned.push('…');
                return cleaned;
            }
            cleaned.push(c);
            chars += 1;
        }
    }
    cleaned
}

/// Control characters, and the invisible ones that change the direction or order of what follows.
fn drives_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_is_made_harmless() {
        let check = |text: &str, max, expected: &str| assert_eq!(clean(text, max), expected);
        check("plain", 10, "plain");
        check("a\n\tb  c\r\n", 10, "a b c");
        check("\x1b[31mred\x1b[0m\u{7}", 20, "[31mred[0m");
        check("a\u{9b}31mb\u{202e}c", 20, "a31mbc");
        check("", 0, "");
        check("abc", 3, "abc");
        check("abcd", 3, "abc…");
        check("ééé é", 4, "ééé …");
    }

    #[test]
    fn paint_is_off_unless_asked() {
        assert_eq!(Paint::plain().good("x"), "x");
        assert_eq!(Paint { on: true }.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
