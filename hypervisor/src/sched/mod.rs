//! Which vCPU a CPU runs.
//!
//! The policy is behind [`Policy`], one instance per CPU, so that another (reservations, shares) can take its
//! place. It holds only vCPUs that are ready; the CPU asks for the next one when the current one blocks,
//! yields or is preempted.

use core::cell::Cell;

/// A vCPU of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuId {
    /// Number of the domain.
    pub domain: u16,
    /// Number of the vCPU in it.
    pub vcpu: u16,
}

/// vCPUs that one CPU can hold.
pub const MAX_READY: usize = 8;

/// How one CPU knows a vCPU that is placed on it: the rank of its priority there, 0 the highest, and its number among
/// the CPU's vCPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat(u8);

impl Seat {
    /// Nobody's. In no queue, and its rank is nobody's either.
    pub const NONE: Self = Self(u8::MAX);

    /// The seat of vCPU `number` with the `rank`-th of the priorities that occur; both below [`MAX_READY`].
    #[must_use]
    pub const fn new(rank: usize, number: usize) -> Self {
        Self((((rank % MAX_READY) << 4) | (number % MAX_READY)) as u8)
    }

    /// Its number among the CPU's vCPUs; some number for [`Self::NONE`].
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize % MAX_READY
    }

    /// As bits, for whoever keeps it in an atomic.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// Undoes [`Self::to_bits`].
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn rank(self) -> u8 {
        self.0 >> 4
    }
}

/// Decides among the ready vCPUs of one CPU, which alone asks.
pub trait Policy {
    /// `vcpu` became ready. False, and no effect, if it was already.
    fn make_ready(&self, vcpu: Seat) -> bool;
    /// `vcpu` blocked or stopped.
    fn remove(&self, vcpu: Seat);
    /// `vcpu` gives way to others of its priority.
    fn yield_to_others(&self, vcpu: Seat);
    /// Who runs now. [`Seat::NONE`]: idle.
    fn next(&self) -> Seat;
    /// Whether others wait with the same claim as who runs now, so that turns must end.
    fn has_rivals(&self) -> bool;
}

/// Fixed priorities, higher first; round robin within one.
///
/// The queue is one word, so that each operation is a few shifts.
#[derive(Clone, Debug)]
pub struct FixedPriority {
    /// Seats of who is ready, in the order in which they run, a byte each, the first one lowest; [`Seat::NONE`] behind
    /// the last.
    ready: Cell<u64>,
}

const SEAT_BITS: u32 = u8::BITS;
const _: () = assert!(MAX_READY * SEAT_BITS as usize == u64::BITS as usize);

impl FixedPriority {
    /// Nobody is ready.
    #[must_use]
    pub const fn new() -> Self {
        Self { ready: Cell::new(u64::MAX) }
    }

    /// Nobody is ready any more.
    pub fn clear(&self) {
        self.ready.set(u64::MAX);
    }

    /// Bits below `vcpu`'s seat, or all 64 if it is not ready.
    #[inline(never)]
    fn bits_before(&self, vcpu: Seat) -> u32 {
        let mut left = self.ready.get();
        let mut bits = 0;
        // Nobody may be asked for, and is not ready.
        while Seat(left as u8) != Seat::NONE {
            if Seat(left as u8) == vcpu {
                return bits;
            }
            // Behind the last one are no zeros.
            left = left >> SEAT_BITS | u64::from(Seat::NONE.0) << (u64::BITS - SEAT_BITS);
            bits += SEAT_BITS;
        }
        u64::BITS
    }

    /// As [`Policy::remove`]. False: it was not ready.
    #[inline(never)]
    fn take_out(&self, vcpu: Seat) -> bool {
        let bits = self.bits_before(vcpu);
        if bits < u64::BITS {
            let ready = self.ready.get();
            let moved = ready >> SEAT_BITS | u64::from(Seat::NONE.0) << (u64::BITS - SEAT_BITS);
            let below = (1 << bits) - 1;
            self.ready.set(ready & below | moved & !below);
        }
        bits < u64::BITS
    }

    /// Puts `vcpu`, which is not ready, behind all with its claim or more.
    fn insert(&self, vcpu: Seat) {
        let ready = self.ready.get();
        let mut bits = 0;
        // Nobody's seats have the least claim, and one of them is the last as long as somebody is not ready.
        while Seat((ready >> bits) as u8).rank() <= vcpu.rank() && bits < u64::BITS - SEAT_BITS {
            bits += SEAT_BITS;
        }
        let below = (1 << bits) - 1;
        self.ready.set(ready & below | u64::from(vcpu.0) << bits | (ready & !below) << SEAT_BITS);
    }
}

impl Default for FixedPriority {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for FixedPriority {
    #[inline]
    fn make_ready(&self, vcpu: Seat) -> bool {
        let is_new = self.bits_before(vcpu) == u64::BITS;
        if is_new {
            self.insert(vcpu);
        }
        is_new
    }

