// The pvops ABI: what guests and hypervisors share. C11 or C++17, freestanding.
//
// Generated from the crate pvops-abi by `cargo pv header`; do not edit. The specification is in this folder.
// Fields marked there as written by both sides are accessed by atomic operations of their size.
#ifndef PVOPS_H
#define PVOPS_H

#include <stddef.h>
#include <stdint.h>

// Owner name, with its terminating zero.
#define PVOPS_NOTE_OWNER "PVOPS"

// Alignment beyond what the fields ask for.
#define PVOPS_ALIGNED(bytes) __attribute__((aligned(bytes)))

// The version of the ABI described here. It stays 0.x until the performance budgets hold.
#define PVOPS_ABI_VERSION 1

// Offset in the hypercall page of the stub for all calls but CPU.iret: reached by `call`, uses eight bytes of
// the caller's stack (the return address) and nothing beyond.
#define PVOPS_CALL_STUB_OFFSET 0

// Offset of the stub for CPU.iret: reached by `jmp` with `rsp` at the struct pvops_iret_frame.
#define PVOPS_IRET_STUB_OFFSET 64

// `rax` after a call that did what it was asked.
#define PVOPS_SUCCESS 0

// Ports per domain. Port 0 is never bound.
#define PVOPS_MAX_PORTS 4096

// Version of struct pvops_event_page described here.
#define PVOPS_EVENT_PAGE_VERSION 1

// RFLAGS.IF: in frames the virtual interrupt flag.
#define PVOPS_RFLAGS_IF 512

// Most entries in one batch.
#define PVOPS_MAX_BATCH 64

// First word of a `StartInfo`: "PVOPS" and a format number.
#define PVOPS_START_INFO_MAGIC 72057951867590224

// Version of struct pvops_start_info described here.
#define PVOPS_START_INFO_VERSION 1

// The hypervisor of this project.
#define PVOPS_IMPLEMENTATION_PVOPS_HYPERVISOR 1

// Most entries of pvops_start_info.reserved_ranges.
#define PVOPS_MAX_RESERVED_RANGES 4

// Version of struct pvops_vcpu_area described here.
#define PVOPS_VCPU_AREA_VERSION 1

// Flag: user mode may raise this vector by an instruction.
#define PVOPS_TRAP_GATE_USER 3

// Flag: events are masked on entry.
#define PVOPS_TRAP_GATE_MASK_EVENTS 4

// An extension: a group of calls that is present or absent as a whole and can be probed.
enum pvops_extension {
    // Version, implementation, probe, batch. Mandatory.
    PVOPS_EXTENSION_BASE = 1,
    // Trap table, stacks, entries, segment bases, iret, cpuid, XCR0. Mandatory in deprivileged mode.
    PVOPS_EXTENSION_CPU = 2,
    // Event ports. Mandatory.
    PVOPS_EXTENSION_EVT = 3,
    // Roots and flushes. Mandatory in deprivileged mode.
    PVOPS_EXTENSION_MMU = 4,
    // Clock, wall clock, deadline. Mandatory.
    PVOPS_EXTENSION_TIME = 5,
    // Console bytes. Mandatory.
    PVOPS_EXTENSION_CONS = 6,
    // Yield, block, shutdown. Mandatory.
    PVOPS_EXTENSION_SCHED = 7,
    // Further vCPUs. May be absent.
    PVOPS_EXTENSION_SMP = 8,
    // Port I/O and interrupts of assigned devices. Number kept.
    PVOPS_EXTENSION_DEV = 9,
    // Shared memory and grants. Number kept.
    PVOPS_EXTENSION_SHM = 16,
    // Virtio transport and bus addresses. Number kept.
    PVOPS_EXTENSION_VIO = 17,
    // Resource shares. Number kept.
    PVOPS_EXTENSION_RES = 18,
    // Partition management. Number kept.
    PVOPS_EXTENSION_PART = 19,
    // Tracing. Number kept.
    PVOPS_EXTENSION_TRACE = 20,
    // Debugging. Number kept.
    PVOPS_EXTENSION_DBG = 21,
    // Trap-and-emulate profile. Number kept.
    PVOPS_EXTENSION_TRAP = 22,
};

