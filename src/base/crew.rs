//! Hands for work that can be split: below the runtime nothing starts a thread, so whoever has cores
//! to spare hands in a [`Crew`].

/// A piece of work, independent of the others it is handed in with.
pub type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Carries out independent pieces of work, at once if it can.
pub trait Crew {
    /// How many jobs may run at once; at least 1. Into so many pieces work is cut.
    fn hands(&self) -> usize;

    /// Runs every job and returns when all have ended, in whatever order.
    fn run(&self, jobs: Vec<Job<'_>>);
}

/// A crew of one: the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Crew for Alone {
    fn hands(&self) -> usize {
        1
    }

    fn run(&self, jobs: Vec<Job<'_>>) {
        for job in jobs {
            job();
        }
    }
}
