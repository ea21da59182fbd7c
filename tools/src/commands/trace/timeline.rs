//! From records to what was going on when: spans that nest and instants, on tracks.
//!
//! A CPU is in a guest, in the hypervisor or idle. Records of ways in and out, of a change of vCPU and of idling say when
//! that changes; all others are instants within. A vCPU's *run* begins when the CPU goes out to it and ends when the CPU
//! idles or takes another; it contains the *visits* to the hypervisor on its account. What the hypervisor does before a run begins
//! is a visit that no run contains. The oldest records may be lost, so each ring begins somewhere in the middle.

use std::collections::{BTreeMap, VecDeque};

use trace_records::{Entry, Kind, NO_DOMAIN};

/// A vCPU: number of its domain, its own.
pub type Vcpu = (u16, u16);

/// Where spans and instants are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// A physical CPU.
    Cpu(u64),
    /// A virtual one.
    Vcpu(Vcpu),
}

/// Why the hypervisor was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A call: id, first argument, and status if it returned to its caller at once.
    Call { id: u64, first: u64, status: Option<u64> },
    /// A system call of a program: number, address.
    SystemCall { number: u64, address: u64 },
    /// An exception: vector, error code, address.
    Exception { vector: u64, error: u64, address: u64 },
    /// An interrupt.
    Interrupt(u64),
    /// It was in already and goes on for another vCPU.
    Switch,
}

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// This vCPU has this CPU.
    Run { cpu: u64, vcpu: Vcpu },
    /// The guest's kernel executes, on this CPU.
    Kernel(u64),
    /// A program of the guest executes, on this CPU.
    Program(u64),
    /// The hypervisor executes.
    Visit(Cause),
    /// The CPU sleeps.
    Idle,
}

/// Something that lasted.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Where.
    pub track: Track,
    /// Nanoseconds of the hypervisor's clock.
    pub begin_ns: u64,
    /// See `begin_ns`.
    pub end_ns: u64,
    /// What.
    pub what: What,
}

/// Something that happened within a visit.
#[derive(Clone, Copy, Debug)]
pub struct Instant {
    /// Where.
    pub track: Track,
    /// As the record has it.
    pub entry: Entry,
}

/// A ring of a doorbell, and when the other vCPU went on with it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// Who rang, when.
    pub from: (Track, u64),
    /// Who heard it, when.
    pub to: (Track, u64),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Timeline {
    /// In the order in which they ended.
    pub spans: Vec<Span>,
    /// In the order of each CPU's records.
    pub instants: Vec<Instant>,
    /// Doorbells whose both ends are there.
    pub rings: Vec<Ring>,
    /// Ways in that no record says the end of. The hypervisor has a way out without a trace point.
    pub unclosed: usize,
}

/// What a CPU does, as far as records have been looked at.
#[derive(Default)]
struct State {
    run: Option<(Vcpu, u64)>,
    mode: Option<(What, u64)>,
    visit: Option<(Cause, u64)>,
    idle: Option<u64>,
}

/// Rings on their way: by domain and channel, then those that arrived and wait for their domain to go on.
#[derive(Default)]
struct Doorbells {
    sent: BTreeMap<(u64, u64), VecDeque<(Track, u64)>>,
    heard: BTreeMap<Vcpu, Vec<(Track, u64)>>,
}

impl Timeline {
    /// Of the records of CPUs, each in order.
    pub fn of(cpus: &[(u64, Vec<Entry>)]) -> Self {
        let mut timeline = Self::default();
        let mut all: Vec<(u64, Entry)> = Vec::new();
        for (cpu, entries) in cpus {
            all.extend(entries.iter().map(|entry| (*cpu, *entry)));
        }
        // Doorbells go from CPU to CPU; what one CPU says stays in order.
        all.sort_by_key(|(_, entry)| entry.time_ns);
        let mut states: BTreeMap<u64, State> = BTreeMap::new();
        let mut doorbells = Doorbells::default();
        for (cpu, entry) in &all {
            let state = states.entry(*cpu).or_default();
            timeline.add(*cpu, state, entry);
            timeline.follow(&mut doorbells, entry);
        }
        let end = all.last().map_or(0, |(_, entry)| entry.time_ns);
        for (cpu, state) in &mut states {
            timeline.end_visit(*cpu, state, end);
            timeline.end_run(*cpu, state, end);
            timeline.end_idle(*cpu, state, end);
        }
        timeline
    }