// Which base CPU.set_segment_base sets.
enum pvops_segment_base {
    // FS base, shared by both privileges.
    PVOPS_SEGMENT_BASE_FS = 0,
    // GS base of the guest kernel, effective at once.
    PVOPS_SEGMENT_BASE_KERNEL_GS = 1,
    // GS base of the guest's user mode, effective at the next entry into it.
    PVOPS_SEGMENT_BASE_USER_GS = 2,
};

// Why a call was refused. Each variant says what the caller did wrong; the value is what `rax` holds.
enum pvops_error {
    // The extension or function number is unknown, or the extension is absent here.
    PVOPS_ERROR_NOT_SUPPORTED = -1,
    // An argument is out of its domain, or a reserved bit or field is not zero.
    PVOPS_ERROR_INVALID_ARGUMENT = -2,
    // A guest-physical range does not lie wholly in the caller's memory, or is misaligned.
    PVOPS_ERROR_BAD_ADDRESS = -3,
    // The object named is not in a state that allows the call (a port not bound, an area not registered).
    PVOPS_ERROR_WRONG_STATE = -4,
    // The caller may not do this: the object belongs to somebody else.
    PVOPS_ERROR_DENIED = -5,
    // A bounded resource is used up (ports, pool, vCPUs).
    PVOPS_ERROR_NO_RESOURCES = -6,
    // The caller runs where the call is not allowed (a user-mode or hardware-mode caller).
    PVOPS_ERROR_WRONG_MODE = -7,
    // The call did a bounded part of its work; call again with the arguments unchanged to go on.
    PVOPS_ERROR_AGAIN = -8,
};

// Note types and the descriptor of each (all little-endian `u64`, PVOPS_NOTE_TYPE_REQUIRES and
// PVOPS_NOTE_TYPE_WANTS a list of `u64` extension numbers, PVOPS_NOTE_TYPE_RANGE two `u64`).
enum pvops_note_type {
    // Signed distance from this note's descriptor (its address in memory) to the entry. Required, once.
    PVOPS_NOTE_TYPE_ENTRY = 1,
    // Lowest ABI version that the kernel needs, as in BASE.version. Required, once.
    PVOPS_NOTE_TYPE_ABI_VERSION = 2,
    // Bit mask of execution modes, `1 << ExecutionMode`. Required, once.
    PVOPS_NOTE_TYPE_EXECUTION_MODES = 3,
    // Extensions without which the kernel does not run.
    PVOPS_NOTE_TYPE_REQUIRES = 4,
    // Extensions that it uses when present.
    PVOPS_NOTE_TYPE_WANTS = 5,
    // Guest-physical load address, for ET_EXEC.
    PVOPS_NOTE_TYPE_LOAD_ADDRESS = 6,
    // Virtual range `start, last` that the kernel needs for itself; a clash with a reserved range is refused.
    PVOPS_NOTE_TYPE_RANGE = 7,
};

// What a port is bound to (EVT.bind).
enum pvops_port_kind {
    // The receiving vCPU's deadline. Argument: zero.
    PVOPS_PORT_KIND_TIMER = 0,
    // Console input is there. Argument: zero.
    PVOPS_PORT_KIND_CONSOLE = 1,
    // Sent by EVT.send from a vCPU of the same domain. Argument: zero.
    PVOPS_PORT_KIND_IPI = 2,
    // An assigned device's interrupt. Argument: its number in the system image.
    PVOPS_PORT_KIND_DEVICE = 3,
    // A channel from another domain. Argument: its number in the system image.
    PVOPS_PORT_KIND_DOORBELL = 4,
};

// Flags of MMU.load_root.
enum pvops_load_root {
    // Keep cached translations of this root. Without it they are dropped, but those of common slots.
    PVOPS_LOAD_ROOT_KEEP = 1,
};

// Flags of MMU.flush_all.
enum pvops_flush_all {
    // Drop translations of every root and of the common slots, not only the current root's.
    PVOPS_FLUSH_ALL_EVERY_ROOT = 1,
};

