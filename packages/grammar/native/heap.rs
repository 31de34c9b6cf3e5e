//! The heap of all threads. A thread that traps or is ended while it holds the lock leaves a broken heap: waiting for it would never end.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;
static OWNER: AtomicU32 = AtomicU32::new(0);
/// The thread that left the heap in the middle of a change, or 0.
static BROKEN_BY: AtomicU32 = AtomicU32::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
/// A bit for each thread that is to trap where it next takes memory.
static STOPPED: AtomicU32 = AtomicU32::new(0);
/// Looks at the lock after which its owner is taken to be gone: seconds, where others hold it for less than a microsecond.
const MOST_LOOKS: u32 = 1 << 30;

thread_local! {
    static ME: Cell<u32> = const { Cell::new(1) };
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    static WORK: Cell<u64> = const { Cell::new(u64::MAX) };
}

fn locked<T>(run: impl FnOnce() -> T) -> T {
    let me = ME.get();
    let mut looks = 0;
    while OWNER.compare_exchange_weak(0, me, Acquire, Relaxed).is_err() {
        looks += 1;
        if looks == MOST_LOOKS || BROKEN_BY.load(Relaxed) != 0 {
            core::arch::wasm32::unreachable();
        }
        std::hint::spin_loop();
    }
    let result = run();
    OWNER.store(0, Release);
    result
}

/// Counts `size` bytes more. False where this thread may not have them.
fn may_take(size: usize) -> bool {
    let left = LEFT.get();
    let work = WORK.get();
    // Small pieces cost more than their bytes.
    let cost = size as u64 + 64;
    if size > left || cost > work || STOPPED.load(Relaxed) >> ME.get() & 1 == 1 {
        return false;
    }
    LEFT.set(left - size);
    WORK.set(work - cost);
    USED.fetch_add(size, Relaxed);
    true
}

fn gave(size: usize) {
    LEFT.set(LEFT.get().saturating_add(size));
    USED.fetch_sub(size, Relaxed);
}

// Not inlined: every place that takes memory would hold all of this, and the module a twentieth more.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_take(layout.size()) {
            return std::ptr::null_mut();
        }
        locked(|| System.alloc(layout))
    }
    #[inline(never)]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        gave(layout.size());
        locked(|| System.dealloc(p, layout))
    }
    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !may_take(layout.size()) {
            return std::ptr::null_mut();
        }
        locked(|| System.alloc_zeroed(layout))
    }
    #[inline(never)]
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !may_take(size) {
            return std::ptr::null_mut();
        }
        gave(layout.size());
        locked(|| System.realloc(p, layout, size))
    }
}

/// Names the thread that calls, below 32; the first one is 1.
#[no_mangle]
pub extern "C" fn name_thread(id: u32) {
    ME.set(id);
}
/// Makes a thread trap where it next takes memory, which is before long, and with the heap whole.
#[no_mangle]
pub extern "C" fn stop_thread(id: u32) {
    STOPPED.fetch_or(1 << id, Relaxed);
}
/// Begins a call: how many bytes more than now this thread may have, since what one call takes must not be missing for others; and how many
/// MiB it may take in all, given back or not. That is a measure of its work which is the same on every machine, however busy.
#[no_mangle]
pub extern "C" fn allow(bytes: usize, work: u32) {
    STOPPED.fetch_and(!(1 << ME.get()), Relaxed);
    LEFT.set(bytes);
    WORK.set((work as u64) << 20);
}
/// MiB that may still be taken.
#[no_mangle]
pub extern "C" fn work_left() -> u32 {
    (WORK.get() >> 20) as u32
}
/// The thread that is in the middle of a change, or 0.
#[no_mangle]
pub extern "C" fn heap_owner() -> u32 {
    OWNER.load(Acquire)
}
/// Thread `id` will not go on and left the heap in the middle of a change, or wrote where it should not. From here on no thread may go on,
/// and those that try to, trap.
#[no_mangle]
pub extern "C" fn break_heap(id: u32) {
    let _ = BROKEN_BY.compare_exchange(0, id, Relaxed, Relaxed);
}
#[no_mangle]
pub extern "C" fn broken_by() -> u32 {
    BROKEN_BY.load(Relaxed)
}
/// Bytes that are taken and not given back.
#[no_mangle]
pub extern "C" fn used_bytes() -> usize {
    USED.load(Relaxed)
}
