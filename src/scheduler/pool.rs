//! An elastic pool of named OS threads (`deliver-017`): started on demand up to a limit, gone
//! after [`IDLE`] without work.
//!
//! Waking a thread costs more than a quick attempt. So few threads work off what is quick, in the order
//! it came, and a thread that is done goes on with the next job without having slept. A job
//! that is not quick has a thread at once; a quick one that turns out not to be counts no longer after
//! [`STUCK`], and another thread takes its place.
//!
//! Idle threads stand in a stack, so that the busy ones stay busy and the rest can go. Each has a
//! slot of its own: nobody spins or fights over one queue.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// A thread that had nothing to do for so long goes.
pub const IDLE: Duration = Duration::from_secs(30);

/// Threads that are enough for all jobs that are quick, while few wait.
const ENOUGH: usize = 6;

/// For so many quick jobs that wait there is one thread more: else accepting would leave delivering
/// behind, and what waits for long has to be read from disk again.
const WAITING: usize = 3;

/// A quick job that takes longer than this is not: its thread is not counted any more.
const STUCK: Duration = Duration::from_millis(5);

/// While jobs wait, [`Pool::relieve`] is to be called so often.
pub const RELIEF: Duration = Duration::from_millis(2);

/// Bytes of stack of each thread. One attempt needs little; 512 of them would need 1 GiB of
/// address space at the default.
const STACK: usize = 256 * 1024;

/// A job on its way to a thread.
struct Ready<K, J> {
    key: K,
    quick: bool,
    job: J,
}

struct Slot<K, J> {
    job: Mutex<Option<Ready<K, J>>>,
    filled: Condvar,
    /// Since when its thread works on a quick job, in µs of the pool's time; 0 = it does not.
    quick_since: AtomicU64,
}

struct Inner<K, J> {
    state: Mutex<PoolState<K, J>>,
    run: Box<dyn Fn(J) + Send + Sync>,
    began: Instant,
}

impl<K, J> Inner<K, J> {
    /// The pool's time: µs since a moment before it began, so never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).map_or(u64::MAX, |us| us.saturating_add(1))
    }
}

struct PoolState<K, J> {
    idle: Vec<Arc<Slot<K, J>>>,
    /// The slots of all threads there are.
    threads: Vec<Arc<Slot<K, J>>>,
    /// How many jobs of a key run or are ready.
    active: HashMap<K, usize>,
    /// What is over the limit of its key.
    over: HashMap<K, VecDeque<(bool, J)>>,
    /// Quick jobs that wait for a thread.
    ready: VecDeque<Ready<K, J>>,
    /// Threads that work on quick jobs.
    quick: usize,
    /// Those of them that were found stuck when it was last looked.
    stuck: usize,
    next_number: usize,
    closed: bool,
}

impl<K: Hash + Eq + Copy, J> PoolState<K, J> {
    /// What the thread does next that is done with a job: what has waited longest, unless a job of
    /// the same key that is not quick has its place.
    fn after(&mut self, key: K, quick: bool) -> Option<Ready<K, J>> {
        self.quick -= usize::from(quick);
        match self.over.get_mut(&key).and_then(VecDeque::pop_front) {
            Some((false, job)) => return Some(Ready { key, quick: false, job }),
            Some((true, job)) => self.ready.push_back(Ready { key, quick: true, job }),
            None => {
                self.over.remove(&key);
                self.one_less(key);
            }
        }
        let next = self.ready.pop_front()?;
        self.quick += 1;
        Some(next)
    }

    fn one_less(&mut self, key: K) {
        if let Some(active) = self.active.get_mut(&key) {
            *active -= 1;
            if *active == 0 {
                self.active.remove(&key);
            }
        }
    }