    fn add(&mut self, cpu: u64, state: &mut State, entry: &Entry) {
        let (now, vcpu) = (entry.time_ns, (entry.domain, entry.vcpu));
        match entry.kind {
            Kind::Call => {
                let cause = Cause::Call { id: entry.first, first: entry.second, status: None };
                self.enter_from_guest(cpu, state, entry, cause);
            }
            Kind::SystemCall => {
                let cause = Cause::SystemCall { number: entry.first, address: entry.second };
                self.enter_from_guest(cpu, state, entry, cause);
            }
            Kind::Exception => {
                let (vector, error) = (entry.first & 0xffff_ffff, entry.first >> 32);
                let cause = Cause::Exception { vector, error, address: entry.second };
                self.enter_from_guest(cpu, state, entry, cause);
            }
            // The hypervisor lets interrupts in now and then while it works.
            Kind::Interrupt if state.visit.is_some() => self.note(cpu, entry),
            Kind::Interrupt => self.enter(cpu, state, now, Cause::Interrupt(entry.first)),
            Kind::Leave => self.leave(cpu, state, entry),
            Kind::Switch => {
                self.end_visit(cpu, state, now);
                self.end_run(cpu, state, now);
                self.end_idle(cpu, state, now);
                state.visit = Some((Cause::Switch, now));
            }
            Kind::Idle => {
                self.end_visit(cpu, state, now);
                self.end_run(cpu, state, now);
                state.idle.get_or_insert(now);
            }
            Kind::Deadline => {
                let target = (entry.first as u16, (entry.first >> 16) as u16);
                self.instants.push(Instant { track: Track::Vcpu(target), entry: *entry });
            }
            Kind::TimerSet => self.instants.push(Instant { track: Track::Cpu(cpu), entry: *entry }),
            _ if vcpu.0 == NO_DOMAIN => self.note(cpu, entry),
            _ => self.instants.push(Instant { track: Track::Vcpu(vcpu), entry: *entry }),
        }
    }

    fn note(&mut self, cpu: u64, entry: &Entry) {
        self.instants.push(Instant { track: Track::Cpu(cpu), entry: *entry });
    }

    fn enter_from_guest(&mut self, cpu: u64, state: &mut State, entry: &Entry, cause: Cause) {
        let now = entry.time_ns;
        if state.visit.is_some() {
            self.unclosed += 1;
            self.end_visit(cpu, state, now);
        }
        // So the vCPU ran; since when, a lost record knew.
        state.run.get_or_insert(((entry.domain, entry.vcpu), now));
        self.enter(cpu, state, now, cause);
    }

    fn enter(&mut self, cpu: u64, state: &mut State, now: u64, cause: Cause) {
        self.end_idle(cpu, state, now);
        self.end_mode(state, now);
        state.visit = Some((cause, now));
    }

    fn leave(&mut self, cpu: u64, state: &mut State, entry: &Entry) {
        let (now, vcpu) = (entry.time_ns, (entry.domain, entry.vcpu));
        if let Some((Cause::Call { status, .. }, _)) = &mut state.visit {
            *status = Some(entry.second);
        }
        self.end_visit(cpu, state, now);
        self.end_idle(cpu, state, now);
        if state.run.is_some_and(|(other, _)| other != vcpu) {
            self.unclosed += 1;
            self.end_run(cpu, state, now);
        }
        state.run.get_or_insert((vcpu, now));
        state.mode = Some((if entry.first == 0 { What::Kernel(cpu) } else { What::Program(cpu) }, now));
    }

    fn end_visit(&mut self, cpu: u64, state: &mut State, now: u64) {
        let Some((cause, begin_ns)) = state.visit.take() else { return };
        let span = Span { track: Track::Cpu(cpu), begin_ns, end_ns: now, what: What::Visit(cause) };
        self.spans.push(span);
        if let Some((vcpu, _)) = state.run {
            self.spans.push(Span { track: Track::Vcpu(vcpu), ..span });
        }
    }

    fn end_mode(&mut self, state: &mut State, now: u64) {
        if let (Some((what, begin_ns)), Some((vcpu, _))) = (state.mode.take(), state.run) {
            self.spans.push(Span { track: Track::Vcpu(vcpu), begin_ns, end_ns: now, what });
        }
    }

    fn end_run(&mut self, cpu: u64, state: &mut State, now: u64) {
        self.end_mode(state, now);
        let Some((vcpu, begin_ns)) = state.run.take() else { return };
        for track in [Track::Cpu(cpu), Track::Vcpu(vcpu)] {
            self.spans.push(Span { track, begin_ns, end_ns: now, what: What::Run { cpu, vcpu } });
        }
    }

    fn end_idle(&mut self, cpu: u64, state: &mut State, now: u64) {
        if let Some(begin_ns) = state.idle.take() {
            self.spans.push(Span { track: Track::Cpu(cpu), begin_ns, end_ns: now, what: What::Idle });
        }
    }

    /// Joins the ends of doorbells.
    fn follow(&mut self, doorbells: &mut Doorbells, entry: &Entry) {
        const DOORBELL: u64 = pvops_abi::layout::PortKind::Doorbell as u64 + 1;
        let (now, vcpu) = (entry.time_ns, (entry.domain, entry.vcpu));
        match entry.kind {
            Kind::Doorbell => {
                let waiting = doorbells.sent.entry((entry.first, entry.second)).or_default();
                waiting.push_back((Track::Vcpu(vcpu), now));
            }
            Kind::Port if entry.second >> 32 == DOORBELL => {
                let channel = (u64::from(entry.domain), entry.second & 0xffff_ffff);
                // Rings that came before this domain looked are one event.
                let sent = doorbells.sent.remove(&channel).and_then(|mut sent| sent.pop_back());
                doorbells.heard.entry(vcpu).or_default().extend(sent);
            }
            Kind::Leave => {
                for from in doorbells.heard.remove(&vcpu).into_iter().flatten() {
                    self.rings.push(Ring { from, to: (Track::Vcpu(vcpu), now) });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