// Why a domain shuts down (SCHED.shutdown).
enum pvops_shutdown_reason {
    // The work is done; the code is the status (0: success).
    PVOPS_SHUTDOWN_REASON_POWER_OFF = 0,
    // Start this domain again from its image.
    PVOPS_SHUTDOWN_REASON_REBOOT = 1,
    // The kernel found itself broken; the restart policy applies.
    PVOPS_SHUTDOWN_REASON_CRASH = 2,
};

// How the guest kernel is executed.
enum pvops_execution_mode {
    // Kernel and user both in ring 3; CPU and MMU are operated by calls.
    PVOPS_EXECUTION_MODE_DEPRIVILEGED = 1,
    // The kernel keeps ring 0 under VT-x or SVM. Reserved.
    PVOPS_EXECUTION_MODE_HARDWARE = 2,
};

// What a range of guest-physical memory holds at entry.
enum pvops_memory_kind {
    // Free.
    PVOPS_MEMORY_KIND_USABLE = 1,
    // The kernel image.
    PVOPS_MEMORY_KIND_KERNEL = 2,
    // Boot page tables and boot stack: free once the guest uses tables and a stack of its own.
    PVOPS_MEMORY_KIND_BOOT_RECLAIMABLE = 3,
    // `StartInfo`, memory map and command line: free once read.
    PVOPS_MEMORY_KIND_START_INFO = 4,
    // The hypercall page: never written, never freed.
    PVOPS_MEMORY_KIND_HYPERCALL_PAGE = 5,
    // The ramdisk.
    PVOPS_MEMORY_KIND_RAMDISK = 6,
    // Registers of an assigned device, or of the machine.
    PVOPS_MEMORY_KIND_DEVICE = 7,
    // Neither memory nor device for this kernel.
    PVOPS_MEMORY_KIND_RESERVED = 8,
};

