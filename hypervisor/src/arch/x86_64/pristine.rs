//! What a domain's memory held before its first instruction, kept so that it can be started anew.
//!
//! Boot code and the boot loader's ramdisk are gone by then, so the part of memory that the builder filled (image,
//! hypercall page, start information, tables) is copied once, behind the domain's state; everything else was zero.

use super::guest::GuestMemory;
use core::ptr;
use pvops_abi::error::Error;

const PAGE: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub struct Pristine {
    /// Where the domain's window shows the copy.
    at: u64,
    /// Guest-physical bounds of what was copied, whole pages.
    start: u64,
    end: u64,
}

impl Pristine {
    /// # Safety
    /// While the value is used, `at` maps `end - start` bytes that nobody changes and no Rust object lies in.
    #[must_use]
    pub unsafe fn new(at: u64, start: u64, end: u64) -> Self {
        Self { at, start, end }
    }

    /// Makes the page at guest-physical `page` what it was at first.
    ///
    /// # Errors
    /// [`Error::BadAddress`] outside memory.
    pub fn restore_page(&self, memory: &GuestMemory, page: u64) -> Result<(), Error> {
        let target = memory.page(page)?;
        // SAFETY: `target` is a page of the window to guest memory, where no Rust object lies; the copy is
        // mapped by `new`'s contract, and the two are apart.
        unsafe {
            if (self.start..self.end).contains(&page) {
                let from = (self.at + (page - self.start)) as *const u8;
                ptr::copy_nonoverlapping(from, target as *mut u8, PAGE as usize);
            } else {
                ptr::write_bytes(target as *mut u8, 0, PAGE as usize);
            }
        }
        Ok(())
    }
}
