//! How often a line interrupts, and that nothing is lost.

use super::*;

#[test]
fn vectors_run_out_and_the_consoles_is_never_given() {
    let mut given = Vec::new();
    let mut devices = Devices::new(&[Device::default(); 2]);
    let mut add = |device| {
        devices.add_interrupt(0, device, |index| {
            given.push(index);
            Line::new(index, 0)
        })
    };
    assert!((1..MAX_LINES).all(|_| add(1)));
    assert!(!add(0));
    assert!(!given.contains(&console::LINE));
    given.dedup();
    assert_eq!(given.len(), MAX_LINES - 1);
    assert_eq!(
        [0, 1, 2, 1 << 32 | 1, u64::MAX].map(|number| devices.has_interrupt(number)),
        [false, true, false, false, false]
    );
}

/// An interrupt controller's line, and the device behind it.
#[derive(Debug)]
struct Wire {
    is_level: bool,
    masked: bool,
    /// A level line's device wants something.
    active: bool,
}

impl Gate for Wire {
    fn is_level(&self) -> bool {
        self.is_level
    }
    fn mask(&mut self) {
        self.masked = true;
    }
    fn unmask(&mut self) {
        self.masked = false;
    }
}

/// A bound line, its domain's mail, and how often this CPU was interrupted.
struct Machine {
    line: Assigned<Wire>,
    mail: bool,
    interrupts: u32,
}

impl Machine {
    fn new(is_level: bool) -> Self {
        let gate = Wire { is_level, masked: true, active: false };
        let mut line = Assigned { gate, domain: 0, device: 0, state: State::Closed };
        line.note(Change::Bound);
        Self { line, mail: false, interrupts: 0 }
    }

    fn deliver(&mut self) {
        self.interrupts += 1;
        self.mail |= self.line.note(Change::Interrupted);
    }

    /// The device's line changes: delivered, or lost at a masked edge line.
    fn edge(&mut self) {
        if !self.line.gate.masked {
            self.deliver();
        }
    }

    /// The level line, as long as it interrupts; bounded, for a line that never stops.
    fn settle(&mut self) {
        for _ in 0..100 {
            if self.line.gate.masked || !self.line.gate.active {
                return;
            }
            self.deliver();
        }
    }

    /// The domain's turn. True: its port became pending.
    fn look(&mut self) -> bool {
        let mail = core::mem::take(&mut self.mail);
        if mail {
            self.line.note(Change::Looked);
        }
        mail
    }
}

// covers: DEV-009, DEV-011
#[test]
fn a_storm_of_edges_interrupts_twice_between_two_turns_and_none_is_lost() {
    let mut machine = Machine::new(false);
    for turn in 1..=5 {
        (0..1000).for_each(|_| machine.edge());
        assert_eq!(machine.interrupts, turn * 2);
        // What came while the line was masked is seen in this turn, because the port is raised after it.
        assert!(machine.look() && !machine.line.gate.masked);
    }
    assert!(!machine.look());
    machine.edge();
    assert!(machine.look());
}

#[test]
fn a_lone_edge_costs_no_masking() {
    let mut machine = Machine::new(false);
    machine.edge();
    assert!(!machine.line.gate.masked && machine.look());
    machine.line.note(Change::Ended);
    assert!(!machine.line.gate.masked, "the end of an edge is nothing");
}

// covers: DEV-008
#[test]
fn a_level_line_interrupts_once_until_its_end() {
    let mut machine = Machine::new(true);
    machine.line.gate.active = true;
    for round in 1..=5 {
        machine.settle();
        assert_eq!(machine.interrupts, round);
        assert!(machine.look());
        machine.settle();
        assert_eq!(machine.interrupts, round, "looking does not end it");
        machine.line.note(Change::Ended);
    }
    machine.line.gate.active = false;
    machine.settle();
    assert!(!machine.look());
}

#[test]
fn an_end_without_an_interrupt_changes_nothing() {
    for is_level in [false, true] {
        let mut machine = Machine::new(is_level);
        machine.line.note(Change::Ended);
        assert_eq!((machine.line.state, machine.line.gate.masked), (State::Open, false));
        machine.line.note(Change::Unbound);
        for change in [Change::Ended, Change::Looked] {
            machine.line.note(change);
            assert_eq!((machine.line.state, machine.line.gate.masked), (State::Closed, true));
        }
    }
}

// covers: DEV-007, DEV-010
#[test]
fn nobody_hears_of_an_interrupt_that_comes_after_the_end() {
    for is_level in [false, true] {
        let mut machine = Machine::new(is_level);
        machine.line.gate.active = true;
        machine.deliver();
        assert!(machine.look());
        machine.line.note(Change::Unbound);
        machine.deliver();
        assert!(!machine.look() && machine.line.gate.masked);
        // Nothing of it is left for the next one who binds the port.
        machine.line.note(Change::Bound);
        assert_eq!((machine.line.state, machine.line.gate.masked), (State::Open, false));
    }
}
