//! The heap of all threads. A thread that traps while it holds the lock leaves a broken heap: waiting for it would never end.
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;
static OWNER: AtomicU32 = AtomicU32::new(0);
static BROKEN: AtomicBool = AtomicBool::new(false);
static USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ME: Cell<u32> = const { Cell::new(1) };
}

fn locked<T>(run: impl FnOnce() -> T) -> T {
    let me = ME.get();
    while OWNER.compare_exchange_weak(0, me, Acquire, Relaxed).is_err() {
        if BROKEN.load(Relaxed) {
            core::arch::wasm32::unreachable();
        }
        std::hint::spin_loop();
    }
    let result = run();
    OWNER.store(0, Release);
    result
}

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(layout.size(), Relaxed);
        locked(|| System.alloc(layout))
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        locked(|| System.dealloc(p, layout))
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(layout.size(), Relaxed);
        locked(|| System.alloc_zeroed(layout))
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        USED.fetch_add(size.wrapping_sub(layout.size()), Relaxed);
        locked(|| System.realloc(p, layout, size))
    }
}

/// Names the thread that calls; the first one is 1.
#[no_mangle]
pub extern "C" fn name_thread(id: u32) {
    ME.set(id);
}
/// After a trap: whether this thread held the heap. Then no thread may go on, and those that try to, trap.
#[no_mangle]
pub extern "C" fn broke_heap() -> i32 {
    let broke = OWNER.load(Relaxed) == ME.get();
    if broke {
        BROKEN.store(true, Relaxed);
    }
    broke as i32
}
/// Bytes that are taken and not given back.
#[no_mangle]
pub extern "C" fn used_bytes() -> usize {
    USED.load(Relaxed)
}
