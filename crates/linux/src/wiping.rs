//! An allocator that wipes what is freed, for programs that hold keys.
//!
//! Cipher libraries keep expanded keys on the heap and do not wipe them; with this allocator none
//! of it outlives its owner. Wiping costs time in proportion to what is freed, so hot paths reuse
//! their buffers.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator; every block is zeroed before it goes back.
///
/// Growing a block moves it, since a block grown in place by the system could be moved unwiped.
#[derive(Clone, Copy, Debug, Default)]
pub struct WipingAllocator;

// SAFETY: every call is the system allocator's with unchanged arguments; a block is written only
// while it is still allocated and only within its layout. `realloc` is the trait's own, which
// allocates, copies and frees through the functions below.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about `layout` are the system allocator's own.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block of ours with its layout, so `size` bytes are writable;
        // explicit_bzero is never optimised away.
        unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        // SAFETY: the block came from the system allocator with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}
