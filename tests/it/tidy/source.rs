//! Splits Rust text: comments and literals blanked out, test code apart from the rest.
//!
//! A small scanner, not a parser. It keeps every line where it was, so that a finding has its line
//! number, and it errs towards calling code ordinary, where the rules are stricter.
use std::collections::BTreeSet;
use std::path::Path;

/// Whether a file is compiled into the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is.
    Ordinary,
    /// Only into tests.
    Test,
    /// Only into an example.
    Example,
}

/// One file, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// From the root of the project, with `/`.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// What the file is compiled into.
    pub place: Place,
    /// Its code, without comments and literals and without test code.
    pub ordinary: String,
    /// Its test code, without comments and literals.
    pub tests: String,
}

/// Splits all files of a project, which are given as path and text. They are looked at together,
/// because a `#[cfg(test)] mod name;` in one file makes test code of another.
pub fn sources(files: Vec<(String, String)>) -> Vec<Source> {
    let mut test_places = BTreeSet::new();
    for (path, text) in &files {
        test_places.extend(test_modules(path, text));
    }
    files
        .into_iter()
        .map(|(path, text)| {
            let code = blank(&text);
            let in_tests = path.starts_with("tests/")
                || code.contains("#![cfg(test)]")
                || test_places.iter().any(|place| path == *place || is_below(&path, place));
            let place = match (in_tests, path.starts_with("examples/")) {
                (true, _) => Place::Test,
                (false, true) => Place::Example,
                (false, false) => Place::Ordinary,
            };
            let spans = test_spans(&code);
            let (ordinary, tests) = match place {
                Place::Test => (String::new(), code),
                Place::Ordinary | Place::Example => {
                    (keep(&code, &spans, false), keep(&code, &spans, true))
                }
            };
            Source { path, text, place, ordinary, tests }
        })
        .collect()
}

/// Whether a path lies in the folder of a module: `a/b/c.rs` below `a/b` or `a/b.rs`.
fn is_below(path: &str, module: &str) -> bool {
    let folder = module.trim_end_matches(".rs").trim_end_matches("/mod");
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// A token: a word, `::`, or a single sign, with the byte where it begins.
pub type Token<'a> = (usize, &'a str);

/// The tokens of blanked code.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(first) = rest.chars().next() {
        let at = code.len() - rest.len();
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !first.is_whitespace() {
            tokens.push((at, token));
        }
        rest = after;
    }
    tokens
}

/// The line of a byte, counted from 1.
pub fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Blanks out comments and the insides of literals. Bytes and lines stay where they are.
pub fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, literal) = literal_or_comment(rest, previous);
        if length == 0 {
            out.push(first);
            previous = first;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (gone, after) = rest.split_at(length);
        for (index, byte) in gone.bytes().enumerate() {
            let edge = literal && (index == 0 || index + 1 == length);
            out.push(if byte == b'\n' {
                '\n'
            } else if edge {
                '"'
            } else {
                ' '
            });
        }
        previous = '"';
        rest = after;
    }
    out
}

/// The length of the comment or literal that begins here, 0 for neither, and whether it is a
/// literal.
fn literal_or_comment(rest: &str, previous: char) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    let in_word = previous.is_alphanumeric() || previous == '_';
    if let Some(length) = raw_text(rest).filter(|_| !in_word) {
        return (length, true);
    }
    if rest.starts_with('"') {
        return (quoted(rest), true);
    }
    if rest.starts_with('\'') {
        return (character(rest), true);
    }
    (0, false)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, with a `b` or `c` before it.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + length)
}

fn quoted(rest: &str) -> usize {
    let mut escaped = true;
    for (at, letter) in rest.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let inside = rest.get(1..).unwrap_or_default();
    if inside.starts_with('\\') {
        let end = inside.char_indices().skip(2).find(|(_, letter)| *letter == '\'');
        return end.map_or(0, |(at, _)| at + 2);
    }
    let Some(letter) = inside.chars().next() else { return 0 };
    let after = inside.get(letter.len_utf8()..).unwrap_or_default();
    if after.starts_with('\'') { letter.len_utf8() + 2 } else { 0 }
}

/// Where the items under `#[cfg(test)]` begin and end.
fn test_spans(code: &str) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for begin in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (at, _) in code.match_indices(begin) {
            spans.push((at, item_end(code, at)));
        }
    }
    spans.sort_unstable();
    spans
}

/// The end of the item whose attributes begin at `start`: its `;`, or the brace that closes it.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    let mut in_attribute = false;
    let mut previous = "";
    for (at, token) in tokens(code.get(start..).unwrap_or_default()) {
        let at = start + at;
        match token {
            "[" if depth == 0 && previous == "#" => {
                in_attribute = true;
                depth += 1;
            }
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 && token == "}" && !in_attribute {
                    return at + 1;
                }
                in_attribute &= depth != 0;
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        previous = token;
    }
    code.len()
}

