//! Lays the sources of the configuration over each other: flag over `POSTHASTE_*` over file over
//! `$STATE_DIRECTORY` over `--dev` over built in.
//!
//! The environment is an argument; only [`from_process_env`] asks the process. The daemon calls
//! [`load`] at the start and again for each reload, `config check` and `config show` call it too.
use super::network::Network;
use super::problem::{Fault, MASK, Origin, Problem, Problems};
use super::raw::{self, KEYS, Layer, Value, Written};
use super::show::{Setting, settings};
use super::{Config, checks, limits, meaning};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The built-in default: the commented file itself.
pub const BUILT_IN: &str = include_str!("../../data/posthaste.toml");

/// Names a configuration file where no flag does.
pub const CONFIG_VARIABLE: &str = "POSTHASTE_CONFIG";

/// Set by systemd to the folder of `StateDirectory=`.
pub const STATE_VARIABLE: &str = "STATE_DIRECTORY";

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// What the command line says. `Default` says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`: the file to read. It must exist.
    pub config: Option<PathBuf>,
    /// `--listen`, for `server.listen`.
    pub listen: Option<String>,
    /// `--data`, for `storage.path`.
    pub data: Option<PathBuf>,
    /// `--allow-network`, each added to `delivery.allow_networks`.
    pub allow_networks: Vec<String>,
    /// `--dev`: loopback is added to `delivery.allow_networks`, and the schedule is 1 s, 2 s, 5 s
    /// unless the file or the environment has one.
    pub dev: bool,
}

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// Every key with its effective value and its origin, secrets masked.
    pub settings: Vec<Setting>,
    /// What works and will surprise. To be logged, one line each.
    pub warnings: Vec<Problem>,
    /// The file that was read, for [`super::watch`].
    pub file: Option<PathBuf>,
}

/// Reads the file, if one is named, and builds the configuration.
///
/// Fails with every problem at once, and reads nothing but the configuration file and the files
/// that secrets refer to.
pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Loaded, Problems> {
    let named = environment.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    let file = overrides.config.clone().or_else(|| named.map(PathBuf::from));
    let text = match &file {
        Some(path) => Some((path.as_path(), read_file(path)?)),
        None => None,
    };
    let text = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    let mut loaded = assemble(text, overrides, environment)?;
    loaded.file = file;
    Ok(loaded)
}