// What `rax` holds at a call: extension << 16 | function.
enum pvops_call {
    // The ABI version: major in bits 31..16, minor in bits 15..0.
    PVOPS_CALL_BASE_VERSION = ((1 << 16) | 0),
    // The implementation's id, from the list of PVOPS_IMPLEMENTATION_….
    PVOPS_CALL_BASE_IMPLEMENTATION = ((1 << 16) | 1),
    // The implementation's own version, in its own encoding.
    PVOPS_CALL_BASE_IMPLEMENTATION_VERSION = ((1 << 16) | 2),
    // `rdi`: an extension number. Value: 0 absent, else the extension's version.
    PVOPS_CALL_BASE_PROBE = ((1 << 16) | 3),
    // `rdi`: address of struct pvops_batch_entry, `rsi`: how many (≤ PVOPS_MAX_BATCH).
    // Value: entries done.
    PVOPS_CALL_BASE_BATCH = ((1 << 16) | 4),
    // `rdi`: address of the vCPU area of the calling vCPU (struct pvops_vcpu_area).
    PVOPS_CALL_CPU_REGISTER_AREA = ((2 << 16) | 0),
    // `rdi`: address of a table of struct pvops_trap_gate, `rsi`: entries (32..=256).
    PVOPS_CALL_CPU_SET_TRAP_TABLE = ((2 << 16) | 1),
    // `rdi`: entry for events, `rsi`: entry for system calls (virtual addresses).
    PVOPS_CALL_CPU_SET_ENTRIES = ((2 << 16) | 2),
    // `rdi`: top of the stack for faults during delivery (virtual address; 0: none).
    PVOPS_CALL_CPU_SET_DOUBLE_FAULT_STACK = ((2 << 16) | 3),
    // Leaves to the struct pvops_iret_frame at `rsp`. Does not return.
    PVOPS_CALL_CPU_IRET = ((2 << 16) | 4),
    // `rdi`: an enum pvops_segment_base, `rsi`: the base.
    PVOPS_CALL_CPU_SET_SEGMENT_BASE = ((2 << 16) | 5),
    // `rdi`: leaf, `rsi`: subleaf, `rdx`: address of a struct pvops_cpuid_result.
    PVOPS_CALL_CPU_CPUID = ((2 << 16) | 6),
    // `rdi`: the new XCR0.
    PVOPS_CALL_CPU_SET_XCR0 = ((2 << 16) | 7),
    // Value: bytes that `xsave` needs for the enabled components.
    PVOPS_CALL_CPU_FPU_AREA_SIZE = ((2 << 16) | 8),
    // `rdi`: address of the domain's struct pvops_event_page.
    PVOPS_CALL_EVT_REGISTER_PAGE = ((3 << 16) | 0),
    // `rdi`: an enum pvops_port_kind, `rsi`: its argument, `rdx`: vCPU that receives. Value: the port.
    PVOPS_CALL_EVT_BIND = ((3 << 16) | 1),
    // `rdi`: a port.
    PVOPS_CALL_EVT_UNBIND = ((3 << 16) | 2),
    // `rdi`: a port of a kind that can be sent (IPI, doorbell).
    PVOPS_CALL_EVT_SEND = ((3 << 16) | 3),
    // `rdi`: a port. Clears its mask bit and delivers what waited.
    PVOPS_CALL_EVT_UNMASK = ((3 << 16) | 4),
    // `rdi`: a port of a level-triggered source whose cause is handled.
    PVOPS_CALL_EVT_EOI = ((3 << 16) | 5),
    // Delivers pending events to the caller, if it enabled them, before the call returns.
    PVOPS_CALL_EVT_DELIVER = ((3 << 16) | 6),
    // `rdi`: root, `rsi`: enum pvops_load_root, `rdx`: user root (reserved, zero).
    PVOPS_CALL_MMU_LOAD_ROOT = ((4 << 16) | 0),
    // `rdi`: virtual address, `rsi`: vCPU mask, `rdx`: number of the mask's lowest vCPU (all ones: every vCPU).
    PVOPS_CALL_MMU_FLUSH_PAGE = ((4 << 16) | 1),
    // `rdi`: virtual address, `rsi`: bytes, `rdx`, `r10`: vCPU set as for `FlushPage`.
    PVOPS_CALL_MMU_FLUSH_RANGE = ((4 << 16) | 2),
    // `rdi`, `rsi`: vCPU set, `rdx`: enum pvops_flush_all.
    PVOPS_CALL_MMU_FLUSH_ALL = ((4 << 16) | 3),
    // `rdi`: virtual address, `rsi`: pages. A hint: load these translations now. Value: pages loaded.
    PVOPS_CALL_MMU_POPULATE = ((4 << 16) | 4),
    // `rdi`: a root that will not be loaded again before it is rebuilt.
    PVOPS_CALL_MMU_RELEASE_ROOT = ((4 << 16) | 5),
    // `rdi`: address of a 64-byte bitmap of PML4 slots whose entries are equal in all roots.
    PVOPS_CALL_MMU_SET_COMMON_SLOTS = ((4 << 16) | 6),
    // Value: nanoseconds since some instant at or before the domain's start, monotonic.
    PVOPS_CALL_TIME_CLOCK = ((5 << 16) | 0),
    // Value: nanoseconds since 1970-01-01T00:00:00Z.
    PVOPS_CALL_TIME_WALL_CLOCK = ((5 << 16) | 1),
    // `rdi`: clock value at which the timer port becomes pending; all ones disarms.
    PVOPS_CALL_TIME_SET_DEADLINE = ((5 << 16) | 2),
    // `rdi`: address, `rsi`: bytes. Value: bytes accepted, possibly fewer.
    PVOPS_CALL_CONS_WRITE = ((6 << 16) | 0),
    // `rdi`: address, `rsi`: room in bytes. Value: bytes stored, possibly none.
    PVOPS_CALL_CONS_READ = ((6 << 16) | 1),
    // Lets vCPUs of the same or a higher priority run.
    PVOPS_CALL_SCHED_YIELD = ((7 << 16) | 0),
    // Enables events and sleeps until one is pending, atomically.
    PVOPS_CALL_SCHED_BLOCK = ((7 << 16) | 1),
    // `rdi`: an enum pvops_shutdown_reason, `rsi`: a code. Does not return.
    PVOPS_CALL_SCHED_SHUTDOWN = ((7 << 16) | 2),
};

