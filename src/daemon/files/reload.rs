//! Keeping the store as the files say while the daemon runs: at the start, after each change of the
//! folder, and on SIGHUP.
//!
//! One log line for each: what was changed, or that the files are wrong, where and why, and that
//! the last good state stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use super::read::read;
use super::{Action, Change, Files, Refused};
use crate::config::load::{Loaded, Overrides, from_process_env, load};
use crate::config::watch::{ReloadRequested, Settle, Watch, conf_d, watch};

/// Watches the folder; stops when it is dropped.
pub struct Reloader {
    /// Dropped first: then nobody sends any more and the thread ends.
    watch: Option<Watch>,
    requests: Option<Sender<ReloadRequested>>,
    thread: Option<JoinHandle<()>>,
}

impl Reloader {
    /// Applies `conf.d` beside the configuration file, and again after each request that comes in
    /// through `requests`; watches the folder too, if it can.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        files: Arc<Files>,
        loaded: &Loaded,
        overrides: &Overrides,
        requests: Sender<ReloadRequested>,
        receiver: Receiver<ReloadRequested>,
    ) -> std::io::Result<Self> {
        let folder = loaded.file.as_deref().map(conf_d);
        if let Some(folder) = &folder {
            drop(files.folder.set(folder.clone()));
            if folder.is_dir() {
                apply(&files, folder);
            }
        }
        let watched =
            loaded.file.as_deref().map(|file| watch(file, Settle::default(), requests.clone()));
        let watch = match watched {
            Some(Ok(watch)) => Some(watch),
            Some(Err(err)) => {
                tracing::warn!(%err, "the configuration is not watched");
                None
            }
            None => None,
        };
        let (running, overrides) = (loaded.clone(), overrides.clone());
        let thread = std::thread::Builder::new().name("reload".to_owned()).spawn(move || {
            while receiver.recv().is_ok() {
                // Several requests at once are one: the files are read anew anyway.
                while receiver.try_recv().is_ok() {}
                settings_changed(&running, &overrides);
                if let Some(folder) = &folder {
                    apply(&files, folder);
                } else {
                    tracing::info!("there is no configuration file, so nothing to reload");
                }
            }
        })?;
        Ok(Self { watch, requests: Some(requests), thread: Some(thread) })
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        drop(self.watch.take());
        drop(self.requests.take());
        // The signals' thread may hold a sender for as long as the process lives.
        drop(self.thread.take());
    }
}

/// Reads the folder and applies it, or says why not.
fn apply(files: &Files, folder: &Path) {
    let shown = folder.display();
    if !folder.is_dir() {
        // A folder that is being replaced must not take everything along.
        tracing::warn!(
            "{shown} is not there, the last good state stays; an empty folder removes it"
        );
        return;
    }
    let outcome = read(folder, &from_process_env())
        .map_err(Refused::Problems)
        .and_then(|(wanted, lines)| files.apply(&wanted, &lines));
    match outcome {
        Ok(changes) => tracing::info!("{shown} is applied: {}", summary(&changes)),
        Err(refused) => {
            let problems = refused.to_string().replace('\n', ";");
            tracing::error!("{shown} is not applied, the last good state stays: {problems}");
        }
    }
}

fn summary(changes: &[Change]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    if changes.is_empty() {
        return "nothing to change".to_owned();
    }
    format!(
        "{} created, {} changed, {} adopted, {} removed",
        count(Action::Create),
        count(Action::Update),
        count(Action::Adopt),
        count(Action::Delete)
    )
}

/// Settings of the daemon itself take a restart: says so, when they have changed.
fn settings_changed(running: &Loaded, overrides: &Overrides) {
    match load(overrides, &from_process_env()) {
        Ok(now) if now.config == running.config => {}
        Ok(_) => tracing::warn!(
            "the settings in the configuration file have changed: restart to use them"
        ),
        Err(problems) => {
            let problems = problems.to_string().replace('\n', ";");
            tracing::error!(
                "the configuration file has problems; the daemon goes on as it is: {problems}"
            );
        }
    }
}
