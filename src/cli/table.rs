//! Tables and property lists as plain text, and the small readers of JSON that fill them.

use serde_json::Value;

use super::out::clean;

/// Widest cell, in characters. Ids have 33; URLs and descriptions are cut.
const MAX_CELL_CHARS: usize = 60;

/// Longest value in a property list, in characters.
const MAX_VALUE_CHARS: usize = 2000;

/// Rows under a heading, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// Adds a row. Cells are cleaned and cut; an empty one is shown as `-`.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(|cell| {
            let cell = clean(cell.as_ref(), MAX_CELL_CHARS);
            if cell.is_empty() { "-".to_owned() } else { cell }
        });
        self.rows.push(cells.collect());
    }

    /// The text, without a line break at its end.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Every field of an object on a line of its own, names aligned. Anything else as JSON.
pub fn properties(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| {
        format!("{name:width$}  {}", clean(&plain(value), MAX_VALUE_CHARS)).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A field as a person reads it: text without quotes, nothing for `null` or absent.
pub fn field(value: &Value, name: &str) -> String {
    value.get(name).map_or_else(String::new, plain)
}

/// A JSON value as a person reads it; a list of texts joined by commas.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["app_1", ""]);
        table.row(["é", "two\x1b[2J words"]);
        assert_eq!(table.render(), "ID     NAME\napp_1  -\né      two[2J words");
    }

    #[test]
    fn cells_are_cut_at_their_limit() {
        let mut table = Table::new(&["A"]);
        table.row(["x".repeat(MAX_CELL_CHARS)]);
        table.row(["x".repeat(MAX_CELL_CHARS + 1)]);
        let text = table.render();
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [1, MAX_CELL_CHARS, MAX_CELL_CHARS + 1]);
        assert!(text.ends_with("x…"));
    }

    #[test]
    fn values_are_shown_as_people_read_them() {
        let value = json!({"a": null, "name": "x", "list": ["p", "q"], "deep": {"n": 1}});
        assert_eq!(properties(&value), "a\ndeep  {\"n\":1}\nlist  p, q\nname  x");
        assert_eq!(field(&value, "missing"), "");
        assert_eq!(field(&value, "list"), "p, q");
    }
}
