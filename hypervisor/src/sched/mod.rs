//! Which vCPU a CPU runs.
//!
//! The policy is behind [`Policy`], one instance per CPU, so that another (reservations, shares) can take its
//! place. It holds only vCPUs that are ready; the CPU asks for the next one when the current one blocks,
//! yields or is preempted.

/// A vCPU of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuId {
    /// Number of the domain.
    pub domain: u16,
    /// Number of the vCPU in it.
    pub vcpu: u16,
}

/// Decides among the ready vCPUs of one CPU.
pub trait Policy {
    /// `vcpu` became ready. No effect if it is ready already.
    fn make_ready(&mut self, vcpu: VcpuId, priority: u8);
    /// `vcpu` blocked or stopped.
    fn remove(&mut self, vcpu: VcpuId);
    /// `vcpu` gives way to others of its priority.
    fn yield_to_others(&mut self, vcpu: VcpuId);
    /// Who runs now. `None`: idle.
    fn next(&self) -> Option<VcpuId>;
    /// Whether others wait with the same claim as who runs now, so that turns must end.
    fn has_rivals(&self) -> bool;
    /// Whether nobody waits.
    fn is_alone(&self) -> bool;
}

/// vCPUs that one CPU can hold.
pub const MAX_READY: usize = 8;

/// Fixed priorities, higher first; round robin within one.
#[derive(Clone, Copy, Debug)]
pub struct FixedPriority {
    /// Who is ready, in the order in which they run.
    ready: [(VcpuId, u8); MAX_READY],
    count: usize,
}

impl FixedPriority {
    /// Nobody is ready.
    #[must_use]
    pub const fn new() -> Self {
        Self { ready: [(VcpuId { domain: 0, vcpu: 0 }, 0); MAX_READY], count: 0 }
    }

    fn ready(&self) -> &[(VcpuId, u8)] {
        self.ready.get(..self.count).unwrap_or(&[])
    }

    fn position(&self, vcpu: VcpuId) -> Option<usize> {
        self.ready().iter().position(|(id, _)| *id == vcpu)
    }
}

impl Default for FixedPriority {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for FixedPriority {
    fn make_ready(&mut self, vcpu: VcpuId, priority: u8) {
        // Boot places at most `MAX_READY` vCPUs on a CPU, so there is always room.
        if self.count == MAX_READY || self.position(vcpu).is_some() {
            return;
        }
        let place = self.ready().iter().take_while(|(_, other)| *other >= priority).count();
        self.ready.copy_within(place..self.count, place + 1);
        self.ready[place] = (vcpu, priority);
        self.count += 1;
    }

    fn remove(&mut self, vcpu: VcpuId) {
        if let Some(position) = self.position(vcpu) {
            self.ready.copy_within(position + 1..self.count, position);
            self.count -= 1;
        }
    }

    fn yield_to_others(&mut self, vcpu: VcpuId) {
        if let Some(position) = self.position(vcpu) {
            let (_, priority) = self.ready[position];
            self.remove(vcpu);
            self.make_ready(vcpu, priority);
        }
    }

    fn next(&self) -> Option<VcpuId> {
        self.ready().first().map(|(id, _)| *id)
    }

    fn has_rivals(&self) -> bool {
        matches!(self.ready(), [(_, first), (_, second), ..] if first == second)
    }

    fn is_alone(&self) -> bool {
        self.count < 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(vcpu: u16) -> VcpuId {
        VcpuId { domain: 0, vcpu }
    }

    #[test]
    fn higher_priority_runs_first() {
        let mut policy = FixedPriority::new();
        policy.make_ready(id(0), 5);
        policy.make_ready(id(1), 9);
        assert_eq!(policy.next(), Some(id(1)));
        policy.remove(id(1));
        assert_eq!(policy.next(), Some(id(0)));
        policy.remove(id(0));
        assert_eq!(policy.next(), None);
    }

    #[test]
    fn equals_take_turns() {
        let mut policy = FixedPriority::new();
        for number in 0..3 {
            policy.make_ready(id(number), 7);
        }
        let mut order = [0; 6];
        for place in &mut order {
            let running = policy.next().unwrap();
            *place = running.vcpu;
            policy.yield_to_others(running);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_ready_vcpu_is_not_counted_twice() {
        let mut policy = FixedPriority::new();
        policy.make_ready(id(3), 1);
        policy.make_ready(id(3), 1);
        policy.remove(id(3));
        assert_eq!(policy.next(), None);
    }

    #[test]
    fn yielding_gives_way_to_equals_only() {
        let mut policy = FixedPriority::new();
        policy.make_ready(id(0), 9);
        policy.make_ready(id(1), 5);
        policy.yield_to_others(id(0));
        assert_eq!(policy.next(), Some(id(0)));
        policy.yield_to_others(id(7));
        assert_eq!(policy.next(), Some(id(0)), "who is not ready has nothing to yield");
    }

    #[test]
    fn a_full_cpu_holds_as_many_as_can_be_placed_on_it_and_is_usable_again() {
        let mut policy = FixedPriority::new();
        for number in 0..=MAX_READY as u16 {
            policy.make_ready(id(number), 3);
        }
        for number in 0..MAX_READY as u16 {
            assert_eq!(policy.next(), Some(id(number)));
            policy.remove(id(number));
        }
        assert_eq!(policy.next(), None);
        policy.make_ready(id(5), 0);
        assert_eq!(policy.next(), Some(id(5)));
    }
}