/// The environment of this process. A value that is not UTF-8 keeps its readable part, so that the
/// checks of its key complain about it rather than nobody.
pub fn from_process_env() -> Environment {
    std::env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

/// Builds the configuration out of the text of a file (with its name), flags and environment.
pub fn assemble(
    file: Option<(&Path, &str)>,
    overrides: &Overrides,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let mut layers = Layers::default();
    layers.add(raw::parse_file(BUILT_IN, &|_| Origin::BuiltIn));
    if overrides.dev {
        layers.set(
            "delivery.retry_schedule",
            Value::Untyped("1s,2s,5s".to_owned()),
            Origin::Flag("--dev"),
        );
    }
    if let Some(folder) = state_directory(environment) {
        let origin = Origin::Environment(STATE_VARIABLE.to_owned());
        layers.set("storage.path", Value::Untyped(folder), origin);
    }
    if let Some((path, text)) = file {
        layers.add(raw::parse_file(text, &raw::lines_of(path)));
    }
    layers.add(raw::parse_environment(environment));
    if let Some(listen) = &overrides.listen {
        layers.set("server.listen", Value::Untyped(listen.clone()), Origin::Flag("--listen"));
    }
    if let Some(data) = &overrides.data {
        let data = Value::Untyped(data.to_string_lossy().into_owned());
        layers.set("storage.path", data, Origin::Flag("--data"));
    }
    layers.finish(overrides, environment)
}

/// The keys as the layers so far leave them.
#[derive(Default)]
struct Layers {
    keys: BTreeMap<&'static str, Written>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Layers {
    fn add(&mut self, layer: Layer) {
        self.keys.extend(layer.keys);
        self.problems.extend(layer.problems);
        self.warnings.extend(layer.warnings);
    }

    fn set(&mut self, key: &'static str, value: Value, origin: Origin) {
        self.keys.insert(key, Written { value, origin });
    }

    fn finish(
        mut self,
        overrides: &Overrides,
        environment: &Environment,
    ) -> Result<Loaded, Problems> {
        let mut config = Config::builtin();
        let mut broken = Vec::new();
        for key in KEYS {
            let Some(written) = self.keys.get(key) else { continue };
            if let Err(fault) = meaning::apply(&mut config, key, &written.value, environment) {
                broken.push(key);
                self.problems.push(problem(key, self.keys.get(key), fault));
            }
        }
        let mut origins: BTreeMap<&'static str, Origin> =
            self.keys.iter().map(|(key, written)| (*key, written.origin.clone())).collect();
        self.add_networks(overrides, &mut config, &mut origins);
        // A finding about a value that could not be read would be about the default instead.
        let sound = |(key, other, _): &checks::Finding| {
            !broken.contains(key) && !other.is_some_and(|other| broken.contains(&other))
        };
        let findings = checks::problems(&config).into_iter().filter(sound);
        let findings = findings.map(|(key, _, fault)| problem(key, self.keys.get(key), fault));
        self.problems.extend(findings.collect::<Vec<_>>());
        let findings = checks::warnings(&config).into_iter().filter(sound);
        let findings = findings.map(|(key, _, fault)| problem(key, self.keys.get(key), fault));
        self.warnings.extend(findings.collect::<Vec<_>>());
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let settings = settings(&config, &origins);
        Ok(Loaded { config, settings, warnings: self.warnings, file: None })
    }

    /// Adds what `--allow-network` and `--dev` let through. These add rather than replace: whoever
    /// types one more range does not mean to lose the others.
    fn add_networks(
        &mut self,
        overrides: &Overrides,
        config: &mut Config,
        origins: &mut BTreeMap<&'static str, Origin>,
    ) {
        const KEY: &str = "delivery.allow_networks";
        let named =
            overrides.allow_networks.iter().map(|range| ("--allow-network", range.as_str()));
        let dev = ["127.0.0.0/8", "::1/128"].into_iter().filter(|_| overrides.dev);
        for (flag, range) in named.chain(dev.map(|range| ("--dev", range))) {
            match Network::parse(range) {
                Ok(network) if config.delivery.allow_networks.contains(&network) => {}
                Ok(network) => {
                    config.delivery.allow_networks.push(network);
                    let to = origins.remove(KEY).unwrap_or(Origin::BuiltIn);
                    origins.insert(KEY, to.and(flag));
                }
                Err(fault) => {
                    let value = Value::Untyped(range.to_owned());
                    let written = Written { value, origin: Origin::Flag(flag) };
                    self.problems.push(problem(KEY, Some(&written), fault));
                }
            }
        }
        if config.delivery.allow_networks.len() > limits::ALLOW_NETWORKS {
            let what = format!("has more than {} ranges", limits::ALLOW_NETWORKS);
            let fault = Fault::new(what, "name larger ranges");
            self.problems.push(problem(KEY, self.keys.get(KEY), fault));
        }
    }
}

fn problem(key: &str, written: Option<&Written>, fault: Fault) -> Problem {
    let shown = |written: &Written| {
        let reference = matches!(&written.value, Value::Text(text) | Value::Untyped(text)
            if text.starts_with("env:") || text.starts_with("file:"));
        // A reference is no secret, and without it nobody knows what to mend.
        let masked = meaning::SECRET_KEYS.contains(&key) && !reference;
        if masked { MASK.to_owned() } else { written.value.to_string() }
    };
    Problem {
        key: key.to_owned(),
        value: written.map(shown),
        origin: written.map(|written| written.origin.clone()),
        what: fault.what,
        way_out: fault.way_out,
    }
}

/// The folder that systemd made. It may name several, separated by colons; the first is ours.
fn state_directory(environment: &Environment) -> Option<String> {
    let first = environment.get(STATE_VARIABLE)?.split(':').next()?;
    if first.is_empty() { None } else { Some(first.to_owned()) }
}

fn read_file(path: &Path) -> Result<String, Problems> {
    let unreadable = |what: String| {
        Problems(vec![Problem {
            key: path.display().to_string(),
            value: None,
            origin: None,
            what,
            way_out: "name a readable TOML file with --config, or leave it out to run on the \
                      built-in default"
                .to_owned(),
        }])
    };
    let failed = |error: std::io::Error| unreadable(format!("cannot be read ({error})"));
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(limits::CONFIG_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > limits::CONFIG_FILE {
        return Err(unreadable("is larger than 1 MiB".to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
