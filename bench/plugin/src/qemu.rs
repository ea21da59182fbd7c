//! The part of QEMU's plugin interface that is used here (`include/qemu/qemu-plugin.h`, version 1).
//!
//! The functions are QEMU's own: they are found when QEMU loads this library, so it links to nothing.

use core::ffi::{c_int, c_uint, c_void};

/// The version of the interface that is spoken here; QEMU looks for this symbol.
#[unsafe(no_mangle)]
pub(crate) static qemu_plugin_version: c_int = 1;

/// A block under translation.
#[repr(C)]
pub(crate) struct Block {
    opaque: [u8; 0],
}

/// An instruction of such a block.
#[repr(C)]
pub(crate) struct Instruction {
    opaque: [u8; 0],
}

/// What is known of a memory access.
pub(crate) type MemoryInfo = u32;

/// Called for each block that is translated.
pub(crate) type OnBlock = extern "C" fn(id: u64, block: *mut Block);
/// Called before an instruction is executed.
pub(crate) type OnInstruction = extern "C" fn(cpu: c_uint, data: *mut c_void);
/// Called after an access to memory.
pub(crate) type OnAccess = extern "C" fn(cpu: c_uint, info: MemoryInfo, address: u64, data: *mut c_void);
/// Called when QEMU ends.
pub(crate) type OnExit = extern "C" fn(id: u64, data: *mut c_void);

/// The callback does not look at registers.
pub(crate) const NO_REGISTERS: c_int = 0;
/// Loads and stores.
pub(crate) const READS_AND_WRITES: c_int = 3;

unsafe extern "C" {
    pub(crate) fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: OnBlock);
    pub(crate) fn qemu_plugin_register_atexit_cb(id: u64, callback: OnExit, data: *mut c_void);
    pub(crate) fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub(crate) fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub(crate) fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    pub(crate) fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub(crate) fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub(crate) fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: OnInstruction,
        flags: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: OnAccess,
        flags: c_int,
        accesses: c_int,
        data: *mut c_void,
    );
    pub(crate) fn qemu_plugin_get_hwaddr(info: MemoryInfo, address: u64) -> *mut c_void;
    pub(crate) fn qemu_plugin_hwaddr_is_io(address: *const c_void) -> bool;
}
