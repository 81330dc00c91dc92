//! The rules, each for one file: what it finds is a line for a person, with path and line number.
use super::source::{Place, Source, Token, line, tokens};

/// Test code may say why it sleeps, on the same line or the one above.
const SLEEP_REASON: &str = "// sleep: ";

/// Uses of a module that the table does not allow, and modules that it does not name.
pub fn edges(source: &Source, table: &[(&str, &[&str])]) -> Vec<String> {
    let Some(module) = module_of(&source.path) else { return Vec::new() };
    let code = match source.place {
        Place::Test if module == "sim" => &source.tests,
        Place::Ordinary | Place::Test | Place::Example => &source.ordinary,
    };
    let row = table.iter().find(|(name, _)| *name == module);
    let mut found = Vec::new();
    for (at, used) in root_names(code, depth_of(&source.path)) {
        let allowed = row.is_some_and(|(_, allowed)| allowed.contains(&used));
        if used == module || allowed {
            continue;
        }
        let known = table.iter().any(|(name, _)| *name == used);
        let why = if row.is_none() {
            format!("module {module} is not in the table")
        } else if known {
            format!("module {module} may not use {used}")
        } else {
            format!("{used} is no module of the table; name the module that owns it")
        };
        found.push(finding(source, at, &why));
    }
    found
}

/// Packages that are named outside of their homes.
pub fn homes(source: &Source, table: &[(&str, &[&str])]) -> Vec<String> {
    if source.place != Place::Ordinary {
        return Vec::new();
    }
    let tokens = tokens(&source.ordinary);
    let mut found = Vec::new();
    for (index, (at, word)) in tokens.iter().enumerate() {
        let Some((_, homes)) = table.iter().find(|(package, _)| package == word) else { continue };
        let at_home = homes.iter().any(|home| source.path.starts_with(home));
        if !at_home && begins_a_path(&tokens, index) {
            let why = format!("{word} may be used in {} only", homes.join(", "));
            found.push(finding(source, *at, &why));
        }
    }
    found
}

/// Files with more lines than fit a chapter.
pub fn length(source: &Source, longest: usize) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= longest {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines, at most {longest} are allowed", source.path)]
}

/// Files that do not begin with `//!`.
pub fn introduction(source: &Source) -> Vec<String> {
    let first = source.text.lines().find(|line| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("#!")
    });
    if first.is_some_and(|line| line.starts_with("//! ")) || source.text.contains("#![doc =") {
        return Vec::new();
    }
    vec![format!("{}: begin with //! and say what the file is for", source.path)]
}

/// Tests that sleep. A sleep that *is* the behaviour under test says so with `// sleep: why`.
pub fn sleeps(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for sleep in ["thread::sleep", "time::sleep"] {
        for (at, _) in source.tests.match_indices(sleep) {
            let line = line(&source.tests, at);
            let here = lines.iter().skip(line.saturating_sub(2)).take(2.min(line));
            if !here.into_iter().any(|line| line.contains(SLEEP_REASON)) {
                found.push(finding(
                    source,
                    at,
                    "a test waits on a signal with a limit, not a sleep",
                ));
            }
        }
    }
    found
}

/// What was put off.
pub fn unfinished(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for code in [&source.ordinary, &source.tests] {
        let tokens = tokens(code);
        for pair in tokens.windows(2) {
            let [(at, word), (_, sign)] = pair else { continue };
            if *sign == "!" && ["todo", "unimplemented"].contains(word) {
                found.push(finding(source, *at, &format!("finish it: {word}!")));
            }
        }
    }
    // In two parts, so that this file is not a finding of its own.
    let word = concat!("FIX", "ME");
    for (at, _) in source.text.match_indices(word) {
        found.push(finding(source, at, &format!("finish it: {word}")));
    }
    found
}

/// Top-level names that are not allowed. A line `/name` of `.gitignore` allows that name.
pub fn strangers(names: &[String], allowed: &[&str], gitignore: &str) -> Vec<String> {
    let ignored: Vec<&str> = gitignore
        .lines()
        .filter_map(|line| line.trim().strip_prefix('/'))
        .map(|name| name.trim_end_matches('/'))
        .collect();
    names
        .iter()
        .filter(|name| {
            let name = name.as_str();
            !name.starts_with('.') && !allowed.contains(&name) && !ignored.contains(&name)
        })
        .cloned()
        .collect()
}

fn finding(source: &Source, at: usize, why: &str) -> String {
    format!("{}:{}: {why}", source.path, line(&source.text, at))
}

/// The top module a file belongs to; `None` for the root of the library and all outside of it.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    match inside.split_once('/') {
        Some((module, _)) => Some(module),
        None => inside.strip_suffix(".rs").filter(|name| !["lib", "main"].contains(name)),
    }
}

/// How many `super` lead from a file to the root: 1 for `src/api/mod.rs`, 2 for `src/api/auth.rs`.
fn depth_of(path: &str) -> usize {
    path.trim_end_matches("/mod.rs").matches('/').count()
}

