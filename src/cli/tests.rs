//! What every command promises: help, aligned examples that parse, exit codes.

use clap::CommandFactory as _;

use super::*;

/// Splits a command line as a shell would, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    assert!(!quoted, "{line}");
    words.extend(word);
    words
}

/// The example lines of a help text, each as command and comment.
fn examples(help: &str) -> Vec<(&str, Option<&str>, usize)> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| match line.find("  # ") {
            Some(at) => (line[..at].trim(), Some(&line[at + 4..]), line[..at].chars().count()),
            None => (line.trim(), None, 0),
        })
        .collect()
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_summary_long_help_and_examples() {
    let mut cli = Cli::command();
    cli.build();
    let commands = std::iter::once(&cli).chain(cli.get_subcommands());
    for command in commands.filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let summary = command.get_about().map(ToString::to_string).unwrap_or_default();
        let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        assert!(!summary.is_empty() && summary.lines().count() == 1, "{name}: {summary}");
        assert!(long.len() > summary.len() + 20, "{name} has no long help");
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let found = examples(&help);
        assert!((3..=8).contains(&found.len()), "{name} has {} examples", found.len());
        let columns: Vec<usize> = found.iter().filter(|e| e.1.is_some()).map(|e| e.2).collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{name}: {columns:?}\n{help}");
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{name} {} has no summary", verb.get_name());
        }
    }
}

#[test]
fn every_example_parses() {
    let mut cli = Cli::command();
    cli.build();
    for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
        let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        for (example, _, _) in examples(&help) {
            let piece = example.split(" | ").find(|piece| piece.contains("posthaste ")).unwrap();
            let piece = piece.split(" > ").next().unwrap();
            let start = piece.find("posthaste ").unwrap();
            let parsed = Cli::try_parse_from(words(piece[start..].trim_end_matches(')')));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn no_command_shows_help_and_is_a_usage_error() {
    for args in [&["posthaste"][..], &["posthaste", "app"], &["posthaste", "message"]] {
        let error = Cli::try_parse_from(args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args:?}");
        assert!(error.to_string().contains("Usage:"), "{args:?}: {error}");
    }
    for args in [["posthaste", "--help"], ["posthaste", "--version"]] {
        assert_eq!(Cli::try_parse_from(args).unwrap_err().exit_code(), 0, "{args:?}");
    }
}