// The domain's ports, in a page of guest memory registered by EVT.register_page.
struct PVOPS_ALIGNED(4096) pvops_event_page {
    // Bytes of this structure; set by the guest.
    uint32_t size;
    // PVOPS_EVENT_PAGE_VERSION; set by the guest.
    uint16_t version;
    // Zero.
    uint16_t reserved[29];
    // Set by the hypervisor, cleared by the guest when it handles the port.
    uint64_t pending[64];
    // Set and cleared by the guest (clearing: by EVT.unmask, or atomically with a look at `pending` after it).
    uint64_t mask[64];
    // Zero.
    uint64_t reserved_tail[376];
};

// One entry of the trap table (CPU.set_trap_table); index = vector.
struct pvops_trap_gate {
    // Virtual address of the handler; 0: none (the trap then stops the domain).
    uint64_t entry;
    // Bits 1..0: the least privileged virtual level (0 or 3) that may reach this gate by `int n`, `int3`.
    // Bit 2: mask events on entry. Others: zero.
    uint64_t flags;
};

// What lies at `rsp` when a trap or event handler of the guest kernel starts; `rsp` is 16-byte aligned.
struct pvops_delivered_frame {
    // The interrupted `rcx`.
    uint64_t rcx;
    // The interrupted `r11`.
    uint64_t r11;
    // Error code of the vector, 0 where there is none.
    uint64_t error_code;
    // Where to go on.
    uint64_t rip;
    // Bits 1..0: virtual privilege (0 kernel, 3 user). The rest: a selector from `StartInfo`.
    uint64_t cs;
    // Flags with the virtual interrupt flag in bit 9.
    uint64_t rflags;
    // The interrupted stack pointer.
    uint64_t rsp;
    // A selector from `StartInfo`.
    uint64_t ss;
};

// What CPU.iret reads at `rsp`.
struct pvops_iret_frame {
    // `rax` after the return.
    uint64_t rax;
    // `rcx` after the return.
    uint64_t rcx;
    // `r11` after the return.
    uint64_t r11;
    // Ignored, so that a struct pvops_delivered_frame with `rax` below it is a valid frame.
    uint64_t error_code;
    // Where to go on; canonical.
    uint64_t rip;
    // As in pvops_delivered_frame.cs.
    uint64_t cs;
    // As in pvops_delivered_frame.rflags; IOPL, NT, VM, VIF and VIP are ignored.
    uint64_t rflags;
    // Stack pointer after the return.
    uint64_t rsp;
    // Ignored.
    uint64_t ss;
};

// Selectors for frames that a kernel makes itself (a new thread, a new program).
struct pvops_selectors {
    // `cs` of kernel mode.
    uint16_t kernel_cs;
    // `ss` of kernel mode.
    uint16_t kernel_ss;
    // `cs` of user mode.
    uint16_t user_cs;
    // `ss` of user mode.
    uint16_t user_ss;
};

// What CPU.cpuid stores.
struct pvops_cpuid_result {
    // Register EAX.
    uint32_t eax;
    // Register EBX.
    uint32_t ebx;
    // Register ECX.
    uint32_t ecx;
    // Register EDX.
    uint32_t edx;
};

// One call of a batch. The hypervisor fills `status` and `value`.
struct pvops_batch_entry {
    // The call's id. Calls that do not return, and BASE.batch itself, are refused.
    uint64_t id;
    // `rdi rsi rdx r10 r8 r9`.
    uint64_t arguments[6];
    // Out: what `rax` would hold.
    int64_t status;
    // Out: what `rdx` would hold.
    uint64_t value;
};

// A range of virtual addresses `start..=last`.
struct pvops_virt_range {
    // First address.
    uint64_t start;
    // Last address, inclusive, so that the top of the address space can be named.
    uint64_t last;
};

