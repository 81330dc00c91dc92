//! An elastic pool of named OS threads (`deliver-017`): started on demand up to a limit, gone
//! after [`IDLE`] without work.
//!
//! Idle threads stand in a stack, so that the busy ones stay busy and the rest can go. Each has a
//! slot of its own: nobody spins or fights over one queue.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that had nothing to do for so long goes.
pub const IDLE: Duration = Duration::from_secs(30);

/// Threads that are enough for the quick jobs of one key, as long as few wait.
const ENOUGH: usize = 3;

/// Jobs of such a key that may wait for each of its threads.
const AHEAD: usize = 5;

/// Bytes of stack of each thread. One attempt needs little; 512 of them would need 1 GiB of
/// address space at the default.
const STACK: usize = 256 * 1024;

struct Slot<K, J> {
    job: Mutex<Option<(K, J)>>,
    filled: Condvar,
}

struct Inner<K, J> {
    state: Mutex<PoolState<K, J>>,
    run: Box<dyn Fn(J) + Send + Sync>,
}

struct PoolState<K, J> {
    idle: Vec<Arc<Slot<K, J>>>,
    threads: Vec<(usize, JoinHandle<()>)>,
    /// How many threads work for a key.
    active: HashMap<K, usize>,
    /// What those threads do next.
    ahead: HashMap<K, VecDeque<J>>,
    alive: usize,
    next_number: usize,
    closed: bool,
}

impl<K: Hash + Eq + Copy, J> PoolState<K, J> {
    /// A job for `key` is done: the next one that waits for the same key, or one thread less for
    /// it.
    fn follow_up(&mut self, key: K) -> Option<J> {
        if let Some(waiting) = self.ahead.get_mut(&key) {
            if let Some(job) = waiting.pop_front() {
                return Some(job);
            }
            self.ahead.remove(&key);
        }
        self.one_less(key);
        None
    }

    fn one_less(&mut self, key: K) {
        if let Some(active) = self.active.get_mut(&key) {
            *active -= 1;
            if *active == 0 {
                self.active.remove(&key);
            }
        }
    }
}

/// Runs jobs, each on a thread of its own.
pub struct Pool<K, J> {
    inner: Arc<Inner<K, J>>,
}

impl<K: Hash + Eq + Copy + Send + 'static, J: Send + 'static> Pool<K, J> {
    /// A pool without threads; `run` does one job and must not panic.
    pub fn new(run: impl Fn(J) + Send + Sync + 'static) -> Self {
        let state = PoolState {
            idle: Vec::new(),
            threads: Vec::new(),
            active: HashMap::new(),
            ahead: HashMap::new(),
            alive: 0,
            next_number: 0,
            closed: false,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), run: Box::new(run) }) }
    }

    /// Hands a job to an idle thread or to a new one. When `most` threads work for `key` already,
    /// it waits for the first of them to be done, which then goes on with it without having slept.
    /// So it does, [`AHEAD`] jobs for each thread, when [`ENOUGH`] threads work for a key whose jobs are `quick`:
    /// waking another thread would take longer than waiting for one of them.
    ///
    /// Errors: the system gave no thread; the job comes back.
    pub fn run(&self, key: K, most: usize, quick: bool, job: J) -> Result<(), (J, std::io::Error)> {
        let mut state = lock(&self.inner.state);
        let active = state.active.get(&key).copied().unwrap_or(0);
        let ahead = state.ahead.get(&key).map_or(0, VecDeque::len);
        if active >= most || (quick && active >= ENOUGH && ahead < AHEAD * active) {
            state.ahead.entry(key).or_default().push_back(job);
            return Ok(());
        }
        state.active.insert(key, active + 1);
        if let Some(slot) = state.idle.pop() {
            *lock(&slot.job) = Some((key, job));
            drop(state);
            slot.filled.notify_one();
            return Ok(());
        }
        self.start(&mut state, key, job)
    }

    fn start(
        &self,
        state: &mut PoolState<K, J>,
        key: K,
        job: J,
    ) -> Result<(), (J, std::io::Error)> {
        let number = state.next_number;
        let slot = Arc::new(Slot { job: Mutex::new(Some((key, job))), filled: Condvar::new() });
        let (inner, mine) = (Arc::clone(&self.inner), Arc::clone(&slot));
        let thread = Builder::new()
            .name(format!("deliver-{number:03}"))
            .stack_size(STACK)
            .spawn(move || work(&inner, &mine, number));
        match thread {
            Ok(thread) => {
                state.threads.push((number, thread));
                state.alive += 1;
                state.next_number = (number + 1) % 1000;
                Ok(())
            }
            Err(err) => {
                state.one_less(key);
                let job = lock(&slot.job).take();
                job.map_or(Ok(()), |(_, job)| Err((job, err)))
            }
        }
    }

    /// Threads there are.
    pub fn threads(&self) -> usize {
        lock(&self.inner.state).alive
    }

    /// Lets idle threads go at once. Busy ones go when they are done; nobody waits for them.
    pub fn close(&self) {
        let mut state = lock(&self.inner.state);
        state.closed = true;
        for slot in state.idle.drain(..) {
            slot.filled.notify_one();
        }
    }
}

