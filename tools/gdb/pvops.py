"""gdb's view of a machine that runs the hypervisor: who runs where, and backtraces from the hypervisor into its guest.

Sourced by the script that `cargo pv run ... --gdb` writes, which loads the symbols by plain gdb commands before: a gdb
without Python has those all the same. Commands: pvops-vcpu, pvops-domains, pvops-frame, pvops-guest, pvops-symbols; each
has `help`. In conditions of breakpoints, $pvops_domain() is the number of the domain that the CPU runs, -1 for none.

Everything is read by the names and types of the hypervisor's debug information. Only addresses are stated here; they are
those of `hypervisor/src/arch/x86_64/layout.rs`.
"""

import gdb
import gdb.unwinder

CPU_PAGES = 0xFFFF_8000_4000_0000
STACK_TOP = CPU_PAGES + 5 * 4096
DOMAIN_STATE = 0xFFFF_8180_0000_0000
NO_SEAT = 0xFF
NOWHERE = 0xFFFF_FFFF
# Where a boot loader or the hypervisor may have put a kernel, below the program counter.
LARGEST_IMAGE = 64 << 20

# `Frame`, the registers that the entry code stores, in the order of memory.
FRAME_WORDS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi vector error rip cs rflags rsp ss".split()
)
FRAME = STACK_TOP - 8 * len(FRAME_WORDS)
WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17, 21)


class NotYet(gdb.GdbError):
    """The hypervisor's own address space is not there: it has not booted so far, or there is none."""

    def __init__(self):
        super().__init__("the hypervisor does not run on this CPU (yet)")


def memory(address, size):
    """Bytes at a virtual address in the address space that the selected CPU has loaded."""
    return bytes(gdb.selected_inferior().read_memory(address, size))


def words(address, count):
    """So many quadwords."""
    data = memory(address, 8 * count)
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, 8 * count, 8)]


def object_at(address, type_name):
    """The object of a type of the hypervisor at an address."""
    try:
        kind = gdb.lookup_type(type_name)
    except gdb.error:
        raise gdb.GdbError("no debug information of the hypervisor is loaded")
    try:
        memory(address, 8)
    except gdb.MemoryError:
        raise NotYet()
    return gdb.Value(address).cast(kind.pointer()).dereference()


def plain(value):
    """The value inside cells, atomics and other wrappers of one field."""
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        fields = value.type.strip_typedefs().fields()
        named = [field for field in fields if field.name in ("value", "v", "data", "__0", "inner")]
        if len(fields) != 1 and not named:
            break
        value = value[(named or fields)[0]]
    return value


def text(array):
    """A name padded with zeros."""
    low, high = array.type.range()
    characters = bytes(int(array[at]) for at in range(low, high + 1))
    return characters.split(b"\0")[0].decode(errors="replace")


class Guests:
    """The guests that the script named, in the order of their domains, and whose symbols are loaded."""

    known = []
    loaded = None

    @classmethod
    def load(cls, name):
        """Puts the symbols of one guest in the place of another's: all kernels stand at the same address."""
        for known, elf, slide in cls.known:
            if known != name:
                continue
            if (elf, slide) != cls.loaded:
                if cls.loaded:
                    gdb.execute(f"remove-symbol-file {cls.loaded[0]}")
                gdb.execute(f"add-symbol-file {elf} -o {slide:#x}", to_string=True)
                cls.loaded = (elf, slide)
            return
        raise gdb.GdbError(f"no guest '{name}': " + ", ".join(known for known, _, _ in cls.known))


def per_cpu():
    """`PerCpu` of the selected CPU."""
    return object_at(CPU_PAGES, "hypervisor::arch::x86_64::percpu::PerCpu")


def running():
    """The domain and the vCPU that the selected CPU runs, or nothing."""
    this = per_cpu()
    if int(plain(this["seat"])) == NO_SEAT:
        return None
    domain = object_at(DOMAIN_STATE, "hypervisor::domain::Domain")
    return domain, object_at(int(plain(this["vcpu_address"])), "hypervisor::domain::vcpu::Vcpu")


def names():
    """The domains' names, by number: the console has them, for what it says of each."""
    return gdb.parse_and_eval("hypervisor::domain::console::CONSOLE")["inner"]["data"]["value"]["output"]["names"]


