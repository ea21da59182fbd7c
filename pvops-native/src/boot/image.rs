//! Where the boot loader put the kernel image: from the program headers of the ELF it still holds in memory.

use bootloader_api::BootInfo;
use pvops_abi::addr::{PAGE_SIZE, VirtAddr};

const LOAD: u32 = 1;
const HEADERS_OFFSET: usize = 32;
const HEADER_BYTES: usize = 54;
const HEADER_COUNT: usize = 56;

/// The image in virtual memory, whole pages.
#[derive(Clone, Copy)]
pub(super) struct Image {
    pub(super) start: VirtAddr,
    pub(super) bytes: u64,
}

/// Finds the image.
///
/// # Panics
/// When the ELF is not there any more: the boot loader has just loaded it, so this cannot be.
pub(super) fn find(info: &BootInfo, physical_map: VirtAddr) -> Image {
    let file = (physical_map.0 + info.kernel_addr) as *const u8;
    // SAFETY: the boot loader gives place and size of the file, which its map of physical memory covers.
    let file = unsafe { core::slice::from_raw_parts(file, info.kernel_len as usize) };
    let (first, end) = extent(file).expect("the boot loader checked the ELF");
    // Relocatable images are shifted by this, others are not.
    let start = info.kernel_image_offset.wrapping_add(first) / PAGE_SIZE * PAGE_SIZE;
    let end = info.kernel_image_offset.wrapping_add(end).next_multiple_of(PAGE_SIZE);
    Image { start: VirtAddr(start), bytes: end - start }
}

/// First address and end of all loaded segments, as the file says.
fn extent(file: &[u8]) -> Option<(u64, u64)> {
    let headers = word64(file, HEADERS_OFFSET)? as usize;
    let bytes = usize::from(word16(file, HEADER_BYTES)?);
    let count = usize::from(word16(file, HEADER_COUNT)?);
    let mut extent: Option<(u64, u64)> = None;
    for index in 0..count {
        let header = file.get(headers + index * bytes..)?;
        if word32(header, 0)? != LOAD {
            continue;
        }
        let first = word64(header, 16)?;
        let end = first + word64(header, 40)?;
        let (low, high) = extent.unwrap_or((first, end));
        extent = Some((low.min(first), high.max(end)));
    }
    extent
}

fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
