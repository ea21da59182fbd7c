//! Call sites that are rewritten once the backend is chosen, so that an operation costs what it is.
//!
//! The hot functions of [`crate::ops`] are *sites*: a few bytes of the kernel's text that begin as a call through
//! the table of operations and are recorded in a section of the ELF. [`crate::ops::init`] asks each
//! group for [`Code`] (`code` of [`IrqOps`](crate::ops::irq::IrqOps) and its neighbours) and writes it into
//! the group's sites: on the bare machine the very instruction, in a guest a store to the vCPU area or a direct call
//! of a stub. A group without code for an operation keeps the call, which is slow but right: a backend that knows
//! nothing of this module works.
//!
//! | file | is |
//! | --- | --- |
//! | `operation` | which operations have sites, and how long those are |
//! | `sites` | the sites: calls with a record each |
//! | `thunks`, `through_table` | what they call before they are patched |
//! | `table` | the section of records |
//! | `code` | what is put into a site; padding by long NOPs |
//! | `apply`, `rights` | checks and writes |
//!
//! # What code may change
//!
//! A site promises its surroundings to change nothing but the arithmetic flags and
//!
//! | operation | in | out | lost |
//! | --- | --- | --- | --- |
//! | `IrqSaveAndDisable` | – | `r11` state | – |
//! | `IrqRestore` | `r11` state | – | – |
//! | `IrqAreEnabled` | – | `rax`, bit 9 or 16 set: enabled | – |
//! | `IrqEnableAndWait` | – | – | `rax rcx rdx r11` |
//! | `CpuCurrent`, `CpuBlock` | – | `rax` | – |
//! | `MmuLoadRoot` | `rdi` root, `rsi` 1: keep | – | `rax rcx rdx r11` |
//! | `MmuFlushPage` | `rdi` address, `rsi` CPUs | – | `rax rcx rdx r11` |
//! | `TimeNow` | – | `rax` ns | `rcx rdx r11` |
//! | all others | – | – | – |
//!
//! Code may push to the stack: there is no red zone. The stack is aligned to 16 at a site.
//!
//! A kernel for the bare machine alone, with the instructions hard-coded, is built by `--cfg pvops_hard_coded`; it
//! exists to be compared with.

#[cfg(target_os = "none")]
mod apply;
mod code;
#[cfg(all(target_os = "none", pvops_hard_coded))]
pub(crate) mod hard_coded;
#[cfg(not(target_os = "none"))]
pub(crate) mod host;
mod operation;
#[cfg(any(test, target_os = "none"))]
mod rights;
#[cfg(all(target_os = "none", not(pvops_hard_coded)))]
pub(crate) mod sites;
#[cfg(any(test, target_os = "none"))]
mod table;
mod through_table;
#[cfg(target_os = "none")]
mod thunks;

#[cfg(target_os = "none")]
pub(crate) use apply::apply;
pub use code::{Code, PlacedCode};
#[cfg(all(target_os = "none", pvops_hard_coded))]
pub(crate) use hard_coded as calls;
#[cfg(not(target_os = "none"))]
pub(crate) use host as calls;
pub use operation::{MAX_SITE_BYTES, Operation};
#[cfg(all(target_os = "none", not(pvops_hard_coded)))]
pub(crate) use sites as calls;
#[cfg(any(test, target_os = "none"))]
pub use table::Site;
#[cfg(target_os = "none")]
pub(crate) use through_table::{ENABLED_BITS, KEEP};

/// Whether [`crate::ops::init_with`] rewrites sites.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patching {
    /// Where it can be done. What [`crate::ops::init`] does.
    #[default]
    On,
    /// Never: every operation goes through the table.
    Off,
}

/// What became of the sites; see [`crate::ops::patching`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// [`Patching::Off`] was asked for.
    NotAsked,
    /// It was done.
    Patched(Counts),
    /// It could not be done; the sites work as before.
    Refused(Refusal),
}

/// How many sites were rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// To instructions or a direct call.
    pub patched: usize,
    /// Not at all: their group goes on being called through the table.
    pub left: usize,
}

/// Why sites were left as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// [`crate::ops::init`] was called with interrupts enabled.
    InterruptsEnabled,
    /// It was called on other page tables than the boot tables.
    OtherTables,
    /// The table of sites has a record that makes no sense: this ELF was changed after it was linked.
    DamagedTable,
    /// A site is not within the kernel's image.
    OutsideImage,
    /// A site does not hold what the compiler put there: this ELF was changed, or patched already.
    OtherBytes,
    /// A site is mapped neither as text nor in the map of physical memory.
    NotMapped,
    /// Text is mapped writable, or not executable.
    TextWritable,
    /// The map of physical memory is read-only or executable where text lies.
    NoWritableAlias,
    /// What was written does not show where it is executed: the memory is not the same.
    NotStored,
}

/// All sites of this kernel, as long as the table makes sense.
#[cfg(target_os = "none")]
pub fn sites() -> impl Iterator<Item = Site> {
    apply::sites().map_while(Result::ok)
}

#[cfg(target_os = "none")]
impl Site {
    /// The instructions there, as they are from the end of [`crate::ops::init`] on.
    ///
    /// # Panics
    /// Before that.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        assert!(crate::ops::is_ready(), "pvops: sites are read after init");
        apply::read(self)
    }
}
