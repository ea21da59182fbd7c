//! Event ports: what each is bound to, and how one becomes pending.

use super::Domain;
use super::vcpu::Vcpu;
use crate::arch::x86_64::{apic, cpu};
use crate::lock::lock;
use core::sync::atomic::Ordering;
use pvops_abi::error::Error;
use pvops_abi::layout::PortKind;

/// Ports that a domain can have bound at a time. The ABI allows more numbers than that.
pub const MAX_BOUND_PORTS: usize = 64;

// `Vcpu::own_ipis` has a bit for each.
const _: () = assert!(MAX_BOUND_PORTS <= 64);

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The kind of source.
    pub kind: PortKind,
    /// Which one of that kind: the channel of a doorbell, the number of a device; else 0.
    pub argument: u32,
    /// The vCPU that receives.
    pub vcpu: u32,
}

/// The bindings of a domain; index = port. Port 0 is never bound.
#[derive(Debug)]
pub struct Bindings {
    ports: [Option<Binding>; MAX_BOUND_PORTS],
}

impl Bindings {
    /// Nothing bound.
    #[must_use]
    pub const fn new() -> Self {
        Self { ports: [None; MAX_BOUND_PORTS] }
    }

    /// Unbinds all.
    pub fn clear(&mut self) {
        self.ports.fill(None);
    }

    /// Binds a source to a free port. IPIs are many; each vCPU has one timer, everything else is one in the domain.
    ///
    /// # Errors
    /// [`Error::WrongState`] when the source is bound, [`Error::NoResources`] when no port is free.
    pub fn bind(&mut self, binding: Binding) -> Result<u32, Error> {
        let is_same = |other: &Binding| {
            other.kind == binding.kind
                && other.argument == binding.argument
                && (binding.kind != PortKind::Timer || other.vcpu == binding.vcpu)
        };
        if binding.kind != PortKind::Ipi && self.ports.iter().flatten().any(is_same) {
            return Err(Error::WrongState);
        }
        let ports = if mutant!(FewPorts) { MAX_BOUND_PORTS / 2 } else { MAX_BOUND_PORTS };
        let free = (1..ports).find(|port| self.ports[*port].is_none()).ok_or(Error::NoResources)?;
        self.ports[free] = Some(binding);
        Ok(free as u32)
    }

    /// Unbinds a port; tells what it was bound to.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it is not bound.
    pub fn unbind(&mut self, port: u64) -> Result<Binding, Error> {
        let binding = self.get(port)?;
        self.ports[port as usize] = None;
        Ok(binding)
    }

    /// What `port` is bound to.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a number that no port has, [`Error::WrongState`] when it is not bound.
    pub fn get(&self, port: u64) -> Result<Binding, Error> {
        if port == 0 || port >= pvops_abi::layout::MAX_PORTS as u64 {
            return Err(Error::InvalidArgument);
        }
        let error = if mutant!(UnboundIsInvalid) { Error::InvalidArgument } else { Error::WrongState };
        self.ports.get(port as usize).copied().flatten().ok_or(error)
    }

    /// Whether any port is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ports.iter().all(Option::is_none)
    }

    /// The first port with a binding that `is_meant`, and its receiver.
    fn find(&self, is_meant: impl Fn(&Binding) -> bool) -> Option<(u32, u32)> {
        let mut ports = (0..).zip(&self.ports);
        ports.find_map(|(port, binding)| binding.filter(&is_meant).map(|binding| (port, binding.vcpu)))
    }
}

