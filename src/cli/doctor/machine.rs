//! The half of the doctor that needs no daemon: data folder, secret, clock, disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Finding, State};
use crate::api::auth::SECRET_FILE;
use crate::cli::settings::jwt_secret;
use crate::config::Config;
use crate::config::units::format_size;
use crate::model::clock::{Clock as _, SystemClock, Timestamp};

/// No clock that is right shows an earlier moment: this program did not exist. 2026-01-01.
const EARLIEST_SECS: u64 = 1_767_225_600;

/// No clock that is right shows a later moment. 2100-01-01.
const LATEST_SECS: u64 = 4_102_444_800;

/// How far in the future a file of the store may seem to be written, in seconds.
const FILE_SKEW_SECS: u64 = 60;

/// Everything about the machine.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let data = &config.storage.path;
    let now = SystemClock.now();
    let mut findings = vec![clock(now, newest_write(data))];
    match fs::metadata(data) {
        Ok(meta) if meta.is_dir() => {
            findings.push(folder(data, &meta));
            findings.push(secret(config));
        }
        Ok(_) => {
            let found = format!("{} is not a folder", data.display());
            findings.push(Finding::not(State::Bad, "data", found, "name another with --data"));
        }
        Err(_) => {
            let found = format!("{} does not exist yet", data.display());
            let way_out = "`posthaste serve` makes it; --data names another";
            findings.push(Finding::not(State::Warning, "data", found, way_out));
        }
    }
    findings.push(disk(data, config.storage.min_free));
    findings
}

/// Whether the time can be right: not absurd, and not before what the store has seen.
fn clock(now: Timestamp, newest_write: Option<u64>) -> Finding {
    let secs = now.seconds();
    let way_out = "set the clock (NTP): due times, tokens and signatures depend on it";
    if !(EARLIEST_SECS..LATEST_SECS).contains(&secs) {
        return Finding::not(State::Bad, "clock", format!("it says {now}"), way_out);
    }
    match newest_write {
        Some(newest) if newest > secs.saturating_add(FILE_SKEW_SECS) => {
            let ahead = newest - secs;
            let found = format!("it says {now}, but the store was written {ahead} s after that");
            Finding::not(State::Warning, "clock", found, way_out)
        }
        Some(_) | None => Finding::good("clock", now.to_string()),
    }
}

/// When a file directly in the data folder or one folder below was last written, unix seconds.
fn newest_write(data: &Path) -> Option<u64> {
    let files = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default()
    };
    let top = files(data);
    let below = top.iter().flat_map(|path| files(path));
    let times = top.iter().cloned().chain(below);
    times.filter_map(|path| u64::try_from(fs::metadata(path).ok()?.mtime()).ok()).max()
}

fn folder(data: &Path, meta: &fs::Metadata) -> Finding {
    let mode = meta.permissions().mode() & 0o7777;
    let shown = format!("{} (mode {mode:04o})", data.display());
    if rustix::fs::access(data, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_err()
    {
        let found = format!("{shown} cannot be written to by this user");
        return Finding::not(State::Bad, "data", found, "run as the user who owns it");
    }
    if mode & 0o002 != 0 {
        let way_out = format!("`chmod 700 {}`", data.display());
        return Finding::not(State::Bad, "data", format!("{shown} can be written by all"), way_out);
    }
    if mode & 0o055 != 0 {
        let way_out = format!("`chmod 700 {}`: messages are kept in it", data.display());
        return Finding::not(State::Warning, "data", format!("{shown} is open to others"), way_out);
    }
    Finding::good("data", shown)
}

fn secret(config: &Config) -> Finding {
    if config.server.jwt_secret.is_none() && !config.storage.path.join(SECRET_FILE).exists() {
        let way_out = "`posthaste serve` or `posthaste token` makes it";
        return Finding::not(State::Warning, "secret", "not made yet", way_out);
    }
    match jwt_secret(config) {
        Ok(_) if config.server.jwt_secret.is_some() => Finding::good("secret", "configured"),
        Ok(_) => Finding::good("secret", "in the data folder, closed to others"),
        Err(error) => {
            let way_out = "run as the user who owns the data folder, or mend the file";
            Finding::not(State::Bad, "secret", error.to_string(), way_out)
        }
    }
}

/// Free space where the store lies or will lie.
fn disk(data: &Path, min_free: u64) -> Finding {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there = absolute.ancestors().find(|path| path.exists()).unwrap_or(&absolute);
    let Ok(space) = rustix::fs::statvfs(there) else {
        let found = format!("free space at {} cannot be read", there.display());
        return Finding::not(State::Warning, "disk", found, "look with `df`");
    };
    judge_disk(space.f_bavail.saturating_mul(space.f_frsize), min_free)
}

fn judge_disk(free: u64, min_free: u64) -> Finding {
    // Rounded down: the exact figure changes while one looks.
    let unit = if free >= 10 << 30 { 30 } else { 20 };
    let shown = format!("{} free", format_size(free >> unit << unit));
    let limit = format_size(min_free);
    let way_out = "make room, or shorten storage.retention";
    if free < min_free {
        let found = format!("{shown}, nothing is accepted below {limit} (storage.min_free)");
        return Finding::not(State::Bad, "disk", found, way_out);
    }
    if free < min_free.saturating_mul(4) {
        let found = format!("{shown}, nothing is accepted below {limit} (storage.min_free)");
        return Finding::not(State::Warning, "disk", found, way_out);
    }
    Finding::good("disk", shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn absurd_and_set_back_clocks_are_noticed() {
        let check = |secs: u64, newest, expected| {
            let found = clock(Timestamp(secs * 1000), newest);
            assert_eq!(found.state, expected, "{secs} {newest:?}: {}", found.found);
        };
        check(0, None, State::Bad);
        check(EARLIEST_SECS - 1, None, State::Bad);
        check(EARLIEST_SECS, None, State::Good);
        check(LATEST_SECS - 1, None, State::Good);
        check(LATEST_SECS, None, State::Bad);
        check(NOW, Some(NOW + FILE_SKEW_SECS), State::Good);
        check(NOW, Some(NOW + FILE_SKEW_SECS + 1), State::Warning);
    }

    #[test]
    fn a_filling_disk_is_noticed_in_time() {
        let check = |free, expected| assert_eq!(judge_disk(free, 100).state, expected, "{free}");
        check(99, State::Bad);
        check(100, State::Warning);
        check(399, State::Warning);
        check(400, State::Good);
        assert_eq!(judge_disk(0, 0).state, State::Good, "0 switches the check off");
        assert_eq!(judge_disk((5 << 20) + 17, 0).found, "5MiB free");
        assert_eq!(judge_disk((11 << 30) + (5 << 20), 0).found, "11GiB free");
    }

    #[test]
    fn an_open_folder_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let check = |mode, expected| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let found = folder(dir.path(), &fs::metadata(dir.path()).unwrap());
            assert_eq!(found.state, expected, "{mode:o}: {}", found.found);
        };
        check(0o755, State::Warning);
        check(0o777, State::Bad);
        check(0o700, State::Good);
    }

    #[test]
    fn the_newest_file_is_found_one_folder_down() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest_write(dir.path()), None);
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("store/db"), "x").unwrap();
        let newest = newest_write(dir.path()).unwrap();
        assert!(newest.abs_diff(SystemClock.now().seconds()) < 60, "{newest}");
    }
}
