//! What QEMU calls: for each block that it translates, each instruction that it executes, and at its end.

use crate::qemu;
use crate::record::{END, Executed, Recorder, mark};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::slice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether a sequence is being recorded; looked at before the lock is taken.
static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
static OUTPUT: Mutex<Option<PathBuf>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn on_block(_id: u64, block: *mut qemu::Block) {
    let mut recorder = lock(&RECORDER);
    let recorder = recorder.get_or_insert_default();
    // SAFETY: QEMU passes a block that lives until this returns; indices stay below its count, and the bytes of an
    // instruction are as many as QEMU says.
    unsafe {
        for index in 0..qemu::qemu_plugin_tb_n_insns(block) {
            let instruction = qemu::qemu_plugin_tb_get_insn(block, index);
            let size = qemu::qemu_plugin_insn_size(instruction);
            let bytes = slice::from_raw_parts(qemu::qemu_plugin_insn_data(instruction).cast::<u8>(), size);
            let (callback, data): (qemu::OnInstruction, usize) = match mark(bytes) {
                Some(number) => (on_mark, number.into()),
                None => {
                    let address = qemu::qemu_plugin_insn_vaddr(instruction);
                    (on_instruction, recorder.number_of(Executed { address, bytes: bytes.into() }))
                }
            };
            qemu::qemu_plugin_register_vcpu_insn_exec_cb(
                instruction,
                callback,
                qemu::NO_REGISTERS,
                data as *mut c_void,
            );
            qemu::qemu_plugin_register_vcpu_mem_cb(
                instruction,
                on_access,
                qemu::NO_REGISTERS,
                qemu::READS_AND_WRITES,
                core::ptr::null_mut(),
            );
        }
    }
}

extern "C" fn on_mark(_cpu: c_uint, data: *mut c_void) {
    let mut recorder = lock(&RECORDER);
    let Some(recorder) = recorder.as_mut() else { return };
    match data as usize as u16 {
        END => recorder.end(),
        number => recorder.begin(number),
    }
    RECORDING.store(recorder.is_recording(), Ordering::Relaxed);
}

extern "C" fn on_instruction(_cpu: c_uint, data: *mut c_void) {
    if RECORDING.load(Ordering::Relaxed)
        && let Some(recorder) = lock(&RECORDER).as_mut()
    {
        recorder.executed(data as usize);
    }
}

extern "C" fn on_access(_cpu: c_uint, info: qemu::MemoryInfo, address: u64, _data: *mut c_void) {
    if !RECORDING.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: called from a memory callback, the only place where QEMU allows it; the result is valid until it returns.
    let is_device = unsafe {
        let hardware = qemu::qemu_plugin_get_hwaddr(info, address);
        !hardware.is_null() && qemu::qemu_plugin_hwaddr_is_io(hardware)
    };
    if is_device && let Some(recorder) = lock(&RECORDER).as_mut() {
        recorder.accessed_device();
    }
}

extern "C" fn on_exit(_id: u64, _data: *mut c_void) {
    let (recorder, output) = (lock(&RECORDER), lock(&OUTPUT));
    let (Some(recorder), Some(path)) = (recorder.as_ref(), output.as_ref()) else { return };
    if let Err(error) = std::fs::write(path, recorder.text()) {
        eprintln!("hypermark-plugin: cannot write {}: {error}", path.display());
    }
}

/// QEMU's entry; the argument `out=FILE` says where the sequences go.
///
/// # Safety
/// Called by QEMU, with `count` strings at `arguments`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: QEMU passes `count` strings that end with a zero byte.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy().into_owned();
        match argument.split_once('=') {
            Some(("out", path)) => *lock(&OUTPUT) = Some(path.into()),
            _ => {
                eprintln!("hypermark-plugin: {argument}: only out=FILE is understood");
                return 1;
            }
        }
    }
    // SAFETY: `id` is this plugin's; the callbacks live as long as the process.
    unsafe {
        qemu::qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
        qemu::qemu_plugin_register_atexit_cb(id, on_exit, core::ptr::null_mut());
    }
    0
}
