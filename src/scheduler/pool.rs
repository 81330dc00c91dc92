//! An elastic pool of named OS threads (`deliver-017`): started on demand up to a limit, gone
//! after [`IDLE`] without work.
//!
//! Idle threads stand in a stack, so that the busy ones stay busy and the rest can go. Each has a
//! slot of its own: nobody spins or fights over one queue.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A thread that had nothing to do for so long goes.
pub const IDLE: Duration = Duration::from_secs(30);

/// Bytes of stack of each thread. One attempt needs little; 512 of them would need 1 GiB of
/// address space at the default.
const STACK: usize = 256 * 1024;

struct Slot<J> {
    job: Mutex<Option<J>>,
    filled: Condvar,
}

struct Inner<J> {
    state: Mutex<PoolState<J>>,
    run: Box<dyn Fn(J) + Send + Sync>,
}

struct PoolState<J> {
    idle: Vec<Arc<Slot<J>>>,
    threads: Vec<(usize, JoinHandle<()>)>,
    alive: usize,
    next_number: usize,
    closed: bool,
}

/// Runs jobs, each on a thread of its own.
pub struct Pool<J> {
    inner: Arc<Inner<J>>,
}

impl<J: Send + 'static> Pool<J> {
    /// A pool without threads; `run` does one job and must not panic.
    pub fn new(run: impl Fn(J) + Send + Sync + 'static) -> Self {
        let state = PoolState {
            idle: Vec::new(),
            threads: Vec::new(),
            alive: 0,
            next_number: 0,
            closed: false,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), run: Box::new(run) }) }
    }

    /// Hands a job to an idle thread or to a new one. The caller keeps count: there are never
    /// more threads than jobs at the busiest moment.
    ///
    /// Errors: the system gave no thread; the job comes back.
    pub fn run(&self, job: J) -> Result<(), (J, std::io::Error)> {
        let mut state = lock(&self.inner.state);
        if let Some(slot) = state.idle.pop() {
            *lock(&slot.job) = Some(job);
            drop(state);
            slot.filled.notify_one();
            return Ok(());
        }
        let number = state.next_number;
        let slot = Arc::new(Slot { job: Mutex::new(Some(job)), filled: Condvar::new() });
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
            Err(err) => match lock(&slot.job).take() {
                Some(job) => Err((job, err)),
                None => Ok(()),
            },
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

fn work<J>(inner: &Inner<J>, slot: &Arc<Slot<J>>, number: usize) {
    while let Some(job) = next(inner, slot) {
        (inner.run)(job);
    }
    let mut state = lock(&inner.state);
    state.alive -= 1;
    state.threads.retain(|(n, _)| *n != number);
}

/// Waits for a job; `None` when it is time to go.
fn next<J>(inner: &Inner<J>, slot: &Arc<Slot<J>>) -> Option<J> {
    if let Some(job) = lock(&slot.job).take() {
        return Some(job);
    }
    {
        let mut state = lock(&inner.state);
        if state.closed {
            return None;
        }
        state.idle.push(Arc::clone(slot));
    }
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
fn is_leaving<J>(inner: &Inner<J>, slot: &Arc<Slot<J>>, expired: bool) -> bool {
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
                assert!(pool.run(gate).is_ok());
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
        assert!(pool.run(gate).is_ok());
        open.send(()).unwrap();
        seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(pool.threads(), 3, "no fourth thread");
        pool.close();
    }
}
