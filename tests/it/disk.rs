//! A full disk: the daemon refuses before it accepts, delivers what it has, and goes on by itself
//! when there is room again. Nothing it acknowledged is lost.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hostile_tools::{House, until};
use crate::support::http::Client;
use crate::support::receiver::{Policy, Receiver};

/// Bytes of the disk.
const DISK: u64 = 64 << 20;
/// Clients that send at the same time.
const CLIENTS: usize = 8;

/// A small disk in memory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where none can be mounted, said loudly; in CI that is a failure.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={DISK}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "posthaste-test"])
            .arg(at)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            failed => {
                assert!(std::env::var_os("CI").is_none(), "CI cannot mount a tmpfs: {failed:?}");
                println!("WARNING: no tmpfs can be mounted (root?): THE FULL DISK IS NOT TESTED");
                None
            }
        }
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes every byte away, as another program would.
    fn fill(&self) {
        let file = std::fs::File::create(self.0.join("ballast")).unwrap();
        let (mut taken, mut piece) = (0, 1 << 20);
        while piece >= 4096 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), taken, piece) {
                Ok(()) => taken += piece,
                Err(_) => piece /= 2,
            }
        }
        assert_eq!(self.free(), 0);
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// What clients were told.
#[derive(Default)]
struct Told {
    accepted: Vec<String>,
    refused: usize,
}

/// Sends messages of 2 KiB from several clients until `enough` refusals or until `stop`.
fn load((port, token): (u16, &str), app: &str, enough: usize, stop: &AtomicBool) -> Told {
    let payload = json!({ "eventType": "order.paid", "payload": { "x": "y".repeat(2048) } });
    let (path, body) = (format!("/api/v1/app/{app}/msg"), payload.to_string());
    let one = || {
        let mut told = Told::default();
        let mut client = Client::connect(port, token).unwrap();
        while told.refused < enough && !stop.load(Ordering::SeqCst) {
            let answer = client.post(&path, &[], &body).expect("an answer");
            match answer.status {
                202 => told.accepted.push(answer.body["id"].as_str().unwrap().to_owned()),
                507 => {
                    told.refused += 1;
                    assert_eq!(answer.body["code"], "storage_full", "{}", answer.body);
                    let detail = answer.body["detail"].as_str().unwrap();
                    assert!(detail.contains("storage."), "the setting is named: {detail}");
                }
                503 => told.refused += 1,
                other => panic!("{other} {}", answer.body),
            }
        }
        told
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        let mut all = Told::default();
        for client in clients {
            let told = client.join().unwrap();
            all.accepted.extend(told.accepted);
            all.refused += told.refused;
        }
        all
    })
}

/// Every accepted message has arrived.
#[track_caller]
fn check_all_arrived(receiver: &Receiver, accepted: &[String], what: &str) {
    let wanted: HashSet<&String> = accepted.iter().collect();
    let arrived = receiver
        .wait(Duration::from_secs(90), |ledger| wanted.iter().all(|id| ledger.successes(id) > 0));
    let missing =
        receiver.ledger(|ledger| wanted.iter().filter(|id| ledger.successes(id) == 0).count());
    assert!(arrived, "{what}: {missing} of {} did not arrive", wanted.len());
}

fn is_healthy(house: &House) -> bool {
    house.ask("GET", "/api/v1/health", "").status == 200
}

