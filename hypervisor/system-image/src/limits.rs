//! What the hypervisor of this version runs: less than the format has room for. The tools say so before anything
//! boots, the hypervisor once more at boot.

/// Most domains.
pub const MAX_DOMAINS: usize = 8;
/// Most virtual CPUs of one domain.
pub const MAX_VCPUS: usize = 1;

/// Size of a page of shadow tables.
const PAGE: u64 = 4096;
/// A page of shadow tables for each 128 KiB of a domain's memory, which is 1/32 of it.
const POOL_SHARE: u64 = 128 << 10;
/// A small domain has as many address spaces as a large one.
const MIN_POOL_PAGES: u64 = 1024;

/// Pages for the shadow tables of a domain with this much memory.
pub const fn pool_pages(memory_bytes: u64) -> u64 {
    let pages = memory_bytes / POOL_SHARE;
    if pages < MIN_POOL_PAGES { MIN_POOL_PAGES } else { pages }
}

/// The hypervisor's own tables, what a guest finds beside its image, and rounding.
const EXTRA_BYTES: u64 = 512 << 10;

/// What a domain takes of the machine's memory at most: its own, its shadow tables, and a second copy of all that it
/// begins with, for a new start. `image_bytes`: what its guest ELF takes when loaded.
pub const fn needed_bytes(memory_bytes: u64, image_bytes: u64) -> u64 {
    let pool_bytes = pool_pages(memory_bytes).saturating_mul(PAGE);
    memory_bytes.saturating_add(pool_bytes).saturating_add(image_bytes).saturating_add(EXTRA_BYTES)
}