    fn remove(&self, vcpu: Seat) {
        self.take_out(vcpu);
    }

    fn yield_to_others(&self, vcpu: Seat) {
        if self.take_out(vcpu) {
            self.insert(vcpu);
        }
    }

    #[inline]
    fn next(&self) -> Seat {
        Seat(self.ready.get() as u8)
    }

    #[inline]
    fn has_rivals(&self) -> bool {
        let ready = self.ready.get();
        // Nobody's rank is nobody else's.
        ready != u64::MAX && Seat((ready ^ ready >> SEAT_BITS) as u8).rank() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(rank: usize, number: usize) -> Seat {
        Seat::new(rank, number)
    }

    #[test]
    fn higher_priority_runs_first() {
        let policy = FixedPriority::new();
        policy.make_ready(seat(1, 0));
        policy.make_ready(seat(0, 1));
        assert_eq!(policy.next(), seat(0, 1));
        assert!(!policy.has_rivals());
        policy.remove(seat(0, 1));
        assert_eq!(policy.next(), seat(1, 0));
        policy.remove(seat(1, 0));
        assert_eq!(policy.next(), Seat::NONE);
        assert!(!policy.has_rivals());
    }

    #[test]
    fn equals_take_turns() {
        let policy = FixedPriority::new();
        for number in 0..3 {
            policy.make_ready(seat(2, number));
        }
        assert!(policy.has_rivals());
        let turns = [0; 6].map(|_| {
            let running = policy.next();
            policy.yield_to_others(running);
            running.number()
        });
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_ready_vcpu_is_not_counted_twice() {
        let policy = FixedPriority::new();
        assert!(policy.make_ready(seat(0, 3)));
        assert!(!policy.make_ready(seat(0, 3)));
        policy.remove(seat(0, 3));
        assert_eq!(policy.next(), Seat::NONE);
    }

    #[test]
    fn yielding_gives_way_to_equals_only() {
        let policy = FixedPriority::new();
        policy.make_ready(seat(0, 0));
        policy.make_ready(seat(1, 1));
        policy.yield_to_others(seat(0, 0));
        assert_eq!(policy.next(), seat(0, 0));
        policy.yield_to_others(seat(0, 7));
        assert_eq!(policy.next(), seat(0, 0), "who is not ready has nothing to yield");
        policy.remove(seat(0, 7));
        assert_eq!(policy.next(), seat(0, 0), "nor to leave");
    }

    #[test]
    fn a_full_cpu_holds_as_many_as_can_be_placed_on_it_and_is_usable_again() {
        let policy = FixedPriority::new();
        for number in 0..MAX_READY {
            policy.make_ready(seat(number, number));
        }
        policy.make_ready(seat(0, 0));
        policy.yield_to_others(seat(7, 7));
        for number in 0..MAX_READY {
            assert_eq!(policy.next(), seat(number, number));
            policy.remove(seat(number, number));
        }
        assert_eq!(policy.next(), Seat::NONE);
        policy.make_ready(seat(0, 5));
        assert_eq!(policy.next(), seat(0, 5));
    }

    /// A CPU runs nobody while a domain of its begins anew, and a slice may end meanwhile.
    #[test]
    fn nobody_is_in_no_queue_not_even_in_a_full_one() {
        let policy = FixedPriority::new();
        for ready in 0..=MAX_READY {
            policy.yield_to_others(Seat::NONE);
            policy.remove(Seat::NONE);
            for number in 0..ready {
                assert_eq!(policy.next(), seat(0, number), "{ready} are ready");
                policy.yield_to_others(seat(0, number));
            }
            if ready < MAX_READY {
                policy.make_ready(seat(0, ready));
            }
        }
    }

    /// Every order of what can happen, against a list that is searched and sorted.
    #[test]
    fn it_is_a_list_sorted_by_priority_in_which_equals_keep_their_order() {
        const RANKS: [usize; MAX_READY] = [1, 0, 1, 2, 1, 0, 2, 3];
        let policy = FixedPriority::new();
        let mut list: Vec<Seat> = Vec::new();
        let mut random = 1_u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 40) as usize % MAX_READY;
            let vcpu = seat(RANKS[number], number);
            let was_there = list.contains(&vcpu);
            match random >> 60 {
                0..8 => {
                    assert_eq!(policy.make_ready(vcpu), !was_there);
                    if !was_there {
                        list.push(vcpu);
                    }
                }
                8..12 => {
                    policy.remove(vcpu);
                    list.retain(|other| *other != vcpu);
                }
                _ => {
                    policy.yield_to_others(vcpu);
                    if was_there {
                        list.retain(|other| *other != vcpu);
                        list.push(vcpu);
                    }
                }
            }
            list.sort_by_key(|seat| seat.rank());
            assert_eq!(policy.next(), list.first().copied().unwrap_or(Seat::NONE));
            let rivals = list.len() > 1 && list[0].rank() == list[1].rank();
            assert_eq!(policy.has_rivals(), rivals);
        }
        assert!(!list.is_empty());
    }
}
