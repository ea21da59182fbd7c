//! The real-time part of the demo: the same ELF as a guest with a deadline every millisecond, alone and beside a
//! general-purpose guest that does the demo's whole work meanwhile.

use crate::disk_image::{Contents, End};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::results::{self, Run, Value};

/// The command line of the real-time role: 2000 releases, one per millisecond.
pub const CMDLINE: &str = "run=rt";
/// Names of the two domains.
const REALTIME: &str = "rt";
const GENERAL: &str = "gp";

/// The largest latency allowed beside a neighbour on the same CPU, where a nanosecond is an instruction.
pub const MOST_LATENCY_NS: u64 = 100_000;

/// A domain that runs the demo kernel.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its command line.
    pub cmdline: &'a str,
    /// The CPU of its one vCPU.
    pub cpu: u32,
    /// The vCPU's priority.
    pub priority: u8,
}

/// The real-time domain on CPU `cpu`.
pub const fn realtime_on(cpu: u32) -> Placed<'static> {
    Placed { name: REALTIME, cmdline: CMDLINE, cpu, priority: 24 }
}

/// Its partner on CPU 0.
pub const GENERAL_PURPOSE: Placed<'static> =
    Placed { name: GENERAL, cmdline: super::CMDLINE, cpu: 0, priority: 16 };

/// What surrounds the real-time guest.
#[derive(Debug)]
pub struct Setting {
    /// Heading of its column.
    pub title: &'static str,
    /// Who runs on the hypervisor; nobody: the kernel runs on the bare machine.
    pub domains: &'static [Placed<'static>],
    /// CPUs of the machine. With one, instructions are counted, and every figure is the same on any computer.
    pub cpus: u32,
}

/// All of them.
pub const SETTINGS: [Setting; 4] = [
    Setting { title: "native alone", domains: &[], cpus: 1 },
    Setting { title: "guest alone", domains: &[realtime_on(0)], cpus: 1 },
    Setting { title: "neighbour same CPU", domains: &[GENERAL_PURPOSE, realtime_on(0)], cpus: 1 },
    Setting { title: "neighbour other CPU", domains: &[GENERAL_PURPOSE, realtime_on(1)], cpus: 2 },
];

impl Setting {
    /// What to boot.
    pub fn contents(&self, demo: &ElfFile, hypervisor: &ElfFile) -> Result<Contents, Failure> {
        match self.domains {
            [] => Ok(Contents::native(demo.clone(), CMDLINE, End::DebugExit)),
            domains => side_by_side(domains, demo, hypervisor),
        }
    }

    /// What to boot it on.
    pub fn machine(&self) -> Machine {
        Machine { cpus: self.cpus, icount: self.cpus == 1, ..Machine::default() }
    }

    fn has_neighbour(&self) -> bool {
        self.domains.len() > 1
    }
}

/// Domains that all run the demo kernel.
pub fn side_by_side(
    domains: &[Placed<'_>],
    demo: &ElfFile,
    hypervisor: &ElfFile,
) -> Result<Contents, Failure> {
    let one = |placed: &Placed<'_>| {
        let mut domain = Manifest::for_guest(demo.clone(), placed.cmdline).domains.remove(0);
        domain.name = placed.name.into();
        (domain.vcpus[0].cpu, domain.vcpus[0].priority) = (placed.cpu, placed.priority);
        domain
    };
    let domains = domains.iter().map(one).collect();
    let manifest = Manifest { domains, ..Manifest::for_guest(demo.clone(), "") };
    Ok(Contents::hypervisor(hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
}

/// What the settings showed.
pub struct Findings {
    /// The real-time guest's results, a column each.
    columns: Vec<Run>,
    /// The partner's results: answers to compare with those of the other worlds.
    pub partners: Vec<Run>,
    /// The chart of the run on one CPU.
    chart: Vec<String>,
    /// What must not be.
    pub problems: Vec<String>,
}

impl Findings {
    /// Reads the consoles, in the order of [`SETTINGS`].
    pub fn read(consoles: Vec<Result<String, Failure>>) -> Self {
        let mut findings = Self { columns: vec![], partners: vec![], chart: vec![], problems: vec![] };
        for (setting, console) in SETTINGS.iter().zip(consoles) {
            let console = console.map_err(|failure| failure.to_string());
            let values_of = |domain: &str| {
                let console = console.as_deref().map_err(|reason| (*reason).to_owned())?;
                Ok(results::parse(&lines_of(setting, console, domain)))
            };
            findings.columns.push(Run { title: setting.title.into(), values: values_of(REALTIME) });
            if setting.has_neighbour() {
                let title = format!("{GENERAL}, {}", setting.title);
                findings.partners.push(Run { title, values: values_of(GENERAL) });
            }
            if let (true, 1, Ok(console)) = (setting.has_neighbour(), setting.cpus, &console) {
                findings.chart = chart_of(&lines_of(setting, console, REALTIME));
                findings
                    .problems
                    .extend(check(console, &results::parse(&lines_of(setting, console, REALTIME))));
            }
        }
        findings.problems.extend(results::disagreements(&findings.columns));
        findings
    }

    /// The comparison, for people.
    pub fn table(&self) -> String {
        format!(
            "{}\n\
             On one CPU the clock counts instructions: a nanosecond each, the same on every computer. With two it is\n\
             this computer's clock, which sees whatever else this computer does.\n\n\
             neighbour on the same CPU: {}\n",
            results::table(&self.columns),
            self.chart.join("\n")
        )
    }
}

fn lines_of(setting: &Setting, console: &str, domain: &str) -> String {
    // Who is alone has no tag.
    if setting.has_neighbour() { results::lines_of(console, domain) } else { console.to_owned() }
}

/// The lines of the guest's own chart.
fn chart_of(lines: &str) -> Vec<String> {
    lines
        .lines()
        .filter_map(|line| line.strip_prefix("rt | "))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// What must hold beside a busy neighbour on the same CPU.
fn check(console: &str, values: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ensure = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem)
        }
    };
    let missed = results::number(values, "rt_missed");
    ensure(missed == Some(0), format!("beside a neighbour on the same CPU, missed deadlines: {missed:?}"));
    let latency = results::number(values, "rt_latency_max");
    ensure(
        latency.is_some_and(|latency| latency <= MOST_LATENCY_NS),
        format!(
            "beside a neighbour on the same CPU, the latency is up to {latency:?} ns, not {MOST_LATENCY_NS}"
        ),
    );
    let end_of = |domain: &str| console.find(&format!("[{domain}] result: verdict"));
    ensure(
        end_of(GENERAL) < end_of(REALTIME),
        "the neighbour's work was not done while deadlines were watched".into(),
    );
    problems
}
