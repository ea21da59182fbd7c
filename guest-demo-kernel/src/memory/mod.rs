//! Memory: frames, page tables, the kernel's own address space. The heap is `arch::heap`.

pub(crate) mod frames;
pub(crate) mod kernel_space;
pub(crate) mod tables;
