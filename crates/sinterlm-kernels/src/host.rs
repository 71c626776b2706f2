//! How a program that trains on the CPU is set up around the kernels: threads and memory.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    allow(unsafe_code) // the C library's settings
)]

use std::num::NonZeroUsize;

/// Runs a program's work where training on the CPU is fastest: call it once, around everything.
///
/// - `body` runs as one of the threads that share the kernels' work. From any other thread each
///   kernel is handed over and waited for, which costs a switch of threads both ways.
/// - With glibc, freed memory is kept for the next step. By default large buffers go back to the
///   system, which has to zero them page by page when the next step asks for them again. The peak of
///   the program's memory hardly changes.
///
/// The threads are `threads`, or as many as `RAYON_NUM_THREADS` says, or one for each core; where
/// the system gives none, `body` runs on the calling thread.
///
/// # Example
/// ```
/// let sum = sinterlm_kernels::run_on_pool(None, || 1 + 1);
/// assert_eq!(sum, 2);
/// ```
pub fn run_on_pool<R: Send>(threads: Option<NonZeroUsize>, body: impl FnOnce() -> R + Send) -> R {
    keep_freed_memory();
    let threads = threads.map_or(0, NonZeroUsize::get);
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(body),
        Err(_) => body(),
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    // SAFETY: sets numbers of the allocator, behind its lock. Where it refuses, all stays as it was.
    unsafe {
        // The arenas of other threads than the first give every buffer above 64 MiB back at once.
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}

/// Gives memory that was freed back to the system, where [`run_on_pool`] has it kept: call it after
/// work whose buffers the next doesn't need, such as preparing text before training.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn release_freed_memory() {
    // SAFETY: the allocator looks for unused pages, behind its lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Does nothing: memory is not kept here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn release_freed_memory() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_a_thread_of_a_pool_of_that_size() {
        let inside = || {
            (
                rayon::current_thread_index().is_some(),
                rayon::current_num_threads(),
            )
        };
        assert_eq!(run_on_pool(NonZeroUsize::new(3), inside), (true, 3));
    }
}
