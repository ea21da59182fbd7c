//! Runs a system on a traced hypervisor and reads the rings out of the machine's memory.
//!
//! QEMU keeps a machine that has powered off, as a stopped one, so that its memory can be read at leisure. Power-off is by ACPI,
//! because the debug-exit device would end QEMU itself.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use trace_records::{CAPACITY, Entry, HEADER_BYTES, Header, RING_BYTES, Record, Ring};

use crate::disk_image::Contents;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::monitor::Monitor;
use crate::outcome::Outcome;
use crate::progress::Step;
use crate::session::{Echo, Session, last_lines};
use crate::workspace::Workspace;

/// How often the machine is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// QEMU may take so long to answer and to end beyond the time that the machine gets.
const SLACK: Duration = Duration::from_secs(60);

/// The records of a CPU.
#[derive(Debug)]
pub struct CpuRecords {
    /// Its number.
    pub cpu: u64,
    /// In order.
    pub entries: Vec<Entry>,
    /// Older ones that were overwritten.
    pub lost: u64,
}

/// What was recorded.
#[derive(Debug)]
pub struct Recording {
    /// By CPU.
    pub cpus: Vec<CpuRecords>,
    /// What the console showed.
    pub console: String,
    /// Whether the system ended by itself.
    pub has_ended: bool,
}

/// When to stop a machine that does not end by itself.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// When the hypervisor's clock says so.
    pub clock: Option<Duration>,
    /// When so much time has passed here.
    pub limit: Duration,
}

/// Boots the system, waits for its end or until it is enough, and reads the rings.
pub fn record(
    workspace: &Workspace,
    contents: &Contents,
    machine: &Machine,
    until: Until,
) -> Result<Recording, Failure> {
    let scratch = tempfile::tempdir()
        .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
    let socket = scratch.path().join("control");
    let machine = Machine { control: Some(socket.clone()), ..machine.clone() };
    let image = contents.cached_image(workspace, machine.firmware)?;
    let step = Step::start("running the system");
    let mut session = Session::start(&machine, &image, until.limit + SLACK, Echo::Quiet)?;
    let check = || why_it_ended(&mut session).map_or(Ok(()), Err);
    let monitor = Monitor::connect(&socket, check).map_err(|failure| better(&mut session, failure))?;
    let mut running = Running { session, monitor, scratch: scratch.path().to_path_buf() };
    let has_ended = running.wait(until).map_err(|failure| better(&mut running.session, failure))?;
    step.done(if has_ended { "it has ended" } else { "stopped" });
    let places = places(&running.session.console());
    if places.is_empty() {
        let message = format!("the hypervisor told of no trace{}", last_lines(&running.session.console()));
        return Err(Failure::new(Kind::CheckFailed, message));
    }
    let cpus =
        places.into_iter().map(|(cpu, address)| running.read(cpu, address)).collect::<Result<_, _>>()?;
    Ok(Recording { cpus, console: running.session.console(), has_ended })
}

/// The CPUs whose rings the console told of, with their addresses.
fn places(console: &str) -> Vec<(u64, u64)> {
    let place = |line: &str| {
        let (cpu, address) = line.trim().strip_prefix("pvops: trace of CPU ")?.split_once(" at ")?;
        Some((cpu.parse().ok()?, address.parse().ok()?))
    };
    console.lines().filter_map(place).collect()
}

/// The failure that QEMU's end is, which it must not come to; or another reason to give up.
fn why_it_ended(session: &mut Session) -> Option<Failure> {
    let outcome = match session.poll() {
        Ok(outcome) => outcome?,
        Err(failure) => return Some(failure),
    };
    let message = match outcome {
        Outcome::QemuFailed(reason) => reason,
        other => format!("QEMU ended: {other}{}", last_lines(&session.console())),
    };
    Some(Failure::new(Kind::NoStatus, message))
}

/// What broke the monitor, if that is QEMU's end, which takes a moment.
fn better(session: &mut Session, failure: Failure) -> Failure {
    const MOMENT: Duration = Duration::from_secs(2);
    let end = Instant::now() + MOMENT;
    while Instant::now() < end {
        if let Some(why) = why_it_ended(session) {
            return why;
        }
        thread::sleep(INTERVAL);
    }
    failure
}

struct Running {
    session: Session,
    monitor: Monitor,
    scratch: PathBuf,
}

