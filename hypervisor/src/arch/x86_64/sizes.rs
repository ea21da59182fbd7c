//! What boot allocates for each vCPU, domain and CPU, as symbols of that value: for `cargo pv size`, and no bytes.

use super::layout::cpu_pages;
use super::percpu::PerCpu;
use super::switch::ExtendedState;
use crate::domain::registry::Entry;
use crate::domain::vcpu::Vcpu;
use crate::domain::{Domain, MAX_VCPUS};
use core::arch::global_asm;

const REGISTERS: usize = size_of::<ExtendedState>();

global_asm!(
    ".globl pvops_bytes_vcpu, pvops_bytes_vcpu_registers, pvops_bytes_domain, pvops_bytes_cpu, pvops_bytes_cpu_stacks",
    ".set pvops_bytes_vcpu, {vcpu}",
    ".set pvops_bytes_vcpu_registers, {registers}",
    ".set pvops_bytes_domain, {domain}",
    ".set pvops_bytes_cpu, {cpu}",
    ".set pvops_bytes_cpu_stacks, {stacks}",
    vcpu = const size_of::<Vcpu>() - REGISTERS + size_of::<Entry>(),
    registers = const REGISTERS,
    domain = const size_of::<Domain>() - MAX_VCPUS * size_of::<Vcpu>(),
    cpu = const size_of::<PerCpu>(),
    stacks = const (cpu_pages::MAPPED.len() - 1) * 4096,
);
