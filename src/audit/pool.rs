//! Threads that judge candidates while others are read, cut and weighed.
//!
//! Promises: what is handed out in a job comes back with it, in the order in which it was asked for; as many jobs are
//! under way as their owner hands out, so memory is his to bound. Who waits for a job does others in the meantime, so there
//! is one thread less than there are cores: a thread too many would have the system move all of them from core to core.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread;

use super::scan::{Examine, Why};
use crate::record::Framing;

/// Candidates of one file that follow each other.
pub struct Job<T> {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Where in them each stands, without what separates lines.
    pub cut: Vec<Range<usize>>,
    /// How they are to be read.
    pub framing: Framing,
    /// What came of each; nothing for an empty line.
    pub results: Vec<Option<Result<T, Why>>>,
}

impl<T> Job<T> {
    /// Judges all of them.
    pub fn run(&mut self, examiner: &impl Examine<Out = T>) {
        self.results = examiner.examine_all(&self.bytes, &self.cut, self.framing);
    }
}

/// Candidates that were cut and handed out.
pub struct Flight<T> {
    /// Where in the file they begin.
    pub offset: u64,
    /// Where each stands behind that, with its framing.
    pub framed: Vec<Range<usize>>,
    /// It comes back here, or
    pub under_way: Option<Receiver<Job<T>>>,
    /// it is there.
    pub job: Option<Job<T>>,
}

impl<T> Flight<T> {
    /// Whether the results are there.
    pub fn has_landed(&mut self) -> bool {
        if let Some(job) = self.under_way.as_ref().and_then(|under_way| under_way.try_recv().ok()) {
            (self.under_way, self.job) = (None, Some(job));
        }
        self.job.is_some()
    }

    /// Waits for the results.
    pub fn land(&mut self) -> &mut Job<T> {
        if let Some(job) = self.under_way.take() {
            self.job = Some(job.recv().expect("threads end with their jobs done"));
        }
        self.job.as_mut().expect("it is under way or there")
    }

    /// What came of those from `from` on that are records.
    pub fn good(&mut self, from: usize) -> impl Iterator<Item = &T> {
        self.land().results.iter().skip(from).filter_map(|result| result.as_ref()?.as_ref().ok())
    }
}

/// What threads wait at.
pub struct Pool<T> {
    jobs: Sender<HandedOut<T>>,
    waiting: Waiting<T>,
    /// How many threads do them, the one that hands them out included.
    pub threads: usize,
}

/// A job, and where it is to come back.
type HandedOut<T> = (Job<T>, SyncSender<Job<T>>);
type Waiting<T> = Arc<Mutex<Receiver<HandedOut<T>>>>;

impl<T: Send> Pool<T> {
    /// Calls `work` with a pool of threads, one for each core but its own, that judge with `examiner`.
    pub fn with<E: Examine<Out = T>, R>(examiner: &E, work: impl FnOnce(&Self) -> R) -> R {
        let threads = thread::available_parallelism().map_or(1, usize::from).max(2);
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        thread::scope(|scope| {
            for _ in 1..threads {
                let waiting = Arc::clone(&waiting);
                scope.spawn(move || {
                    // In a function of its own, so that the lock is not held while the job is done.
                    while let Ok(handed_out) = next(&waiting) {
                        run(handed_out, examiner);
                    }
                });
            }
            // When it is dropped the threads end.
            work(&Self { jobs, waiting, threads })
        })
    }

    /// Hands a job out; it comes back through the receiver.
    pub fn hand_out(&self, job: Job<T>) -> Receiver<Job<T>> {
        let (done, result) = sync_channel(1);
        self.jobs.send((job, done)).expect("the threads are there as long as the pool is");
        result
    }

    /// Does one of the jobs that no thread has begun, if there is one.
    pub fn help(&self, examiner: &impl Examine<Out = T>) -> bool {
        let next = match self.waiting.try_lock() {
            Ok(waiting) => waiting.try_recv().ok(),
            // A thread waits for a job, so there is none; or it takes one.
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => unreachable!("no thread panics while it holds the lock"),
        };
        next.map(|handed_out| run(handed_out, examiner)).is_some()
    }
}

fn next<T>(waiting: &Mutex<Receiver<HandedOut<T>>>) -> Result<HandedOut<T>, RecvError> {
    waiting.lock().expect("no thread panics while it holds the lock").recv()
}

fn run<T>((mut job, done): HandedOut<T>, examiner: &impl Examine<Out = T>) {
    job.run(examiner);
    // Who asked for it may have found that it is not needed.
    let _ = done.send(job);
}
