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
}

/// vCPUs that one CPU can hold.
pub const MAX_READY: usize = 8;

/// Fixed priorities, higher first; round robin within one.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedPriority {
    /// Ready vCPUs with priority and the turn in which they entered their round.
    ready: [Option<(VcpuId, u8, u64)>; MAX_READY],
    turn: u64,
}

impl FixedPriority {
    /// Nobody is ready.
    #[must_use]
    pub const fn new() -> Self {
        Self { ready: [None; MAX_READY], turn: 0 }
    }

    fn position(&self, vcpu: VcpuId) -> Option<usize> {
        self.ready.iter().position(|entry| matches!(entry, Some((id, _, _)) if *id == vcpu))
    }
}

impl Policy for FixedPriority {
    fn make_ready(&mut self, vcpu: VcpuId, priority: u8) {
        if self.position(vcpu).is_some() {
            return;
        }
        self.turn += 1;
        let turn = self.turn;
        // Boot places at most `MAX_READY` vCPUs on a CPU, so there is always room.
        if let Some(free) = self.ready.iter_mut().find(|entry| entry.is_none()) {
            *free = Some((vcpu, priority, turn));
        }
    }

    fn remove(&mut self, vcpu: VcpuId) {
        if let Some(position) = self.position(vcpu) {
            self.ready[position] = None;
        }
    }

    fn yield_to_others(&mut self, vcpu: VcpuId) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(position) = self.position(vcpu)
            && let Some(entry) = &mut self.ready[position]
        {
            entry.2 = turn;
        }
    }

    fn next(&self) -> Option<VcpuId> {
        let best = self.ready.iter().flatten().min_by_key(|(_, priority, turn)| (u8::MAX - priority, *turn));
        best.map(|(id, _, _)| *id)
    }

    fn has_rivals(&self) -> bool {
        let highest = self.ready.iter().flatten().map(|(_, priority, _)| *priority).max();
        let rivals = self.ready.iter().flatten().filter(|(_, priority, _)| Some(*priority) == highest);
        rivals.count() > 1
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