#[test]
fn a_full_disk_is_refused_delivered_from_and_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk")) else { return };
    let data = disk.0.join("data");
    let env = [
        ("POSTHASTE_STORAGE_MIN_FREE", "8MiB"),
        ("POSTHASTE_STORAGE_CACHE", "1MiB"),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]"),
    ];
    let house = House::on(&data, &["--allow-network", "127.0.0.0/8"], &env);
    let receiver = Receiver::start(
        1,
        Policy { slow_percent: 20, slow_max: Duration::from_millis(20), ..Policy::default() },
    );
    let receiver = receiver.unwrap();
    let app = house.app("disk");
    house.endpoint(&app, &receiver.url());

    // Its own messages fill it.
    let go = AtomicBool::new(false);
    let told = load((house.port, &house.token), &app, 50, &go);
    println!(
        "{} accepted, {} refused, {} KiB free",
        told.accepted.len(),
        told.refused,
        disk.free() / 1024
    );
    assert!(told.accepted.len() > 1000, "{}", told.accepted.len());
    let reply =
        house.ask("POST", &format!("/api/v1/app/{app}/msg"), r#"{"eventType":"a","payload":{}}"#);
    assert_eq!(reply.status, 507, "{}", reply.text());
    assert_eq!(reply.header("retry-after"), Some("30"));
    assert!(!is_healthy(&house));
    assert!(disk.free() >= 4 << 20, "it stopped with {} bytes free", disk.free());
    check_all_arrived(&receiver, &told.accepted, "while full");
    let mut accepted = told.accepted;

    // A restart on a full disk, without warning.
    house.kill();
    let house = House::on(&data, &["--allow-network", "127.0.0.0/8"], &env);
    assert!(!is_healthy(&house));
    let reads = house.expect(200, "GET", &format!("/api/v1/app/{app}/msg?limit=1"), &Value::Null);
    assert_eq!(reads["data"].as_array().unwrap().len(), 1);

    // The operator makes room: half of the disk again. Nothing is restarted.
    let size = format!("remount,size={}", DISK * 3 / 2);
    let grown = Command::new("mount").args(["-o", &size]).arg(&disk.0).status().unwrap();
    assert!(grown.success());
    until("health again", Duration::from_secs(10), || is_healthy(&house).then_some(()));
    let told = load((house.port, &house.token), &app, 50, &go);
    println!(
        "{} accepted, {} refused after there was room again",
        told.accepted.len(),
        told.refused
    );
    assert!(told.accepted.len() > 1000, "{}", told.accepted.len());
    accepted.extend(told.accepted.iter().cloned());
    check_all_arrived(&receiver, &told.accepted, "after there was room again");
    assert_eq!(accepted.len(), accepted.iter().collect::<HashSet<_>>().len());
    assert!(receiver.ledger(|ledger| ledger.changed.is_empty()));
    house.stop();
    crate::support::daemon::store_check(&data).unwrap();
}

/// Endpoints that each message goes to.
const ENDPOINTS: u32 = 16;
/// Bytes of the store when somebody fills the disk: to record all that waits then takes more than
/// what is set aside.
const BACKLOG: u64 = 16 << 20;

