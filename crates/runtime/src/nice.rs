//! Which threads the system prefers.
//!
//! Work in the background shares the processors with predictions that somebody waits for. The system's scheduler decides between threads thousands of
//! times a second, also within a run of ONNX Runtime, which no queue of ours could interrupt; so what is less urgent runs on threads of a higher niceness. None
//! starves: the scheduler gives each a share, which on Linux is a tenth of an ordinary thread's at [`BACKGROUND`] and a seventieth at [`LAST`].

use std::panic::resume_unwind;
use std::thread;

/// Niceness of work that nobody waits for within milliseconds: gradients, attacks, audits.
pub const BACKGROUND: i32 = 10;

/// Niceness of work that comes after everything else: training.
pub const LAST: i32 = 19;

/// Makes the calling thread, and threads that it starts from now on, no less nice than `level`; it cannot be taken back. Nothing happens on systems where
/// niceness belongs to the whole process.
pub(crate) fn raise(level: i32) {
    #[cfg(target_os = "linux")]
    {
        let raised = rustix::process::nice(0).and_then(|now| rustix::process::nice((level - now).max(0)));
        if let Err(error) = raised {
            tracing::debug!(%error, level, "the niceness of a thread could not be raised");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = level;
}

/// Does `work` on a thread of its own that is no less nice than `level`, and waits for it. A panic goes on in the caller.
pub fn behind<T: Send>(level: i32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            raise(level);
            work()
        });
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_its_children_are_nicer_and_no_other_thread_is() {
        let now = || rustix::process::nice(0).unwrap();
        let before = now();
        let inside = behind(13, || {
            raise(7);
            (now(), thread::spawn(now).join().unwrap())
        });
        let level = before.max(13);
        assert_eq!((inside, now()), ((level, level), before));
    }
}