    /// As many threads as are enough work on quick jobs, not counting those that are stuck.
    fn has_enough(&self) -> bool {
        self.quick >= ENOUGH + self.stuck + self.ready.len() / WAITING
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
            over: HashMap::new(),
            ready: VecDeque::new(),
            quick: 0,
            stuck: 0,
            next_number: 0,
            closed: false,
        };
        let inner = Inner { state: Mutex::new(state), run: Box::new(run), began: Instant::now() };
        Self { inner: Arc::new(inner) }
    }

    /// Hands a job to an idle thread or to a new one. When `most` jobs of `key` are with threads
    /// already, it waits for the first of them to be done. A `quick` job waits for one of the threads
    /// that work on such jobs, if they are [`ENOUGH`].
    ///
    /// Errors: the system gave no thread, and there is none that the job could wait for; it comes
    /// back.
    pub fn run(&self, key: K, most: usize, quick: bool, job: J) -> Result<(), (J, std::io::Error)> {
        let mut state = lock(&self.inner.state);
        let active = state.active.get(&key).copied().unwrap_or(0);
        if active >= most {
            state.over.entry(key).or_default().push_back((quick, job));
            return Ok(());
        }
        state.active.insert(key, active + 1);
        if quick && (state.has_enough() || !state.ready.is_empty()) {
            state.ready.push_back(Ready { key, quick, job });
            self.fill(&mut state);
            return Ok(());
        }
        let Err((ready, err)) = self.hand_over(&mut state, Ready { key, quick, job }) else {
            return Ok(());
        };
        if quick && state.threads.len() > state.idle.len() {
            // Somebody is at work, and takes it when that is done.
            state.ready.push_back(ready);
            return Ok(());
        }
        state.one_less(key);
        Err((ready.job, err))
    }

    /// Takes back what no thread has begun.
    pub fn take_back(&self) -> Vec<J> {
        let mut state = lock(&self.inner.state);
        let ready = std::mem::take(&mut state.ready);
        ready.iter().for_each(|ready| state.one_less(ready.key));
        let over = std::mem::take(&mut state.over).into_values().flatten();
        ready.into_iter().map(|ready| ready.job).chain(over.map(|(_, job)| job)).collect()
    }

    /// Finds out which quick jobs are not, and has other threads take what waits behind them. Whether
    /// something waits still: then it is to be called again after [`RELIEF`].
    pub fn relieve(&self) -> bool {
        let mut state = lock(&self.inner.state);
        if state.quick < ENOUGH && state.ready.is_empty() {
            state.stuck = 0;
            return false;
        }
        let began_before = self.inner.now().saturating_sub(micros(STUCK));
        let is_stuck = |slot: &&Arc<Slot<K, J>>| {
            (1..began_before).contains(&slot.quick_since.load(Ordering::Relaxed))
        };
        state.stuck = state.threads.iter().filter(is_stuck).count();
        self.fill(&mut state);
        !state.ready.is_empty()
    }

    /// Has threads take what waits, until they are enough.
    fn fill(&self, state: &mut PoolState<K, J>) {
        while !state.has_enough()
            && let Some(ready) = state.ready.pop_front()
        {
            if let Err((ready, _)) = self.hand_over(state, ready) {
                // Without another thread it waits for those there are.
                state.ready.push_front(ready);
                return;
            }
        }
    }

    /// Gives a job to an idle thread, or to a new one.
    fn hand_over(
        &self,
        state: &mut PoolState<K, J>,
        ready: Ready<K, J>,
    ) -> Result<(), (Ready<K, J>, std::io::Error)> {
        let quick = ready.quick;
        let since = if quick { self.inner.now() } else { 0 };
        if let Some(slot) = state.idle.pop() {
            slot.quick_since.store(since, Ordering::Relaxed);
            *lock(&slot.job) = Some(ready);
            slot.filled.notify_one();
        } else {
            self.start(state, ready, since)?;
        }
        state.quick += usize::from(quick);
        Ok(())
    }

    fn start(
        &self,
        state: &mut PoolState<K, J>,
        ready: Ready<K, J>,
        since: u64,
    ) -> Result<(), (Ready<K, J>, std::io::Error)> {
        let number = state.next_number;
        let slot = Arc::new(Slot {
            job: Mutex::new(Some(ready)),
            filled: Condvar::new(),
            quick_since: AtomicU64::new(since),
        });
        let (inner, mine) = (Arc::clone(&self.inner), Arc::clone(&slot));
        let thread = Builder::new()
            .name(format!("deliver-{number:03}"))
            .stack_size(STACK)
            .spawn(move || work(&inner, &mine));
        match thread {
            Ok(_) => {
                state.threads.push(slot);
                state.next_number = (number + 1) % 1000;
                Ok(())
            }
            Err(err) => {
                let ready = lock(&slot.job).take();
                ready.map_or(Ok(()), |ready| Err((ready, err)))
            }
        }
    }

    /// Threads there are.
    pub fn threads(&self) -> usize {
        lock(&self.inner.state).threads.len()
    }

    /// Lets idle threads go at once. Busy ones go when they are done; nobody waits for them. What
    /// is not begun is dropped.
    pub fn close(&self) {
        drop(self.take_back());
        let mut state = lock(&self.inner.state);
        state.closed = true;
        for slot in state.idle.drain(..) {
            slot.filled.notify_one();
        }
    }
}