impl Default for Bindings {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the timer port of `vcpu` pending, if it has one.
#[inline(never)]
pub fn raise_timer(domain: &Domain, vcpu: &Vcpu) {
    let port = vcpu.timer_port.load(Ordering::Relaxed);
    if port != 0 {
        post_to(domain, port, vcpu);
    }
}

/// Makes the port of a source that is one in the domain pending, if it is bound.
pub fn raise_source(domain: &Domain, kind: PortKind, argument: u32) {
    let is_meant = |binding: &Binding| binding.kind == kind && binding.argument == argument;
    let found = lock(&domain.bindings).find(is_meant);
    if let Some((port, vcpu)) = found {
        post(domain, port, vcpu);
    }
}

/// Makes `port`, received by `vcpu`, pending. The order makes sure that no event is lost: pending bit, mask,
/// selector, then an exchange of the vCPU's flag; who finds that clear sees to it that the vCPU looks. The
/// guest's own flag is never read here, only by the CPU that runs the vCPU.
pub fn post(domain: &Domain, port: u32, vcpu: u32) {
    post_to(domain, port, domain.vcpu(vcpu));
}

#[inline(never)]
fn post_to(domain: &Domain, port: u32, target: &Vcpu) {
    let Some(ports) = domain.ports.get() else { return };
    trace!(Port, port.into(), crate::arch::x86_64::trace::binding(domain, port));
    ports.set_pending(port);
    if (ports.is_masked(port) && !mutant!(MaskIgnored)) || mutant!(EventLost) {
        return;
    }
    notify_vcpu(port, target);
}

/// As [`post`], for an IPI of the vCPU that runs here, which looks on its way out.
#[inline(always)]
pub fn post_to_self(domain: &Domain, vcpu: &Vcpu, port: u32) {
    let Some(ports) = domain.ports.get() else { return };
    ports.set_pending(port);
    if (ports.is_masked(port) && !mutant!(MaskIgnored)) || mutant!(EventLost) {
        return;
    }
    if let Some(area) = vcpu.area.get() {
        area.mark_pending(port as usize / 64);
    }
}

/// Tells the vCPU that `port` is pending and not masked.
pub fn notify(domain: &Domain, port: u32, vcpu: u32) {
    notify_vcpu(port, domain.vcpu(vcpu));
}

fn notify_vcpu(port: u32, target: &Vcpu) {
    let Some(area) = target.area.get() else { return };
    let is_first = area.mark_pending(port as usize / 64);
    if is_first && target.cpu != cpu().number.get() {
        apic::kick(target.cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvops_abi::layout::MAX_PORTS;

    const fn binding(kind: PortKind, vcpu: u32) -> Binding {
        Binding { kind, argument: 0, vcpu }
    }

    #[test]
    fn a_vcpu_has_one_timer_and_a_domain_one_console() {
        let mut bindings = Bindings::new();
        assert!(bindings.is_empty());
        let timer = bindings.bind(binding(PortKind::Timer, 0)).unwrap();
        assert_eq!(bindings.bind(binding(PortKind::Timer, 0)), Err(Error::WrongState));
        assert!(bindings.bind(binding(PortKind::Timer, 1)).is_ok());
        assert!(bindings.bind(binding(PortKind::Console, 1)).is_ok());
        assert_eq!(bindings.bind(binding(PortKind::Console, 0)), Err(Error::WrongState));
        bindings.unbind(timer.into()).unwrap();
        assert_eq!(bindings.bind(binding(PortKind::Timer, 0)), Ok(timer), "the port is free again");
        assert!(!bindings.is_empty());
    }

    #[test]
    fn each_channel_is_bound_once() {
        let mut bindings = Bindings::new();
        let channel = |argument| Binding { argument, ..binding(PortKind::Doorbell, 0) };
        let first = bindings.bind(channel(0)).unwrap();
        assert!(bindings.bind(channel(1)).is_ok());
        assert_eq!(bindings.bind(Binding { vcpu: 1, ..channel(0) }), Err(Error::WrongState));
        let is_first = |binding: &Binding| binding.kind == PortKind::Doorbell && binding.argument == 0;
        assert_eq!(bindings.find(is_first), Some((first, 0)));
    }

    #[test]
    fn ports_run_out_and_port_0_is_never_given() {
        let mut bindings = Bindings::new();
        for expected in 1..MAX_BOUND_PORTS as u32 {
            assert_eq!(bindings.bind(binding(PortKind::Ipi, 0)), Ok(expected));
        }
        assert_eq!(bindings.bind(binding(PortKind::Ipi, 0)), Err(Error::NoResources));
    }

    #[test]
    fn numbers_that_no_port_has_and_ports_not_bound_are_told_apart() {
        let mut bindings = Bindings::new();
        let port = bindings.bind(binding(PortKind::Ipi, 2)).unwrap();
        assert_eq!(bindings.get(port.into()), Ok(binding(PortKind::Ipi, 2)));
        for number in [0, MAX_PORTS as u64, 1 << 32 | u64::from(port), u64::MAX] {
            assert_eq!(bindings.get(number), Err(Error::InvalidArgument));
            assert_eq!(bindings.unbind(number), Err(Error::InvalidArgument));
        }
        for number in [2, MAX_BOUND_PORTS as u64, MAX_PORTS as u64 - 1] {
            assert_eq!(bindings.get(number), Err(Error::WrongState));
            assert_eq!(bindings.unbind(number), Err(Error::WrongState));
        }
    }

    #[test]
    fn a_source_finds_its_own_port() {
        let mut bindings = Bindings::new();
        bindings.bind(binding(PortKind::Timer, 0)).unwrap();
        let console = bindings.bind(binding(PortKind::Console, 3)).unwrap();
        assert_eq!(bindings.find(|binding| binding.kind == PortKind::Console), Some((console, 3)));
        assert_eq!(bindings.find(|binding| binding.kind == PortKind::Doorbell), None);
    }
}
