//! How a program that trains on the CPU is set up around the kernels: threads and memory.
#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    allow(unsafe_code) // the C library's settings
)]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{DType, Device};

use crate::{
    Route,
    isa::{Isa, available},
};

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

/// Runs work that is made of many short parallel parts, such as reading a token, with the pool's other
/// threads kept from falling asleep between them: waking one takes longer than such a part.
///
/// Threads without work look for it again and again, and give way to other programs. On devices other
/// than flex nothing is done.
///
/// # Example
/// ```
/// let device = burn::tensor::Device::flex();
/// let sum = sinterlm_kernels::keep_threads_awake(&device, || 1 + 1);
/// assert_eq!(sum, 2);
/// ```
pub fn keep_threads_awake<R>(device: &Device, work: impl FnOnce() -> R) -> R {
    if Route::of(device, DType::F32) == Route::Composed || rayon::current_num_threads() == 1 {
        return work();
    }
    let is_over = AtomicBool::new(false);
    let caller = rayon::current_thread_index();
    rayon::in_place_scope(|scope| {
        scope.spawn_broadcast(|_, thread| {
            // The caller may come by here while it waits, and must go back to its work.
            if Some(thread.index()) != caller {
                look_for_work(&is_over);
            }
        });
        let _guard = SetWhenDropped(&is_over); // after a panic too
        work()
    })
}

/// Looks for work between two system calls that give way to other threads.
const LOOKS: u32 = 64;

fn look_for_work(is_over: &AtomicBool) {
    let mut looks = 0;
    while !is_over.load(Ordering::Relaxed) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            looks = 0;
            continue;
        }
        looks += 1;
        if looks % LOOKS == 0 {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bytes that the threads of the current pool keep for themselves in training of a model of that
/// width: stacks and small buffers, and the part of an operand that a product rearranges for each
/// thread, eight tiles of 64 rows with AVX-512 and of 16 otherwise, 512 numbers deep.
pub fn thread_buffer_bytes(d_model: usize) -> u64 {
    const SMALL: usize = 192 << 10;
    let tile_rows = if available() >= Isa::Avx512 { 64 } else { 16 };
    let rearranged = 4 * 512 * d_model.min(8 * tile_rows);
    (rayon::current_num_threads() * (SMALL + rearranged)) as u64
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

    #[test]
    fn threads_kept_awake_share_the_work_and_go_when_it_is_over_or_panics() {
        use rayon::prelude::*;
        let device = Device::flex();
        let sums = |parts: u64| (0..parts).into_par_iter().map(|x| x * x).sum::<u64>();
        let many = || (0..100).map(|_| sums(64)).sum::<u64>();
        let nested = || keep_threads_awake(&device, || keep_threads_awake(&device, many));
        assert_eq!(run_on_pool(NonZeroUsize::new(3), nested), 100 * 85_344);
        assert_eq!(nested(), 100 * 85_344); // not on a thread of the pool
        let panics = || keep_threads_awake(&device, || panic!("as it should"));
        let caught = run_on_pool(NonZeroUsize::new(2), || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics))
        });
        assert!(caught.is_err());
    }
}