fn work<K: Hash + Eq + Copy, J>(inner: &Inner<K, J>, slot: &Arc<Slot<K, J>>) {
    let mut next = lock(&slot.job).take();
    while let Some(Ready { key, quick, job }) = next {
        (inner.run)(job);
        let mut state = lock(&inner.state);
        next = state.after(key, quick);
        if let Some(ready) = &next {
            let since = if ready.quick { inner.now() } else { 0 };
            slot.quick_since.store(since, Ordering::Relaxed);
        } else {
            slot.quick_since.store(0, Ordering::Relaxed);
            if state.closed {
                break;
            }
            state.idle.push(Arc::clone(slot));
            drop(state);
            next = wait(inner, slot);
        }
    }
    lock(&inner.state).threads.retain(|other| !Arc::ptr_eq(other, slot));
}

/// Waits for a job; `None` when it is time to go.
fn wait<K, J>(inner: &Inner<K, J>, slot: &Arc<Slot<K, J>>) -> Option<Ready<K, J>> {
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    type Gate = mpsc::Receiver<()>;
    /// A number, and the thread that had it.
    type Seen = mpsc::Receiver<(u32, String)>;

    /// A pool whose jobs wait for their gate, and say their number and their thread's name.
    fn gated() -> (Pool<u32, (u32, Gate)>, Seen) {
        let (done, seen) = mpsc::channel();
        let pool = Pool::new(move |(n, gate): (u32, Gate)| {
            gate.recv().unwrap_or_default();
            let name = std::thread::current().name().unwrap().to_owned();
            done.send((n, name)).unwrap_or_default();
        });
        (pool, seen)
    }

    fn start(
        pool: &Pool<u32, (u32, Gate)>,
        key: u32,
        most: usize,
        quick: bool,
        n: u32,
    ) -> mpsc::Sender<()> {
        let (open, gate) = mpsc::channel();
        assert!(pool.run(key, most, quick, (n, gate)).is_ok());
        open
    }

    #[test]
    fn runs_jobs_at_once_and_reuses_threads() {
        let (pool, seen) = gated();
        let gates: Vec<_> = (0..3).map(|n| start(&pool, 1, 8, false, n)).collect();
        assert_eq!(pool.threads(), 3);
        gates.iter().for_each(|gate| gate.send(()).unwrap());
        let mut names: Vec<_> = (0..3).map(|_| seen.recv_timeout(LIMIT).unwrap().1).collect();
        names.sort();
        assert_eq!(names, ["deliver-000", "deliver-001", "deliver-002"]);
        while lock(&pool.inner.state).idle.is_empty() {
            std::thread::yield_now();
        }
        start(&pool, 1, 8, false, 3).send(()).unwrap();
        seen.recv_timeout(LIMIT).unwrap();
        assert_eq!(pool.threads(), 3, "no fourth thread");
        pool.close();
    }

    #[test]
    fn what_is_over_the_limit_of_its_key_follows_on_the_same_thread() {
        for quick in [false, true] {
            let (pool, seen) = gated();
            let first = start(&pool, 1, 1, quick, 1);
            let second = start(&pool, 1, 1, quick, 2);
            let other = start(&pool, 2, 1, quick, 3);
            assert_eq!(pool.threads(), 2, "one for each key");
            second.send(()).unwrap();
            other.send(()).unwrap();
            assert_eq!(seen.recv_timeout(LIMIT).unwrap().0, 3, "another key does not wait");
            first.send(()).unwrap();
            let names: Vec<_> = (0..2).map(|_| seen.recv_timeout(LIMIT).unwrap()).collect();
            let name = "deliver-000".to_owned();
            assert_eq!(names, [(1, name.clone()), (2, name)]);
            pool.close();
        }
    }

    #[test]
    fn quick_jobs_of_all_keys_wait_for_few_threads_in_order() {
        let (pool, seen) = gated();
        let count = u32::try_from(ENOUGH).unwrap();
        let first: Vec<_> = (0..count).map(|n| start(&pool, n, 100, true, n)).collect();
        let some = count + u32::try_from(WAITING - 1).unwrap();
        let more: Vec<_> = (count..some).map(|n| start(&pool, n, 100, true, n)).collect();
        assert_eq!(pool.threads(), ENOUGH);
        let slow = start(&pool, 0, 100, false, 1000);
        assert_eq!(pool.threads(), ENOUGH + 1, "what is not quick never waits");
        more.iter().for_each(|gate| gate.send(()).unwrap());
        first[0].send(()).unwrap();
        let order: Vec<_> = (0..=more.len()).map(|_| seen.recv_timeout(LIMIT).unwrap()).collect();
        let numbers: Vec<_> = order.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers[1..], (count..some).collect::<Vec<_>>());
        assert!(order.iter().all(|(_, name)| name == "deliver-000"), "without having slept");
        drop((first, slow));
        pool.close();
    }

    #[test]
    fn when_many_quick_jobs_wait_there_are_more_threads() {
        let (pool, _seen) = gated();
        let jobs = u32::try_from(ENOUGH + WAITING - 1).unwrap();
        let mut gates: Vec<_> = (0..jobs).map(|n| start(&pool, n, 100, true, n)).collect();
        assert_eq!(pool.threads(), ENOUGH);
        gates.push(start(&pool, jobs, 100, true, jobs));
        assert_eq!(pool.threads(), ENOUGH + 1);
        drop(gates);
        pool.close();
    }

    #[test]
    fn what_is_not_begun_is_given_back() {
        let (pool, seen) = gated();
        let count = u32::try_from(ENOUGH).unwrap();
        let running: Vec<_> = (0..count).map(|n| start(&pool, n, 1, true, n)).collect();
        let _ready = start(&pool, count, 1, true, 100);
        let _over = start(&pool, 0, 1, true, 101);
        let back: Vec<_> = pool.take_back().into_iter().map(|(n, _)| n).collect();
        assert_eq!(back, [100, 101]);
        let late = start(&pool, count, 1, true, 102);
        pool.close();
        drop((running, late));
        let mut ran: Vec<_> = (0..count).map(|_| seen.recv_timeout(LIMIT).unwrap().0).collect();
        ran.sort_unstable();
        assert_eq!(ran, (0..count).collect::<Vec<_>>());
        while pool.threads() > 0 {
            std::thread::yield_now();
        }
        assert!(seen.try_recv().is_err(), "nothing is begun after the end");
    }

    #[test]
    fn a_number_that_comes_again_takes_nobody_off_the_list() {
        let (pool, seen) = gated();
        let first = start(&pool, 0, 1, false, 0);
        lock(&pool.inner.state).next_number = 0;
        start(&pool, 1, 1, false, 1).send(()).unwrap();
        let name = seen.recv_timeout(LIMIT).unwrap().1;
        assert_eq!(name, "deliver-000", "the second of that name");
        while lock(&pool.inner.state).idle.is_empty() {
            std::thread::yield_now();
        }
        pool.close();
        while pool.threads() > 1 {
            std::thread::yield_now();
        }
        assert_eq!(pool.threads(), 1, "the first is at work");
        drop(first);
    }

    #[test]
    fn who_is_stuck_is_not_counted() {
        let (pool, seen) = gated();
        let count = u32::try_from(ENOUGH).unwrap();
        let stuck: Vec<_> = (0..count).map(|n| start(&pool, n, 100, true, n)).collect();
        let waiting = start(&pool, count, 100, true, count);
        waiting.send(()).unwrap();
        assert_eq!(pool.threads(), ENOUGH, "not known to be stuck: it waits");
        while pool.relieve() {
            std::thread::yield_now();
        }
        assert_eq!(seen.recv_timeout(LIMIT).unwrap().0, count);
        assert_eq!(pool.threads(), ENOUGH + 1);
        stuck.iter().for_each(|gate| gate.send(()).unwrap());
        (0..count).for_each(|_| drop(seen.recv_timeout(LIMIT).unwrap()));
        while lock(&pool.inner.state).idle.len() <= ENOUGH {
            std::thread::yield_now();
        }
        assert!(!pool.relieve());
        let state = lock(&pool.inner.state);
        assert_eq!((state.quick, state.stuck, state.active.len()), (0, 0, 0));
        drop(state);
        pool.close();
    }
}