/// The names that are taken from the root of the crate, by `crate::` or by enough `super::`.
fn root_names(code: &str, depth: usize) -> Vec<Token<'_>> {
    let tokens = tokens(code);
    let word = |index: usize| tokens.get(index).map_or("", |(_, word)| *word);
    let mut found = Vec::new();
    // The brace depths at which inline modules were opened: each is one more `super`.
    let mut inline = Vec::new();
    let mut braces = 0;
    for index in 0..tokens.len() {
        let starts = index == 0 || word(index - 1) != "::";
        match word(index) {
            "{" => {
                braces += 1;
                if index >= 2 && word(index - 2) == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                inline.retain(|opened| *opened != braces);
                braces -= 1;
            }
            "crate" if starts && word(index + 1) == "::" => {
                found.extend(names_after(&tokens, index + 2));
            }
            "crate" if starts && word(index + 1) == "as" => found.extend(tokens.get(index)),
            "super" if starts => {
                let words = (index..tokens.len()).step_by(2);
                let supers = words.take_while(|index| word(*index) == "super").count();
                if supers == depth + inline.len() {
                    found.extend(names_after(&tokens, index + 2 * supers));
                }
            }
            _ => {}
        }
    }
    found
}

/// The first names of a path or of a group of paths that begins at `index`.
fn names_after<'a>(tokens: &[Token<'a>], index: usize) -> Vec<Token<'a>> {
    let rest = tokens.get(index..).unwrap_or_default();
    let Some(first) = rest.first() else { return Vec::new() };
    if first.1 != "{" {
        return vec![*first];
    }
    let mut depth = 0;
    let mut names = Vec::new();
    let mut previous = "";
    for token in rest {
        match token.1 {
            "{" => depth += 1,
            "}" => depth -= 1,
            "self" => {}
            _ if depth == 1 && ["{", ","].contains(&previous) => names.push(*token),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        previous = token.1;
    }
    names
}

