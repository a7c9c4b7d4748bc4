//! The programs' allocator: the system's, with memory that is zeroed before it goes back.
//!
//! Promised: what a program frees, or moves by growing it, is zeros before anyone else gets the memory,
//! in its own crates and in those that it uses. Not promised: anything for what C libraries allocate
//! by themselves, for memory that is never freed, or for who uses the library without this allocator.

use std::alloc::{GlobalAlloc, Layout, System};

/// For `#[global_allocator]`.
#[derive(Debug)]
pub struct WipingAllocator;

// SAFETY: every block comes from `System` and goes back to it with the layout that it was asked for;
// nothing here allocates by itself, panics or keeps a block.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that the block has this layout and that nobody uses it any more.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    /// Never in place: what the system's own would move, it would leave behind.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the block has this layout, that `new_size` is not zero and
        // makes a layout with its alignment. Two blocks do not overlap, and both have the bytes that
        // are copied.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Zeroes memory that is about to be freed.
///
/// # Safety
///
/// `block` can be written to for `len` bytes, and nobody else uses it.
unsafe fn wipe(block: *mut u8, len: usize) {
    // SAFETY: as this function's own; after the first line the bytes are initialised.
    unsafe {
        block.write_bytes(0, len);
        // Else the compiler could leave out a write to what is freed next.
        zeroize::optimization_barrier(std::slice::from_raw_parts(block, len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_wiped_and_moved_whole() {
        let mut block = [7u8; 40];
        // SAFETY: the array has 40 bytes and no other user.
        unsafe { wipe(block.as_mut_ptr(), 32) };
        assert_eq!((block[..32].to_vec(), block[32..].to_vec()), (vec![0; 32], vec![7; 8]));
        let layout = Layout::from_size_align(100, 64).unwrap();
        // SAFETY: each block is used within its size and freed once, with the layout that it has then.
        unsafe {
            let block = WipingAllocator.alloc(layout);
            block.write_bytes(7, 100);
            let grown = WipingAllocator.realloc(block, layout, 5000);
            assert!(std::slice::from_raw_parts(grown, 100).iter().all(|byte| *byte == 7));
            assert_eq!(grown.align_offset(64), 0);
            let shrunk = WipingAllocator.realloc(grown, Layout::from_size_align(5000, 64).unwrap(), 10);
            assert!(std::slice::from_raw_parts(shrunk, 10).iter().all(|byte| *byte == 7));
            WipingAllocator.dealloc(shrunk, Layout::from_size_align(10, 64).unwrap());
        }
    }
}