fn work<K: Hash + Eq + Copy, J>(inner: &Inner<K, J>, slot: &Arc<Slot<K, J>>, number: usize) {
    let mut next = lock(&slot.job).take();
    while let Some((key, job)) = next {
        (inner.run)(job);
        let mut state = lock(&inner.state);
        next = state.follow_up(key).map(|job| (key, job));
        if next.is_none() {
            if state.closed {
                break;
            }
            state.idle.push(Arc::clone(slot));
            drop(state);
            next = wait(inner, slot);
        }
    }
    let mut state = lock(&inner.state);
    state.alive -= 1;
    state.threads.retain(|(n, _)| *n != number);
}

/// Waits for a job; `None` when it is time to go.
fn wait<K, J>(inner: &Inner<K, J>, slot: &Arc<Slot<K, J>>) -> Option<(K, J)> {
    let deadline = Instant::now() + IDLE;
    let mut job = lock(&slot.job);
    while job.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = slot.filled.wait_timeout(job, left).unwrap_or_else(PoisonError::into_inner).0;
        if waited.is_some() {
            job = waited;
            break;
        }
        // The pool's lock is always taken before a slot's.
        drop(waited);
        if is_leaving(inner, slot, left.is_zero()) {
            return lock(&slot.job).take();
        }
        job = lock(&slot.job);
    }
    job.take()
}

/// Takes an idle thread off the stack when its time is over or the pool is closed. `false` when
/// it is to go on waiting: not yet, or a job is just being handed to it.
fn is_leaving<K, J>(inner: &Inner<K, J>, slot: &Arc<Slot<K, J>>, expired: bool) -> bool {
    let mut state = lock(&inner.state);
    let before = state.idle.len();
    if expired {
        state.idle.retain(|other| !Arc::ptr_eq(other, slot));
    }
    state.closed || (expired && state.idle.len() < before)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn runs_jobs_at_once_and_reuses_threads() {
        let (done, seen) = mpsc::channel();
        let pool = Pool::new(move |gate: mpsc::Receiver<()>| {
            gate.recv().unwrap();
            done.send(std::thread::current().name().map(str::to_owned)).unwrap();
        });
        let gates: Vec<_> = (0..3)
            .map(|_| {
                let (open, gate) = mpsc::channel();
                assert!(pool.run(1, 8, false, gate).is_ok());
                open
            })
            .collect();
        assert_eq!(pool.threads(), 3);
        gates.iter().for_each(|gate| gate.send(()).unwrap());
        let mut names: Vec<_> =
            (0..3).map(|_| seen.recv_timeout(LIMIT).unwrap().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["deliver-000", "deliver-001", "deliver-002"]);
        while lock(&pool.inner.state).idle.is_empty() {
            std::thread::yield_now();
        }
        let (open, gate) = mpsc::channel();
        assert!(pool.run(1, 8, false, gate).is_ok());
        open.send(()).unwrap();
        seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(pool.threads(), 3, "no fourth thread");
        pool.close();
    }

    #[test]
    fn what_is_over_the_limit_of_its_key_follows_on_the_same_thread() {
        let (done, seen) = mpsc::channel();
        let pool = Pool::new(move |(n, gate): (u32, mpsc::Receiver<()>)| {
            gate.recv().unwrap();
            done.send((n, std::thread::current().name().map(str::to_owned))).unwrap();
        });
        let start = |key: u8, n| {
            let (open, gate) = mpsc::channel();
            assert!(pool.run(key, 1, false, (n, gate)).is_ok());
            open
        };
        let (first, second, other) = (start(1, 1), start(1, 2), start(2, 3));
        assert_eq!(pool.threads(), 2, "one for each key");
        second.send(()).unwrap();
        other.send(()).unwrap();
        assert_eq!(seen.recv_timeout(LIMIT).unwrap().0, 3, "another key does not wait");
        first.send(()).unwrap();
        let names: Vec<_> = (0..2).map(|_| seen.recv_timeout(LIMIT).unwrap()).collect();
        let name = Some("deliver-000".to_owned());
        assert_eq!(names, [(1, name.clone()), (2, name)]);
        pool.close();
    }

    #[test]
    fn quick_jobs_wait_for_few_threads_up_to_a_limit() {
        let pool = Pool::new(|gate: mpsc::Receiver<()>| gate.recv().unwrap_or_default());
        let start = |quick| {
            let (open, gate) = mpsc::channel();
            assert!(pool.run(1, 100, quick, gate).is_ok());
            open
        };
        let mut gates: Vec<_> = (0..ENOUGH + AHEAD * ENOUGH).map(|_| start(true)).collect();
        assert_eq!(pool.threads(), ENOUGH);
        gates.push(start(true));
        assert_eq!(pool.threads(), ENOUGH + 1, "too many would wait");
        gates.push(start(false));
        assert_eq!(pool.threads(), ENOUGH + 2, "what is not quick never waits");
        drop(gates);
        pool.close();
    }
}
