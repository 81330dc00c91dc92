//! A simulated daemon's lives: opened, crashed by copying its folder, opened again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Dice;
use super::world::{RETENTION, WallClock, World};
use crate::model::clock::Clock;
use crate::scheduler::core::Event;
use crate::store::events::Events;
use crate::store::planted::interrupt;
use crate::store::{Options, Store};

pub(super) fn open(
    path: &Path,
    wall: &Arc<WallClock>,
    seed: u64,
    events: &Arc<Mutex<Vec<Events>>>,
) -> Store {
    let (mut dice, events) = (Dice::new(seed), Arc::clone(events));
    let entropy = Box::new(move |buffer: &mut [u8]| {
        buffer.chunks_mut(8).for_each(|chunk| {
            let bytes = dice.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        });
    });
    let options = Options {
        retention: RETENTION,
        ..Options::trial(path.to_path_buf(), Arc::clone(wall) as Arc<dyn Clock>, entropy)
    };
    Store::open(options, Box::new(move |group| events.lock().unwrap().push(group))).unwrap()
}

impl World {
    /// The process dies: the folder as it is now is all that is left.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        let (old, new) = self.next_folder();
        copy(&old, &new);
        self.live_on()
    }

    /// The process dies while `work` is being written: after its rows are, before they last.
    /// Nobody was told that it was done.
    pub(super) fn crash_during(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let told = self.ledger.clone();
        let (old, new) = self.next_folder();
        interrupt(Some(Box::new(move || copy(&old, &new))));
        let worked = work(self);
        let was_written = !interrupt(None);
        worked?;
        if !was_written {
            return self.crash();
        }
        self.ledger = told;
        self.ledger.unsure = true;
        self.live_on()
    }

    fn next_folder(&self) -> (std::path::PathBuf, std::path::PathBuf) {
        let life = |n| self.folder.path().join(format!("life-{n}"));
        (life(self.lives), life(self.lives + 1))
    }

    /// Opens what the crash left.
    fn live_on(&mut self) -> Result<(), String> {
        let (old, new) = self.next_folder();
        self.lives += 1;
        let seed = self.dice.next();
        self.store = open(&new, &self.wall, seed, &self.events);
        std::fs::remove_dir_all(old).unwrap();
        self.forget_memory();
        for (id, promise) in &self.ledger.promised {
            let found = self.store.message(promise.app, *id).unwrap();
            if found.is_none() {
                return Err(format!("{id} was acknowledged and is lost after a crash"));
            }
        }
        let pairs: Vec<_> = self.ledger.ended.iter().copied().collect();
        for (message, endpoint) in pairs {
            if self.store.delivery(message, endpoint).unwrap().is_none() {
                return Err(format!("the end of {message} to {endpoint} is gone after a crash"));
            }
        }
        // Of what was being written nobody was told: what lasted counts all the same.
        let pairs =
            self.ledger.promised.iter().flat_map(|(id, promise)| {
                promise.endpoints.iter().map(|endpoint| (*id, *endpoint))
            });
        for (message, endpoint) in pairs.collect::<Vec<_>>() {
            self.note(message, endpoint)?;
        }
        let mut commands = Vec::new();
        let mut ids = self.store.directory().endpoint_ids().unwrap();
        ids.sort_unstable();
        for app in self.store.directory().application_ids().unwrap() {
            let tenant = self.store.directory().tenant(app).unwrap().unwrap();
            let rate = tenant.app.throttle_rate;
            self.hear_rate(app, rate);
            self.state.step(self.now, Event::Rate(app, rate), &mut commands);
        }
        for id in ids {
            let endpoint = self.store.directory().endpoint(id).unwrap();
            let ordered = endpoint.as_ref().is_some_and(|e| e.ordered);
            let Some(first) = self.store.queue_first(id, ordered).unwrap() else { continue };
            let first = Some(first);
            self.state.step(self.now, Event::Endpoint(id, endpoint, first), &mut commands);
        }
        self.settle()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