// Passed by virtual address in `rdi` at the note's entry. Lies in guest memory of kind
// PVOPS_MEMORY_KIND_START_INFO; read-only by convention.
struct pvops_start_info {
    // PVOPS_START_INFO_MAGIC.
    uint64_t magic;
    // Bytes of this structure.
    uint32_t size;
    // PVOPS_START_INFO_VERSION.
    uint16_t version;
    // Zero.
    uint16_t reserved;
    // ABI version that the hypervisor gives this domain, as BASE.version.
    uint32_t abi_version;
    // PVOPS_IMPLEMENTATION_….
    uint32_t implementation;
    // An enum pvops_execution_mode.
    uint32_t execution_mode;
    // vCPUs of this domain.
    uint32_t vcpu_count;
    // Guest-physical address of struct pvops_memory_region, sorted, not overlapping.
    uint64_t memory_map;
    // How many.
    uint32_t memory_map_count;
    // Bytes of the command line.
    uint32_t command_line_bytes;
    // Guest-physical address of the command line, UTF-8.
    uint64_t command_line;
    // Guest-physical address of the ramdisk; 0: none.
    uint64_t ramdisk;
    // Bytes of the ramdisk.
    uint64_t ramdisk_bytes;
    // Virtual address at which all of guest-physical memory is mapped by the boot tables, writable, no execute.
    uint64_t physical_map;
    // Virtual address of the first byte of the kernel image.
    uint64_t kernel_virt;
    // Guest-physical address of the first byte of the kernel image.
    uint64_t kernel_phys;
    // Bytes of the kernel image in memory.
    uint64_t kernel_bytes;
    // Guest-physical address of the boot tables' PML4.
    uint64_t boot_root;
    // Lowest address of the boot stack.
    uint64_t boot_stack_base;
    // Bytes of the boot stack.
    uint64_t boot_stack_bytes;
    // Guest-physical address of the hypercall page.
    uint64_t hypercall_page_phys;
    // Where the boot tables map the hypercall page, executable.
    uint64_t hypercall_page_virt;
    // Ticks per second of the time-stamp counter.
    uint64_t tsc_hz;
    // Selectors that appear in frames.
    struct pvops_selectors selectors;
    // Virtual addresses that the guest may use, reserved ranges excepted.
    struct pvops_virt_range usable_range;
    // Entries used of `reserved_ranges`.
    uint64_t reserved_range_count;
    // Virtual addresses that the guest must leave alone.
    struct pvops_virt_range reserved_ranges[4];
};

// One range of the memory map. Bounds are multiples of 4096.
struct pvops_memory_region {
    // First byte.
    uint64_t start;
    // Length in bytes.
    uint64_t bytes;
    // An enum pvops_memory_kind.
    uint32_t kind;
    // Zero.
    uint32_t reserved;
};

// What a guest kernel and the hypervisor exchange by plain loads and stores, for one vCPU. Registered by
// CPU.register_area; the whole area lies in one page.
struct PVOPS_ALIGNED(64) pvops_vcpu_area {
    // Bytes of this structure; set by the guest.
    uint32_t size;
    // PVOPS_VCPU_AREA_VERSION; set by the guest.
    uint16_t version;
    // Guest: 1 while events may be delivered to kernel mode. The hypervisor clears it at event delivery, at
    // system calls and at traps whose gate masks, and sets it at `iret`: from the frame for kernel mode, to 1 for user mode.
    uint8_t events_enabled;
    // Hypervisor: 1 after a port became pending. The event handler clears it before it looks for ports.
    uint8_t events_pending;
    // One bit per 64-bit word of pvops_event_page.pending that may hold a bit for this vCPU.
    uint64_t selector;
    // Guest: stack pointer used on entry from user mode; 16-byte aligned.
    uint64_t kernel_stack;
    // Hypervisor: user mode's stack pointer at a system call.
    uint64_t user_rsp;
    // Guest: GS base loaded on entry into the kernel from user mode.
    uint64_t kernel_gs_base;
    // Both: user mode's GS base; stored on entry into the kernel, loaded on return to user mode.
    uint64_t user_gs_base;
    // Hypervisor: the address whose access caused the last page fault delivered.
    uint64_t fault_address;
    // Hypervisor: number of this vCPU in its domain.
    uint32_t vcpu;
    // Hypervisor: odd while it changes the time fields below.
    uint32_t time_sequence;
    // Clock in nanoseconds at `time_tsc`.
    uint64_t time_ns;
    // Time-stamp counter at `time_ns`.
    uint64_t time_tsc;
    // Nanoseconds per counter tick, as a fraction of 2^32: `ns = time_ns + ((tsc - time_tsc) * mul >> 32)`.
    uint64_t time_mul;
    // Hypervisor: nanoseconds for which this vCPU was ready to run but another ran.
    uint64_t stolen_ns;
    // Hypervisor: translations that it loaded at a fault which the guest did not see. Zero where there are none.
    uint64_t hidden_faults;
    // Hypervisor: where user mode goes on after a system call.
    uint64_t user_rip;
    // Hypervisor: user mode's flags at a system call, the virtual interrupt flag in bit 9.
    uint64_t user_rflags;
    // Zero.
    uint64_t reserved;
};