/// The files and folders that `#[cfg(test)] mod name;` in this file makes test code.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let code = blank(text);
    let path = Path::new(path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().unwrap_or_default();
    let owns_folder = ["mod", "lib", "main"].iter().any(|name| stem == *name);
    let children = if owns_folder { folder.to_owned() } else { folder.join(stem) };
    let mut found = Vec::new();
    for (start, end) in test_spans(&code) {
        let item = code.get(start..end).unwrap_or_default();
        let words = tokens(item);
        let named = words.windows(3).find_map(|three| match three {
            [(_, "mod"), (_, name), (_, ";")] => Some(*name),
            _ => None,
        });
        let Some(name) = named else { continue };
        let written = text.get(start..end).unwrap_or_default();
        let file = written.split("#[path = \"").nth(1).and_then(|rest| rest.split('"').next());
        let places = match file {
            Some(file) => vec![folder.join(file)],
            None => vec![children.join(format!("{name}.rs")), children.join(name).join("mod.rs")],
        };
        found.extend(places.iter().map(|place| place.to_string_lossy().into_owned()));
    }
    found
}

/// The code inside or outside of the spans, the rest blanked out.
fn keep(code: &str, spans: &[(usize, usize)], inside: bool) -> String {
    let mut kept = String::with_capacity(code.len());
    for (at, letter) in code.char_indices() {
        let within = spans.iter().any(|(start, end)| (*start..*end).contains(&at));
        if letter == '\n' || within == inside {
            kept.push(letter);
        } else {
            (0..letter.len_utf8()).for_each(|_| kept.push(' '));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let code = blank(text);
            assert_eq!(code.len(), text.len(), "{text}");
            assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        }
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check("f(\"a \\\" // b\", c)", "f(\" \", c)");
        check("r#\"a\" b\"# c", "\" \" c");
        check("br\"a\\\" b", "\" \" b");
        check("let for_ = number\"x\"", "let for_ = number\" \"");
        check("'a' 'b: &'c str '\\'' '\\u{1}' 'é' x", "\" \" 'b: &'c str \" \" \" \" \" \" x");
        check("\"never closed", "\" \"");
        check("/* never closed", "");
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        #[track_caller]
        fn check(text: &str, ordinary: &str, tests: &str) {
            let file = ("src/x.rs".to_owned(), text.to_owned());
            let sources = sources(vec![file]);
            let words = |code: &str| code.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(&sources[0].ordinary), ordinary, "{text}");
            assert_eq!(words(&sources[0].tests), tests, "{text}");
        }
        check("a; #[cfg(test)] mod t { b {} } c", "a; c", "#[cfg(test)] mod t { b {} }");
        check("#[cfg(test)] use a::b; c", "c", "#[cfg(test)] use a::b;");
        check(
            "#[cfg(test)] fn f() -> [u8; 2] { x } c",
            "c",
            "#[cfg(test)] fn f() -> [u8; 2] { x }",
        );
        check("#[cfg(test)] #[x(y)] mod t; c", "c", "#[cfg(test)] #[x(y)] mod t;");
        check("#[cfg(all(test, unix))] fn f() {} c", "c", "#[cfg(all(test, unix))] fn f() {}");
        check(
            "struct S { a: u8, #[cfg(test)] b: u8 } c",
            "struct S { a: u8, } c",
            "#[cfg(test)] b: u8",
        );
        check("#[cfg(not(test))] fn f() {}", "#[cfg(not(test))] fn f() {}", "");
        check("// #[cfg(test)]\nfn f() {}", "fn f() {}", "");
        check("#![cfg(test)] fn f() {}", "", "#![cfg(test)] fn f() {}");
    }

    #[test]
    fn a_test_module_makes_test_files() {
        let text =
            "#[cfg(test)]\nmod sim;\n#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\nmod a;";
        let paths = [
            "src/lib.rs",
            "src/sim/mod.rs",
            "src/sim/clock.rs",
            "src/simple.rs",
            "src/a_tests.rs",
            "src/a.rs",
            "src/a/sim.rs",
            "tests/it/main.rs",
            "examples/bench.rs",
        ];
        let file = |path: &str| {
            (path.to_owned(), if path == "src/lib.rs" { text.to_owned() } else { String::new() })
        };
        let sources = sources(paths.map(file).into());
        let tests: Vec<&str> = sources
            .iter()
            .filter(|source| source.place == Place::Test)
            .map(|source| source.path.as_str())
            .collect();
        let expected = ["src/sim/mod.rs", "src/sim/clock.rs", "src/a_tests.rs", "tests/it/main.rs"];
        assert_eq!(tests, expected);
        assert_eq!(sources[8].place, Place::Example);
        let below = test_modules("src/store/check.rs", "#[cfg(test)] mod tests;");
        assert_eq!(below, ["src/store/check/tests.rs", "src/store/check/tests/mod.rs"]);
    }
}
