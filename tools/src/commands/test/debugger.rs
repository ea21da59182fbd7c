//! gdb on a live machine: symbols of the hypervisor and of its guests at their addresses, backtraces from one into the
//! other, the commands of `tools/gdb/pvops.py`.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use super::case::{Case, Context, ensure};
use crate::boot::World;
use crate::debugger::{self, Symbols};
use crate::disk_image::Contents;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::process;
use crate::toolchain;

/// All of them.
pub fn cases() -> Vec<Case> {
    if toolchain::gdb().is_none() {
        return vec![Case::skipped("gdb: hypervisor and guests, native kernel", "gdb is not installed")];
    }
    vec![
        Case::boot("gdb: hypervisor and guests", hypervisor_and_guests),
        Case::boot("gdb: native kernel", native),
    ]
}

/// A port that is free now. Somebody could take it before QEMU does; then the case fails and says so.
fn free_port() -> Result<u16, Failure> {
    let address = TcpListener::bind(("localhost", 0)).and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| Failure::new(Kind::CheckFailed, error.to_string()))
}

/// Boots `contents`, has gdb execute `commands` behind its script, and returns what it printed.
fn debug(
    context: &Context,
    contents: &Contents,
    guests: &[Symbols],
    commands: &[&str],
    limit: Duration,
) -> Result<String, Failure> {
    let port = free_port()?;
    let script =
        debugger::write_script(&context.workspace, port, &Symbols::of_booted(&contents.kernel)?, guests)?;
    let machine = Machine { gdb_port: Some(port), ..Machine::default() };
    let _machine = context.start(contents, &machine, limit)?;
    let mut gdb = Command::new(toolchain::installed_gdb()?);
    // Nothing of the user's own settings, and it goes on behind a command that fails.
    gdb.args(["-batch", "-nx", "-x"]).arg(script);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let finished = process::run(&mut gdb, limit, |_| ())?;
    Ok(finished.stdout + &finished.stderr)
}

/// The texts must appear in this order.
fn expect_in_order(output: &str, texts: &[&str]) -> Result<(), Failure> {
    let mut rest = output;
    for text in texts {
        let Some(at) = rest.find(text) else {
            return ensure(false, format_args!("no {text:?} behind those before it in\n{output}"));
        };
        rest = &rest[at + text.len()..];
    }
    Ok(())
}

/// Two domains with different guests on one CPU.
fn hypervisor_and_guests(context: &Context, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), "");
    manifest.domains.extend(Manifest::for_guest(kernels.smallest.clone(), "").domains);
    for (domain, (name, priority)) in manifest.domains.iter_mut().zip([("first", 20), ("second", 10)]) {
        domain.name = name.into();
        domain.vcpus[0].priority = priority;
    }
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?);
    let guests =
        [Symbols::of_guest("first", &kernels.demo)?, Symbols::of_guest("second", &kernels.smallest)?];
    let commands = [
        // In the guest: the stub stopped before the first instruction, so these are reached for certain.
        "break guest_demo_kernel::shell::run",
        "continue",
        "backtrace",
        "pvops-vcpu",
        "delete",
        // In the hypervisor, at a fault that the guest does not see.
        "break hypervisor::arch::x86_64::trap::page_fault",
        "continue",
        "backtrace",
        "delete",
        // In the hypervisor, called by the guest: at the function's first instruction, since what is inlined there has
        // lines of its own.
        "break *hypervisor::front::fast::write_console",
        "continue",
        "backtrace",
        "pvops-frame",
        "pvops-domains",
        "delete",
        // In the other guest.
        "pvops-guest second",
        "break smallest::main if $pvops_domain() == 1",
        "continue",
        "backtrace",
        "pvops-vcpu",
        "kill",
    ];
    let output = debug(context, &contents, &guests, &commands, limit)?;
    expect_in_order(
        &output,
        &[
            "guest_demo_kernel::shell::run () at guest-demo-kernel/src/shell/mod.rs:",
            " guest_demo_kernel::first_thread (",
            "CPU 0 runs 'first' vCPU 0, kernel mode; it is in the guest",
            "hypervisor::arch::x86_64::trap::page_fault (",
            " in pvops_page_fault",
            " guest_demo_kernel::first_thread (",
            " hypervisor::front::fast::write_console (",
            " in pvops_",
            " in pvops_abi::hyper::hypercall::call ",
            " guest_demo_kernel::shell::read_and_do ",
            " guest_demo_kernel::threads::begin ",
            " rip 0xffff",
            "0 'first' vCPU 0: CPU 0, priority 20",
            "1 'second' vCPU 0: CPU 0, priority 10",
            "smallest::main (",
            "CPU 0 runs 'second' vCPU 0, kernel mode; it is in the guest",
        ],
    )
}

fn native(context: &Context, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let contents = World::Native.contents(&kernels.demo, &kernels.hypervisor, "")?;
    let commands = ["break guest_demo_kernel::shell::run", "continue", "backtrace", "pvops-vcpu", "kill"];
    let output = debug(context, &contents, &[], &commands, limit)?;
    expect_in_order(
        &output,
        &[
            "guest_demo_kernel::shell::run () at guest-demo-kernel/src/shell/mod.rs:",
            " guest_demo_kernel::first_thread (",
            "no debug information of the hypervisor is loaded",
        ],
    )
}