// Sizes and offsets, as the specification has them.
#ifdef __cplusplus
#define PVOPS_ASSERT(condition) static_assert(condition, #condition)
#else
#define PVOPS_ASSERT(condition) _Static_assert(condition, #condition)
#endif

PVOPS_ASSERT(sizeof(struct pvops_event_page) == 4096);
PVOPS_ASSERT(offsetof(struct pvops_event_page, size) == 0);
PVOPS_ASSERT(offsetof(struct pvops_event_page, version) == 4);
PVOPS_ASSERT(offsetof(struct pvops_event_page, reserved) == 6);
PVOPS_ASSERT(offsetof(struct pvops_event_page, pending) == 64);
PVOPS_ASSERT(offsetof(struct pvops_event_page, mask) == 576);
PVOPS_ASSERT(offsetof(struct pvops_event_page, reserved_tail) == 1088);

PVOPS_ASSERT(sizeof(struct pvops_trap_gate) == 16);
PVOPS_ASSERT(offsetof(struct pvops_trap_gate, entry) == 0);
PVOPS_ASSERT(offsetof(struct pvops_trap_gate, flags) == 8);

PVOPS_ASSERT(sizeof(struct pvops_delivered_frame) == 64);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, rcx) == 0);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, r11) == 8);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, error_code) == 16);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, rip) == 24);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, cs) == 32);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, rflags) == 40);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, rsp) == 48);
PVOPS_ASSERT(offsetof(struct pvops_delivered_frame, ss) == 56);

PVOPS_ASSERT(sizeof(struct pvops_iret_frame) == 72);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, rax) == 0);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, rcx) == 8);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, r11) == 16);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, error_code) == 24);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, rip) == 32);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, cs) == 40);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, rflags) == 48);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, rsp) == 56);
PVOPS_ASSERT(offsetof(struct pvops_iret_frame, ss) == 64);

PVOPS_ASSERT(sizeof(struct pvops_selectors) == 8);
PVOPS_ASSERT(offsetof(struct pvops_selectors, kernel_cs) == 0);
PVOPS_ASSERT(offsetof(struct pvops_selectors, kernel_ss) == 2);
PVOPS_ASSERT(offsetof(struct pvops_selectors, user_cs) == 4);
PVOPS_ASSERT(offsetof(struct pvops_selectors, user_ss) == 6);

PVOPS_ASSERT(sizeof(struct pvops_cpuid_result) == 16);
PVOPS_ASSERT(offsetof(struct pvops_cpuid_result, eax) == 0);
PVOPS_ASSERT(offsetof(struct pvops_cpuid_result, ebx) == 4);
PVOPS_ASSERT(offsetof(struct pvops_cpuid_result, ecx) == 8);
PVOPS_ASSERT(offsetof(struct pvops_cpuid_result, edx) == 12);

PVOPS_ASSERT(sizeof(struct pvops_batch_entry) == 72);
PVOPS_ASSERT(offsetof(struct pvops_batch_entry, id) == 0);
PVOPS_ASSERT(offsetof(struct pvops_batch_entry, arguments) == 8);
PVOPS_ASSERT(offsetof(struct pvops_batch_entry, status) == 56);
PVOPS_ASSERT(offsetof(struct pvops_batch_entry, value) == 64);

PVOPS_ASSERT(sizeof(struct pvops_virt_range) == 16);
PVOPS_ASSERT(offsetof(struct pvops_virt_range, start) == 0);
PVOPS_ASSERT(offsetof(struct pvops_virt_range, last) == 8);