def clock_ns(tick):
    """What the clock shows at a tick of the counter."""
    base, factor = (
        int(plain(gdb.parse_and_eval(f"hypervisor::arch::x86_64::time::{name}"))) for name in ("BASE", "NS_PER_TICK")
    )
    return (tick - base) * factor >> 32


def where(address):
    """An address with its symbol."""
    symbol = gdb.execute(f"info symbol {address:#x}", to_string=True).split(" in section")[0].strip()
    return f"{address:#018x}" if symbol.startswith("No symbol") else f"{address:#018x} <{symbol}>"


class Command(gdb.Command):
    """A command whose help is the docstring of its class."""

    name = None

    def __init__(self):
        super().__init__(self.name, gdb.COMMAND_DATA)
        self.dont_repeat()


class VcpuCommand(Command):
    """Which domain and vCPU each CPU runs, and in which mode."""

    name = "pvops-vcpu"

    def invoke(self, argument, from_tty):
        selected = gdb.selected_thread()
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
            thread.switch()
            try:
                print(("* " if thread == selected else "  ") + self.line(thread))
            except NotYet as reason:
                print(f"  thread {thread.num}: {reason}")
        selected.switch()

    def line(self, thread):
        cpu = int(plain(per_cpu()["number"]))
        found = running()
        if found is None:
            return f"thread {thread.num}: CPU {cpu} runs no domain"
        domain, vcpu = found
        mode = str(plain(vcpu["mode"])).rsplit("::", 1)[-1].lower()
        inside = "in the hypervisor" if int(gdb.parse_and_eval("$cs")) & 3 == 0 else "in the guest"
        blocked = ", blocked" if bool(plain(vcpu["blocked"])) else ""
        name, number = text(names()[int(domain["number"])]), int(vcpu["number"])
        return f"thread {thread.num}: CPU {cpu} runs '{name}' vCPU {number}, {mode} mode{blocked}; it is {inside}"


class DomainsCommand(Command):
    """All domains: where each runs, its priority, and what waits for it."""

    name = "pvops-domains"

    def invoke(self, argument, from_tty):
        per_cpu()
        entries = gdb.parse_and_eval("hypervisor::domain::registry::ENTRIES")
        known = names()
        low, high = known.type.range()
        vcpus = (entries.type.range()[1] + 1) // (high + 1)
        for number in range(low, high + 1):
            for vcpu in range(vcpus):
                entry = entries[number * vcpus + vcpu]
                if int(plain(entry["cpu"])) != NOWHERE:
                    print(self.line(number, vcpu, text(known[number]), entry))

    def line(self, number, vcpu, name, entry):
        value = lambda field: int(plain(entry[field]))
        deadline = value("deadline")
        parts = [f"{number} '{name}' vCPU {vcpu}: CPU {value('cpu')}, priority {value('priority')}"]
        parts.append("stopped" if value("stopped") else f"mail {value('mail'):#x}")
        parts.append("no deadline" if deadline == 2**64 - 1 else f"deadline {clock_ns(deadline)} ns")
        return ", ".join(parts)


class FrameCommand(Command):
    """The guest's registers at the top of this CPU's stack, as they were when it entered the hypervisor last.

    A call stores rip, rflags, rsp, rax, rdi, rsi and r8 to r10 only: the others are of an earlier entry then, and still in
    the processor or on the stack."""

    name = "pvops-frame"

    def invoke(self, argument, from_tty):
        per_cpu()
        frame = dict(zip(FRAME_WORDS, words(FRAME, len(FRAME_WORDS))))
        if frame["vector"] not in WITH_ERROR_CODE:
            del frame["error"]
        for name in frame:
            print(f"{name:>6} {where(frame[name]) if name in ('rip', 'rsp') else f'{frame[name]:#018x}'}")


class GuestCommand(Command):
    """pvops-guest NAME: takes the symbols of this domain's guest. pvops-guest: lists the guests.

    All kernels stand at the same address; so one guest's symbols are loaded at a time.
    pvops-guest NAME ELF SLIDE tells of a guest."""

    name = "pvops-guest"

    def invoke(self, argument, from_tty):
        arguments = gdb.string_to_argv(argument)
        if len(arguments) == 3:
            name, elf, slide = arguments
            if not Guests.known:
                # The script loaded the first one's symbols already.
                Guests.loaded = (elf, int(slide, 0))
            Guests.known.append((name, elf, int(slide, 0)))
        elif len(arguments) == 1:
            Guests.load(arguments[0])
        else:
            for name, elf, slide in Guests.known:
                print(("* " if (elf, slide) == Guests.loaded else "  ") + f"{name}: {elf} at {slide:#x}")


