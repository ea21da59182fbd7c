//! Behaviour: the hypervisor says who it is, and which calls exist.
//! Reason: guests decide by these answers what they use; a call that does not exist must say so, not misbehave.
//! Method: asks, compares with `StartInfo`, probes every number, makes calls that nobody defined.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::{Report, Test, world};
use pvops_abi::call::{Base, CallId, Extension};
use pvops_abi::error::Error;
use pvops_abi::ops::mmu::mmu;
use pvops_abi::ops::{self, Backend, InitError, cpu, irq};

pub(super) const TESTS: &[Test] = &[
    Test { name: "base.version", requirement_ids: &["BASE-001"], needs: Abi, run: version },
    Test { name: "base.implementation", requirement_ids: &[], needs: Abi, run: implementation },
    Test {
        name: "base.probe",
        requirement_ids: &["BASE-002", "BASE-003", "SMP-002"],
        needs: Abi,
        run: probe,
    },
    Test {
        name: "base.unknown_functions",
        requirement_ids: &["BASE-002", "CALL-006", "ERR-002"],
        needs: Abi,
        run: unknown_functions,
    },
    Test {
        name: "base.unknown_extensions",
        requirement_ids: &["CALL-006", "ERR-002", "SMP-002"],
        needs: Abi,
        run: unknown_extensions,
    },
    Test { name: "base.chosen_once", requirement_ids: &["OPS-001"], needs: Ops, run: chosen_once },
];

const MANDATORY: [Extension; 7] = [
    Extension::Base,
    Extension::Cpu,
    Extension::Event,
    Extension::Mmu,
    Extension::Time,
    Extension::Console,
    Extension::Sched,
];
/// The first number of each mandatory extension that this version gives no function.
const FIRST_UNKNOWN: [u16; 7] = [5, 9, 7, 7, 3, 2, 3];

fn version(report: &mut Report) {
    let value = report.accepted("BASE.version", call(Base::Version.id(), &[]));
    report.equal("version as in StartInfo", value, world::hypervisor().abi_version.into());
}

fn implementation(report: &mut Report) {
    let value = report.accepted("BASE.implementation", call(Base::Implementation.id(), &[]));
    report.equal("id as in StartInfo", value, world::hypervisor().implementation.into());
    let version = report.accepted("BASE.implementation_version", call(Base::ImplementationVersion.id(), &[]));
    report.remark(format_args!("implementation {value}, version {version:#x}"));
}

fn probe(report: &mut Report) {
    let is_mandatory = |number| MANDATORY.iter().any(|extension| *extension as u64 == number);
    for number in 0..0x20 {
        let version = report.accepted("BASE.probe", call(Base::Probe.id(), &[number]));
        report.check(version != 0 || !is_mandatory(number), "mandatory extensions are present");
        // Numbers that are kept stay without a meaning: of those, this edition has none.
        report.check(version == 0 || is_mandatory(number), "no number of a later edition is used");
        if version == 0 {
            let reply = call(CallId(number << 16), &[]);
            report.refused(
                format_args!("a call of absent extension {number:#x}"),
                reply,
                Error::NotSupported,
            );
        }
    }
    report.equal("extension 0 exists", call(Base::Probe.id(), &[0]).value, 0);
    for number in [0xffff, 0x1_0001, 1 << 32 | 1, u64::MAX] {
        let version =
            report.accepted("BASE.probe of a number that is too large", call(Base::Probe.id(), &[number]));
        report.equal("version of a number that is too large", version, 0);
    }
}

fn unknown_functions(report: &mut Report) {
    for (extension, first) in MANDATORY.into_iter().zip(FIRST_UNKNOWN) {
        for function in [first, first + 1, 0x7f, 0x8000, 0xffff] {
            let id = CallId::new(extension, function);
            report.refused(format_args!("call {:#x}", id.0), call(id, &[]), Error::NotSupported);
        }
    }
}

fn unknown_extensions(report: &mut Report) {
    for number in [0x20, 0x100, 0x7fff] {
        let version = report.accepted("BASE.probe", call(Base::Probe.id(), &[number]));
        report.equal("version of a number that nobody may use", version, 0);
    }
    // The last ones are BASE.version with one bit too many each.
    for id in [0, 4, 0x20_0000, 0x7fff_0000, 0xffff_0000, 0x1_0001_0000, 1 << 63 | 0x1_0000, u64::MAX] {
        report.refused(format_args!("call {id:#x}"), call(CallId(id), &[]), Error::NotSupported);
    }
}

/// Asking a backend whether it fits changes nothing, and the choice is made once.
fn chosen_once(report: &mut Report) {
    let boot = world::boot();
    let is_guest = world::start_info().is_some();
    let (enabled, root, number) = (irq::are_enabled(), mmu().current_root(), cpu::current());
    for _ in 0..3 {
        report.equal("the hypercall backend fits", pvops_abi::hyper::BACKEND.probe(boot), is_guest);
        report.equal("the native backend fits", pvops_native::BACKEND.probe(boot), !is_guest);
    }
    let now = (irq::are_enabled(), mmu().current_root(), cpu::current());
    report.equal("flag, root and CPU", now, (enabled, root, number));
    let again = ops::init(boot, &world::KERNEL, &[&pvops_abi::hyper::BACKEND, &pvops_native::BACKEND]);
    report.check(again == Err(InitError::AlreadyDone), "a second choice is refused");
}