impl Running {
    /// True: the machine ended by itself.
    fn wait(&mut self, until: Until) -> Result<bool, Failure> {
        let end = Instant::now() + until.limit;
        loop {
            if let Some(failure) = why_it_ended(&mut self.session) {
                return Err(failure);
            }
            if self.monitor.has_ended()? {
                return Ok(true);
            }
            if Instant::now() >= end || until.clock.is_some_and(|clock| self.clock() >= clock) {
                self.monitor.stop()?;
                return Ok(false);
            }
            thread::sleep(INTERVAL);
        }
    }

    /// The hypervisor's clock, as its newest record has it; 0 before the first.
    fn clock(&mut self) -> Duration {
        let places = places(&self.session.console());
        let newest = places.into_iter().filter_map(|(_, address)| self.newest(address)).max();
        Duration::from_nanos(newest.unwrap_or(0))
    }

    /// The time of a ring's newest record. The machine runs meanwhile: what is not right is not told.
    fn newest(&mut self, address: u64) -> Option<u64> {
        let page = self.monitor.memory(address, HEADER_BYTES, &self.scratch).ok()?;
        let word = |offset: usize| Some(u64::from_le_bytes(page.get(offset..offset + 8)?.try_into().ok()?));
        let number = word(std::mem::offset_of!(Header, written))?.checked_sub(1)?;
        let place = address + HEADER_BYTES as u64 + number % CAPACITY as u64 * size_of::<Record>() as u64;
        let record = self.monitor.memory(place, size_of::<Record>(), &self.scratch).ok()?;
        let timestamp = u64::from_le_bytes(record.get(..8)?.try_into().ok()?);
        let ticks = timestamp.checked_sub(word(std::mem::offset_of!(Header, first_tick))?)?;
        let hz = word(std::mem::offset_of!(Header, ticks_per_second))?;
        u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(hz.max(1))).ok()
    }

    fn read(&mut self, cpu: u64, address: u64) -> Result<CpuRecords, Failure> {
        let bytes = self.monitor.memory(address, RING_BYTES, &self.scratch)?;
        decode(cpu, &bytes)
    }
}

/// The records of a ring that is said to be this CPU's.
fn decode(cpu: u64, bytes: &[u8]) -> Result<CpuRecords, Failure> {
    let damaged = |reason: &dyn std::fmt::Display| {
        let failure = Failure::new(Kind::CheckFailed, format!("the trace of CPU {cpu} is damaged: {reason}"));
        failure.hint("hypervisor and tools must be of the same version")
    };
    let ring = Ring::read(bytes).map_err(|damage| damaged(&damage))?;
    if ring.cpu() != cpu {
        return Err(damaged(&format_args!("it says that it is CPU {}'s", ring.cpu())));
    }
    let entries = ring.entries().collect::<Result<_, _>>().map_err(|damage| damaged(&damage))?;
    Ok(CpuRecords { cpu, entries, lost: ring.lost() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_the_console() {
        let console = "\x1b[2Jpvops: hypervisor, 2 CPUs, system 'x'\r\npvops: trace of CPU 0 at 4096\r\n\
                       pvops: trace of CPU 1 at 8192\r\npvops: trace of CPU x at 8192\r\n";
        assert_eq!(places(console), [(0, 4096), (1, 8192)]);
        assert_eq!(places(""), []);
    }

    #[test]
    fn damaged_rings_are_refused_with_the_cpu_and_the_reason() {
        let refused = decode(3, &[0; 10]).unwrap_err().to_string();
        assert!(refused.contains("CPU 3") && refused.contains("10 bytes"), "{refused}");
        let mut bytes = vec![0; RING_BYTES];
        assert!(decode(0, &bytes).unwrap_err().to_string().contains("no ring"));
        bytes[..8].copy_from_slice(&trace_records::MAGIC.to_le_bytes());
        bytes[16..24].copy_from_slice(&(CAPACITY as u64).to_le_bytes());
        bytes[24..32].copy_from_slice(&1000u64.to_le_bytes());
        assert!(decode(0, &bytes).unwrap().entries.is_empty());
        assert!(decode(1, &bytes).unwrap_err().to_string().contains("CPU 0's"));
        bytes[40..48].copy_from_slice(&1u64.to_le_bytes());
        let refused = decode(0, &bytes).unwrap_err().to_string();
        assert!(refused.contains("record 0 is of kind 0"), "{refused}");
    }
}