class SymbolsCommand(Command):
    """pvops-symbols ELF [SLIDE]: loads symbols, moved by SLIDE.

    Without a slide, the ELF header is looked for in memory below the program counter."""

    name = "pvops-symbols"

    def invoke(self, argument, from_tty):
        arguments = gdb.string_to_argv(argument)
        if not 1 <= len(arguments) <= 2:
            raise gdb.GdbError("pvops-symbols ELF [SLIDE]")
        slide = int(arguments[1], 0) if len(arguments) == 2 else self.find()
        gdb.execute(f"add-symbol-file {arguments[0]} -o {slide:#x}", to_string=True)
        print(f"{arguments[0]} at {slide:#x}")

    def find(self):
        at = int(gdb.parse_and_eval("(usize)$pc")) & ~0xFFF
        for page in range(at, max(at - LARGEST_IMAGE, 0), -0x1000):
            try:
                if memory(page, 4) == b"\x7fELF":
                    return page
            except gdb.MemoryError:
                pass
        raise gdb.GdbError("no ELF header below the program counter: give the slide")


class DomainFunction(gdb.Function):
    """Number of the domain that this CPU runs, -1 for none: break TRAP if $pvops_domain() == 1."""

    def __init__(self):
        super().__init__("pvops_domain")

    def invoke(self):
        try:
            found = running()
        except gdb.GdbError:
            return -1
        return -1 if found is None else int(found[0]["number"])


class FrameId:
    """What identifies a frame, as the values of registers."""

    def __init__(self, pending):
        self.sp = pending.read_register("rsp")
        self.pc = pending.read_register("rip")


class Unwinder(gdb.unwinder.Unwinder):
    """Goes on from the hypervisor's entry code, and from the hypercall page, into the guest."""

    SYSCALL = b"\x0f\x05"
    RETURN = b"\xc3"

    # What functions of the ABI keep, and the entry code therefore stores for the long way only.
    KEPT = ("rbp", "rbx", "r12", "r13", "r14", "r15")

    def __init__(self):
        super().__init__("pvops")
        self.entries = None

    def __call__(self, pending):
        pc, sp = (int(pending.read_register(name)) & 2**64 - 1 for name in ("rip", "rsp"))
        try:
            if sp == FRAME and self.is_entry(pc):
                saved = dict(zip(FRAME_WORDS, words(FRAME, len(FRAME_WORDS))))
                if pc != self.long_return:
                    self.keep(pending, saved)
            elif pc > 2 and gdb.block_for_pc(pc) is None and memory(pc - 2, 3) == self.SYSCALL + self.RETURN:
                # `syscall; ret`: the stub of the hypercall page, called like a function.
                saved = {"rip": words(sp, 1)[0], "rsp": sp + 8}
                self.keep(pending, saved)
            else:
                return None
        except (gdb.MemoryError, gdb.error):
            return None
        info = pending.create_unwind_info(FrameId(pending))
        for name, value in saved.items():
            if name not in ("vector", "error", "cs", "rflags", "ss"):
                register = pending.read_register(name)
                info.add_saved_register(name, gdb.Value(value & 2**64 - 1).cast(register.type))
        return info

    def is_entry(self, pc):
        """Whether it lies in the hypervisor's entry code, which calls Rust with the guest's registers on the stack."""
        if self.entries is None:
            self.long_return = address_of("pvops_leave")
            self.entries = [
                (address_of("pvops_interrupt_stubs"), address_of("pvops_entry_end")),
                (address_of("pvops_system_call_entry"), address_of("pvops_compatibility_entry")),
            ]
        return any(start <= pc < end for start, end in self.entries)

    def keep(self, pending, saved):
        """Registers that are still where the caller had them."""
        for name in self.KEPT:
            saved[name] = int(pending.read_register(name))


def address_of(symbol):
    """The address of a symbol of assembly code."""
    answer = gdb.execute(f"info address {symbol}", to_string=True)
    return int(next(word for word in answer.split() if word.startswith("0x")), 16)


for command in (VcpuCommand, DomainsCommand, FrameCommand, GuestCommand, SymbolsCommand):
    command()
DomainFunction()
gdb.unwinder.register_unwinder(None, Unwinder(), replace=True)
