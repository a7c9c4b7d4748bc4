//! Threads that judge candidates while others are read, cut and weighed.
//!
//! Promises: what is handed out in a job comes back with it, in the order in which it was asked for; as many jobs are
//! under way as their owner hands out, so memory is his to bound.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
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
    jobs: Sender<(Job<T>, SyncSender<Job<T>>)>,
    /// How many threads there are.
    pub threads: usize,
}

impl<T: Send> Pool<T> {
    /// Calls `work` with a pool of threads, one for each core, that judge with `examiner`.
    pub fn with<E: Examine<Out = T>, R>(examiner: &E, work: impl FnOnce(&Self) -> R) -> R {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, waiting) = channel::<(Job<T>, SyncSender<Job<T>>)>();
        let waiting = Mutex::new(waiting);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    // In a statement of its own, so that the lock is not held while the job is done.
                    while let Ok((mut job, done)) = next(&waiting) {
                        job.run(examiner);
                        // Who asked for it may have found that it is not needed.
                        let _ = done.send(job);
                    }
                });
            }
            // When it is dropped the threads end.
            work(&Self { jobs, threads })
        })
    }

    /// Hands a job out; it comes back through the receiver.
    pub fn hand_out(&self, job: Job<T>) -> Receiver<Job<T>> {
        let (done, result) = sync_channel(1);
        self.jobs.send((job, done)).expect("the threads are there as long as the pool is");
        result
    }
}

fn next<J>(waiting: &Mutex<Receiver<J>>) -> Result<J, std::sync::mpsc::RecvError> {
    waiting.lock().expect("no thread panics while it holds the lock").recv()
}