/// Another program takes every free byte while messages wait and come: more than what was set aside
/// can record. It goes on as far as it can, then waits, also through a restart.
#[test]
fn a_disk_filled_by_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk")) else { return };
    let data = disk.0.join("data");
    let env = [
        ("POSTHASTE_STORAGE_MIN_FREE", "8MiB"),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]"),
    ];
    let house = House::on(&data, &["--allow-network", "127.0.0.0/8"], &env);
    let slow = Policy { slow_percent: 100, slow_max: Duration::from_secs(2), ..Policy::default() };
    let receiver = Receiver::start(1, slow).unwrap();
    let app = house.app("disk");
    for _ in 0..ENDPOINTS {
        house.endpoint(&app, &receiver.url());
    }
    let stop = AtomicBool::new(false);
    let door = (house.port, house.token.as_str());
    let told = std::thread::scope(|scope| {
        let sending = scope.spawn(|| load(door, &app, 30, &stop));
        let file = data.join("store/db");
        until("a backlog", Duration::from_secs(60), || {
            (std::fs::metadata(&file).unwrap().len() > BACKLOG).then_some(())
        });
        disk.fill();
        sending.join().unwrap()
    });
    println!(
        "{} accepted, {} refused, {} bytes free",
        told.accepted.len(),
        told.refused,
        disk.free()
    );
    assert!(told.refused >= 30 && !told.accepted.is_empty());
    receiver.set_policy(Policy::default());
    // Delivered as long as the blocks that were set aside last; then deliveries wait.
    let arrivals = || receiver.ledger(|ledger| ledger.arrivals.len());
    let arrived_everywhere = || {
        receiver.ledger(|ledger| told.accepted.iter().all(|id| ledger.successes(id) >= ENDPOINTS))
    };
    until("the end of what can be recorded", Duration::from_secs(60), || {
        let log = house.log();
        assert!(!log.contains("stopping:"), "it gave up: {log}");
        assert!(!arrived_everywhere(), "too few messages to come to the end");
        log.contains("deliveries wait for room to record").then_some(())
    });
    assert!(!is_healthy(&house));
    println!("{} arrived before there was room again", arrivals());

    // A restart on a disk without a free byte: it says what is wrong, and can be read.
    house.kill();
    let house = House::on(&data, &["--allow-network", "127.0.0.0/8"], &env);
    assert!(!is_healthy(&house));
    let page = house.expect(200, "GET", &format!("/api/v1/app/{app}/msg?limit=1"), &Value::Null);
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    let reply =
        house.ask("POST", &format!("/api/v1/app/{app}/msg"), r#"{"eventType":"a","payload":{}}"#);
    assert_eq!(reply.status, 507, "{}", reply.text());
    println!("{} arrived before there was room again, {} bytes free", arrivals(), disk.free());

    disk.clear();
    until("health again", Duration::from_secs(10), || is_healthy(&house).then_some(()));
    let all = receiver.wait(Duration::from_secs(90), |ledger| {
        told.accepted.iter().all(|id| ledger.successes(id) >= ENDPOINTS)
    });
    assert!(all, "{} arrived of {} each", arrivals(), told.accepted.len());
    let id = house.send(&app);
    check_all_arrived(&receiver, &[id], "after there was room again");
    house.stop();
    crate::support::daemon::store_check(&data).unwrap();
}

/// `storage.max_size`, with messages that expire: it refuses, and accepts again as they go.
#[test]
fn the_largest_size_is_kept_and_expiry_makes_room() {
    let house = House::start(&[
        ("POSTHASTE_STORAGE_MAX_SIZE", "24MiB"),
        ("POSTHASTE_STORAGE_RETENTION", "8s"),
        ("POSTHASTE_STORAGE_CACHE", "1MiB"),
        ("POSTHASTE_DELIVERY_RETRY_SCHEDULE", "[]"),
    ]);
    let receiver = Receiver::start(1, Policy::default()).unwrap();
    let app = house.app("disk");
    house.endpoint(&app, &receiver.url());
    let go = AtomicBool::new(false);
    let mut largest = 0;
    for round in 0..6 {
        // What expires gives room bit by bit: it is refused in between.
        let mut told = Told::default();
        until("messages are accepted again", Duration::from_secs(60), || {
            let more = load((house.port, &house.token), &app, 20, &go);
            told.accepted.extend(more.accepted);
            told.refused += more.refused;
            (told.accepted.len() > 500).then_some(())
        });
        assert!(told.refused >= 20);
        check_all_arrived(&receiver, &told.accepted, "at the largest size");
        receiver.clear();
        let size = std::fs::metadata(house.data.join("store/db")).unwrap().len();
        largest = largest.max(size);
        println!("round {round}: {} accepted, {} KiB on disk", told.accepted.len(), size / 1024);
        let path = format!("/api/v1/app/{app}/msg?limit=1");
        until("all of it to expire", Duration::from_secs(30), || {
            let page = house.expect(200, "GET", &path, &Value::Null);
            (page["data"] == json!([])).then_some(())
        });
        assert!(is_healthy(&house));
    }
    // Half as large again is usual; while tidying is behind, on a busy machine, it was 38 MiB.
    assert!(largest < 48 << 20, "{largest} bytes on disk");
    house.stop();
}