PVOPS_ASSERT(sizeof(struct pvops_start_info) == 248);
PVOPS_ASSERT(offsetof(struct pvops_start_info, magic) == 0);
PVOPS_ASSERT(offsetof(struct pvops_start_info, size) == 8);
PVOPS_ASSERT(offsetof(struct pvops_start_info, version) == 12);
PVOPS_ASSERT(offsetof(struct pvops_start_info, reserved) == 14);
PVOPS_ASSERT(offsetof(struct pvops_start_info, abi_version) == 16);
PVOPS_ASSERT(offsetof(struct pvops_start_info, implementation) == 20);
PVOPS_ASSERT(offsetof(struct pvops_start_info, execution_mode) == 24);
PVOPS_ASSERT(offsetof(struct pvops_start_info, vcpu_count) == 28);
PVOPS_ASSERT(offsetof(struct pvops_start_info, memory_map) == 32);
PVOPS_ASSERT(offsetof(struct pvops_start_info, memory_map_count) == 40);
PVOPS_ASSERT(offsetof(struct pvops_start_info, command_line_bytes) == 44);
PVOPS_ASSERT(offsetof(struct pvops_start_info, command_line) == 48);
PVOPS_ASSERT(offsetof(struct pvops_start_info, ramdisk) == 56);
PVOPS_ASSERT(offsetof(struct pvops_start_info, ramdisk_bytes) == 64);
PVOPS_ASSERT(offsetof(struct pvops_start_info, physical_map) == 72);
PVOPS_ASSERT(offsetof(struct pvops_start_info, kernel_virt) == 80);
PVOPS_ASSERT(offsetof(struct pvops_start_info, kernel_phys) == 88);
PVOPS_ASSERT(offsetof(struct pvops_start_info, kernel_bytes) == 96);
PVOPS_ASSERT(offsetof(struct pvops_start_info, boot_root) == 104);
PVOPS_ASSERT(offsetof(struct pvops_start_info, boot_stack_base) == 112);
PVOPS_ASSERT(offsetof(struct pvops_start_info, boot_stack_bytes) == 120);
PVOPS_ASSERT(offsetof(struct pvops_start_info, hypercall_page_phys) == 128);
PVOPS_ASSERT(offsetof(struct pvops_start_info, hypercall_page_virt) == 136);
PVOPS_ASSERT(offsetof(struct pvops_start_info, tsc_hz) == 144);
PVOPS_ASSERT(offsetof(struct pvops_start_info, selectors) == 152);
PVOPS_ASSERT(offsetof(struct pvops_start_info, usable_range) == 160);
PVOPS_ASSERT(offsetof(struct pvops_start_info, reserved_range_count) == 176);
PVOPS_ASSERT(offsetof(struct pvops_start_info, reserved_ranges) == 184);

PVOPS_ASSERT(sizeof(struct pvops_memory_region) == 24);
PVOPS_ASSERT(offsetof(struct pvops_memory_region, start) == 0);
PVOPS_ASSERT(offsetof(struct pvops_memory_region, bytes) == 8);
PVOPS_ASSERT(offsetof(struct pvops_memory_region, kind) == 16);
PVOPS_ASSERT(offsetof(struct pvops_memory_region, reserved) == 20);

PVOPS_ASSERT(sizeof(struct pvops_vcpu_area) == 128);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, size) == 0);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, version) == 4);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, events_enabled) == 6);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, events_pending) == 7);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, selector) == 8);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, kernel_stack) == 16);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, user_rsp) == 24);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, kernel_gs_base) == 32);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, user_gs_base) == 40);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, fault_address) == 48);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, vcpu) == 56);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, time_sequence) == 60);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, time_ns) == 64);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, time_tsc) == 72);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, time_mul) == 80);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, stolen_ns) == 88);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, hidden_faults) == 96);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, user_rip) == 104);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, user_rflags) == 112);
PVOPS_ASSERT(offsetof(struct pvops_vcpu_area, reserved) == 120);

#undef PVOPS_ASSERT

#endif