/// Whether the word at `index` is the beginning of a path, and so the name of a package.
fn begins_a_path(tokens: &[Token<'_>], index: usize) -> bool {
    let before = |back: usize| index.checked_sub(back).and_then(|i| tokens.get(i)).map(|t| t.1);
    let after = tokens.get(index + 1).map(|token| token.1);
    let named = ["use", "crate"].into_iter().any(|word| before(1) == Some(word));
    let is_name = |word: &str| word.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    // `::sled::Db` is the package, `store::sled::Db` is not.
    let continued = before(1) == Some("::")
        && before(2).is_some_and(|word| (is_name(word) && word != "use") || word == ">");
    !continued && before(1) != Some(".") && (after == Some("::") || named)
}

#[cfg(test)]
mod tests {
    use super::super::source::sources;
    use super::*;

    const TABLE: [(&str, &[&str]); 3] = [("model", &[]), ("api", &["model"]), ("sim", &["api"])];
    const HOMES: [(&str, &[&str]); 1] = [("sled", &["src/store/", "src/api/auth"])];

    #[track_caller]
    fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, expected: &[&str]) {
        let sources = sources(vec![(path.to_owned(), text.to_owned())]);
        let found: Vec<String> = sources.iter().flat_map(rule).collect();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn forbidden_edges_are_found_in_every_spelling() {
        let edge = |path: &str, text: &str, expected: &[&str]| {
            check(|source| edges(source, &TABLE), path, text, expected);
        };
        let bad = ["src/model/a.rs:1: module model may not use api"];
        edge("src/model/a.rs", "use crate::api::X;", &bad);
        edge("src/model/a.rs", "use crate::{api::X, model::Y};", &bad);
        edge("src/model/a.rs", "use crate::{model::{a, b}, api};", &bad);
        edge("src/model/a.rs", "fn f() -> crate :: api :: X {}", &bad);
        edge("src/model/a.rs", "m! { $crate::api::X }", &bad);
        edge("src/model/a.rs", "use super::super::api::X;", &bad);
        edge("src/model/a.rs", "mod b { use super::super::super::api::X; }", &bad);
        edge("src/model/a.rs", "mod b {} use super::super::{model, api};", &bad);
        edge(
            "src/model.rs",
            "use super::api::X;",
            &["src/model.rs:1: module model may not use api"],
        );
        let line = ["src/model/mod.rs:3: module model may not use api"];
        edge("src/model/mod.rs", "//! x\n\nuse super::api::X;", &line);
        let root =
            ["src/api/a.rs:1: Config is no module of the table; name the module that owns it"];
        edge("src/api/a.rs", "use crate::Config;", &root);
        let glob = ["src/api/a.rs:1: * is no module of the table; name the module that owns it"];
        edge("src/api/a.rs", "use crate::*;", &glob);
        let alias =
            ["src/api/a.rs:1: crate is no module of the table; name the module that owns it"];
        edge("src/api/a.rs", "use crate as c;", &alias);
        let stranger = ["src/new/a.rs:1: module new is not in the table"];
        edge("src/new/a.rs", "use crate::api::X;", &stranger);
        let sim = ["src/sim/a.rs:1: module sim may not use model"];
        edge("src/sim/a.rs", "#![cfg(test)] use crate::model::X;", &sim);
    }

    #[test]
    fn allowed_edges_are_left_alone() {
        let edge = |path: &str, text: &str| check(|source| edges(source, &TABLE), path, text, &[]);
        edge("src/api/a.rs", "use crate::model::X; use crate::api::Y; use crate::{self, api};");
        edge("src/api/a.rs", "use super::model::X; use super::{a, b}; pub(crate) fn f() {}");
        edge("src/model/a.rs", "// use crate::api::X;\nconst A: &str = \"crate::api::X\";");
        edge("src/model/a.rs", "#[cfg(test)]\nmod tests { use crate::api::X; }");
        edge("src/model/a.rs", "mod b { use super::super::c; }");
        edge("src/lib.rs", "pub use crate::api::X;");
        edge("tests/it/a.rs", "use crate::anything;");
        edge("examples/a.rs", "use crate::anything;");
    }

    #[test]
    fn packages_outside_their_homes_are_found() {
        let home = |path: &str, text: &str, expected: &[&str]| {
            check(|source| homes(source, &HOMES), path, text, expected);
        };
        let bad = ["src/api/a.rs:2: sled may be used in src/store/, src/api/auth only"];
        for text in [
            "\nuse sled::Db;",
            "\nuse sled;",
            "\nuse ::sled::Db;",
            "\nfn f(db: sled::Db) {}",
            "\n#[derive(sled::Parser)]",
            "\nextern crate sled;",
            "\nuse {std::fs, sled::Db};",
        ] {
            home("src/api/a.rs", text, &bad);
        }
        for text in [
            "let sled = 1; x.sled();",
            "use crate::sled::X;",
            "// sled::Db",
            "\"sled::Db\";",
            "asled::X",
        ] {
            home("src/api/a.rs", text, &[]);
        }
        home("src/store/a.rs", "use sled::Db;", &[]);
        home("src/api/auth.rs", "use sled::Db;", &[]);
        home("src/api/auth/a.rs", "use sled::Db;", &[]);
        home("src/api/a.rs", "#[cfg(test)]\nuse sled::Db;", &[]);
        home("tests/it/a.rs", "use sled::Db;", &[]);
    }

    #[test]
    fn long_files_are_found_at_the_limit() {
        let rule = |source: &Source| length(source, 3);
        check(rule, "src/a.rs", "1\n2\n3\n", &[]);
        check(rule, "src/a.rs", "1\n2\n3\n4\n", &["src/a.rs: 4 lines, at most 3 are allowed"]);
    }

    #[test]
    fn silent_files_are_found() {
        let silent = ["src/a.rs: begin with //! and say what the file is for"];
        check(introduction, "src/a.rs", "//! Says it.\nuse a;", &[]);
        check(introduction, "src/a.rs", "#![allow(x)]\n//! Says it.", &[]);
        check(introduction, "src/a.rs", "#![doc = include_str!(\"A.md\")]\nmod a;", &[]);
        check(introduction, "src/a.rs", "use a;\n//! Late.", &silent);
        check(introduction, "src/a.rs", "// Not a doc comment.", &silent);
        check(introduction, "src/a.rs", "//!\nuse a;", &silent);
        check(introduction, "src/a.rs", "", &silent);
    }

    #[test]
    fn sleeping_tests_are_found() {
        let bad = ["src/a.rs:3: a test waits on a signal with a limit, not a sleep"];
        check(sleeps, "src/a.rs", "#[cfg(test)]\nmod t {\nthread::sleep(x) }", &bad);
        check(sleeps, "src/a.rs", "#![cfg(test)]\n\nuse tokio::time::sleep;", &bad);
        check(
            sleeps,
            "tests/a.rs",
            "// sleep: slow\n\nthread::sleep(x)",
            &["tests/a.rs:3: a test waits on a signal with a limit, not a sleep"],
        );
        check(sleeps, "tests/a.rs", "// sleep: slow\nthread::sleep(x)", &[]);
        check(sleeps, "tests/a.rs", "thread::sleep(x); // sleep: slow", &[]);
        check(sleeps, "src/a.rs", "thread::sleep(x)", &[]);
        check(sleeps, "examples/a.rs", "thread::sleep(x)", &[]);
    }

    #[test]
    fn unfinished_work_is_found() {
        check(unfinished, "src/a.rs", "\ntodo!()", &["src/a.rs:2: finish it: todo!"]);
        check(
            unfinished,
            "tests/a.rs",
            "unimplemented!()",
            &["tests/a.rs:1: finish it: unimplemented!"],
        );
        let comment = concat!("// FIX", "ME: later");
        let found = concat!("src/a.rs:1: finish it: FIX", "ME");
        check(unfinished, "src/a.rs", comment, &[found]);
        check(unfinished, "src/a.rs", "// todo!()\nlet todo = !x;", &[]);
    }

    #[test]
    fn strangers_at_the_top_are_found() {
        let names = ["src", "docs", ".git", "target", "README.md"].map(str::to_owned);
        let found = strangers(&names, &["src", "README.md"], "/target\ndocs\n");
        assert_eq!(found, ["docs"]);
    }
}
