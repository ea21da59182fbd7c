// A guest in C, written against spec/pvops.h and the specification only: checks StartInfo, takes a page fault and a
// timer event, prints what it sees, and shuts down with status 0. Any failure is status 1.
#include "pvops.h"

#define CHECK(condition) do { if (!(condition)) { print("c-guest: failed: " #condition "\r\n"); stop(1); } } while (0)

// Static, not on the stack: calls take guest-physical addresses, and StartInfo tells those of the image.
static struct pvops_vcpu_area area = {.size = sizeof area, .version = PVOPS_VCPU_AREA_VERSION};
static struct pvops_event_page page = {.size = sizeof page, .version = PVOPS_EVENT_PAGE_VERSION};
static struct pvops_trap_gate gates[32] __attribute__((aligned(16)));
static const struct pvops_start_info *info;
static void *call_stub;
void *iret_stub, *resume_at;
static volatile uint64_t faults, ticks;
static uint64_t timer_port;

static uint64_t phys(const void *object) { return (uint64_t)object - info->kernel_virt + info->kernel_phys; }

static int64_t try_call(uint64_t id, uint64_t first, uint64_t second, uint64_t *third) {
    int64_t status;
    __asm__ volatile("call *%[stub]" : "=a"(status), "+d"(*third)
                     : "a"(id), "D"(first), "S"(second), [stub] "m"(call_stub) : "rcx", "r11", "memory", "cc");
    return status;
}

static void stop(uint64_t code) {
    uint64_t none = 0;
    for (;;) try_call(PVOPS_CALL_SCHED_SHUTDOWN, PVOPS_SHUTDOWN_REASON_POWER_OFF, code, &none);
}

static uint64_t call(uint64_t id, uint64_t first, uint64_t second, uint64_t third) {
    if (try_call(id, first, second, &third) != PVOPS_SUCCESS) stop(1);
    return third;
}

static void print(const char *text) {
    uint64_t bytes = 0;
    while (text[bytes]) bytes++;
    for (uint64_t done = 0; done < bytes;) done += call(PVOPS_CALL_CONS_WRITE, phys(text + done), bytes - done, 0);
}

static void print_byte(uint8_t byte) {
    static char text[] = "00 ";
    text[0] = "0123456789abcdef"[byte >> 4], text[1] = "0123456789abcdef"[byte & 15];
    print(text);
}

void on_page_fault(struct pvops_iret_frame *frame) {
    CHECK(area.fault_address == 8 && frame->error_code == 0 && (frame->cs & 3) == 0);
    faults++;
    frame->rip = (uint64_t)resume_at;
}

void on_event(void) {
    uint64_t words, ready;
    __atomic_exchange_n(&area.events_pending, 0, __ATOMIC_SEQ_CST);
    while ((words = __atomic_load_n(&area.selector, __ATOMIC_SEQ_CST)) != 0) {
        int word = __builtin_ctzll(words);
        while ((ready = __atomic_load_n(&page.pending[word], __ATOMIC_SEQ_CST) & ~page.mask[word]) != 0) {
            __atomic_fetch_and(&page.pending[word], ~ready, __ATOMIC_SEQ_CST);
            if (word == 0 && (ready >> timer_port & 1)) ticks++;
        }
        __atomic_fetch_and(&area.selector, ~(1ull << word), __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&page.pending[word], __ATOMIC_SEQ_CST) & ~page.mask[word])
            __atomic_fetch_or(&area.selector, 1ull << word, __ATOMIC_SEQ_CST);
    }
}

// A handler starts with a delivered frame at rsp, a multiple of 16. With rax below it, it is what CPU.IRET takes.
#define ENTRY(name, handler) __attribute__((naked)) static void name(void) { __asm__( \
    "push %rax; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; lea 48(%rsp), %rdi; sub $8, %rsp\n" \
    "call " #handler "\n" \
    "add $8, %rsp; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; jmp *iret_stub"); }
ENTRY(page_fault_entry, on_page_fault)
ENTRY(event_entry, on_event)

// rsp is as after a call, so the entry can be a function of C.
__attribute__((section(".text.entry"))) void guest_entry(const struct pvops_start_info *start_info) {
    info = start_info;
    call_stub = (void *)(info->hypercall_page_virt + PVOPS_CALL_STUB_OFFSET);
    iret_stub = (void *)(info->hypercall_page_virt + PVOPS_IRET_STUB_OFFSET);
    CHECK(info->magic == PVOPS_START_INFO_MAGIC && info->version == PVOPS_START_INFO_VERSION);
    CHECK(info->size >= sizeof *info && info->execution_mode == PVOPS_EXECUTION_MODE_DEPRIVILEGED);
    CHECK(call(PVOPS_CALL_BASE_VERSION, 0, 0, 0) == info->abi_version);
    for (unsigned at = 0; at < info->size; at++) {
        if (at % 8 == 0) print("c-guest: "), print_byte(at);
        print_byte(((const uint8_t *)info)[at]);
        if (at % 8 == 7) print("\r\n");
    }
    gates[14].entry = (uint64_t)page_fault_entry, gates[14].flags = PVOPS_TRAP_GATE_MASK_EVENTS;
    call(PVOPS_CALL_CPU_REGISTER_AREA, phys(&area), 0, 0);
    call(PVOPS_CALL_CPU_SET_TRAP_TABLE, phys(gates), 32, 0);
    call(PVOPS_CALL_CPU_SET_ENTRIES, (uint64_t)event_entry, 0, 0);
    __asm__ volatile("movq $1f, %0; mov 8, %%rax; 1:" : "=m"(resume_at) : : "rax", "memory");
    CHECK(faults == 1);
    print("c-guest: a page fault at 8\r\n");
    call(PVOPS_CALL_EVT_REGISTER_PAGE, phys(&page), 0, 0);
    timer_port = call(PVOPS_CALL_EVT_BIND, PVOPS_PORT_KIND_TIMER, 0, 0);
    call(PVOPS_CALL_EVT_UNMASK, timer_port, 0, 0);
    call(PVOPS_CALL_TIME_SET_DEADLINE, call(PVOPS_CALL_TIME_CLOCK, 0, 0, 0) + 1000000, 0, 0);
    while (ticks == 0) {
        __atomic_store_n(&area.events_enabled, 0, __ATOMIC_SEQ_CST);
        if (ticks == 0) call(PVOPS_CALL_SCHED_BLOCK, 0, 0, 0);
    }
    print("c-guest: a timer event\r\n");
    stop(0);
}

// The notes. Only the assembler can tell the distance to the entry; "i" operands give it the header's numbers.
#define NOTE(kind, word, ...) __asm__( \
    ".pushsection .note.pvops, \"a\", @note\n" \
    ".balign 4; .long 6, 8, %c[type]; .asciz \"" PVOPS_NOTE_OWNER "\"; .balign 4; .quad " word "\n" \
    ".popsection" : : [type] "i"(PVOPS_NOTE_TYPE_##kind), __VA_ARGS__)
__attribute__((used)) static void notes(void) {
    NOTE(ENTRY, "%c[entry] - .", [entry] "i"(guest_entry));
    NOTE(ABI_VERSION, "%c[word]", [word] "i"(PVOPS_ABI_VERSION));
    NOTE(EXECUTION_MODES, "%c[word]", [word] "i"(1 << PVOPS_EXECUTION_MODE_DEPRIVILEGED));
    NOTE(REQUIRES, "%c[word]", [word] "i"(PVOPS_EXTENSION_CPU));
}
