//! What is measured, and which machines that takes.

use std::time::Duration;

use super::budgets::{Budgets, Operation};
use super::latency::{self, SURROUNDINGS, Surrounding};
use super::machines::{self, Clock, Ended, Programs};
use super::runs::{self, Run, SETTINGS, Setting};
use super::sites::{self, SITES, Sites};
use super::system::IDLE;
use super::workloads::{self, Crowd, WORKLOADS};
use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;

/// See the module.
pub struct Selection {
    /// What each machine may take.
    limit: Duration,
    /// Operations, in the order of the budgets.
    pub operations: Vec<Operation>,
    /// What the names of the selected workloads have in common.
    pub workloads: String,
    has_workloads: bool,
    surroundings: Vec<Surrounding>,
    /// Whether call sites are.
    pub has_sites: bool,
    /// Whether idle times are measured.
    pub has_idle: bool,
    /// Whether the hypervisor's memory is counted.
    pub has_footprint: bool,
    /// Whether the demo kernel's lines are counted.
    pub has_touch: bool,
}

/// What the machines gave.
pub struct Results {
    /// Of operations and idle times.
    pub runs: Vec<Run>,
    /// Of workloads, in the order of [`Crowd::all`].
    pub workloads: Vec<Ended>,
    /// Latencies.
    pub latencies: Vec<latency::Row>,
    /// Of call sites, in the order of [`SITES`].
    pub sites: Vec<Ended>,
}

/// A machine to boot.
#[derive(Clone, Copy)]
enum Job {
    Operations(Setting),
    Workloads(Crowd),
    Latency(Surrounding),
    Sites(Sites),
}

/// What a job gave.
enum Gave {
    Operations(Run),
    Workloads(usize, Ended),
    Latency(latency::Row),
    Sites(Ended),
}

impl Selection {
    /// Everything that has `filter` in its name.
    pub fn new(budgets: Budgets, filter: &str, limit: Duration) -> Result<Self, Failure> {
        let names: Vec<&str> = WORKLOADS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| workloads::full_name(name).contains(filter))
            .collect();
        let is_selected = |name: &str| name.contains(filter);
        let selection = Self {
            limit,
            operations: budgets.select(filter),
            has_workloads: !names.is_empty(),
            workloads: runs::common_prefix(names.into_iter()).to_owned(),
            surroundings: SURROUNDINGS.into_iter().filter(|one| is_selected(one.name())).collect(),
            has_sites: is_selected(sites::NAME),
            has_idle: IDLE.iter().any(|(name, _)| is_selected(name)),
            has_footprint: is_selected("footprint"),
            has_touch: is_selected("touch"),
        };
        if selection.jobs().is_empty() && !selection.has_footprint && !selection.has_touch {
            return Err(Failure::new(
                Kind::Usage,
                format!("nothing that is measured has {filter:?} in its name"),
            ));
        }
        Ok(selection)
    }

    /// All operations.
    pub fn operations(budgets: Budgets, limit: Duration) -> Self {
        Self {
            limit,
            operations: budgets.select(""),
            workloads: String::new(),
            has_workloads: false,
            surroundings: Vec::new(),
            has_sites: false,
            has_idle: false,
            has_footprint: false,
            has_touch: false,
        }
    }

    /// Those that take longest first.
    fn jobs(&self) -> Vec<Job> {
        let crowds: Vec<Crowd> = if self.has_workloads { Crowd::all().collect() } else { Vec::new() };
        let workloads = crowds.into_iter().rev().map(Job::Workloads);
        let latencies = self.surroundings.iter().rev().copied().map(Job::Latency);
        let operations = self.settings().into_iter().map(Job::Operations);
        let sites = SITES.into_iter().filter(|_| self.has_sites).map(Job::Sites);
        workloads.chain(latencies).chain(operations).chain(sites).collect()
    }

    fn settings(&self) -> Vec<Setting> {
        let measures = |setting: Setting| {
            self.operations.iter().any(|operation| setting.measures(&operation.name))
                || (self.has_idle && setting != Setting::Pair)
        };
        SETTINGS.into_iter().filter(|setting| measures(*setting)).collect()
    }

    /// How many machines are booted.
    pub fn machines(&self) -> usize {
        self.jobs().len()
    }

    /// What operations have in common; nothing if there is more than operations.
    fn only(&self) -> &str {
        let idle = self.has_idle.then_some("idle");
        runs::common_prefix(self.operations.iter().map(|operation| operation.name.as_str()).chain(idle))
    }

    /// Boots them all.
    pub fn boot(&self, workspace: &Workspace, programs: &Programs) -> Result<Results, Failure> {
        let mut results =
            Results { runs: Vec::new(), workloads: Vec::new(), latencies: Vec::new(), sites: Vec::new() };
        let mut crowds = Vec::new();
        for gave in machines::all(&self.jobs(), |job| self.run(*job, workspace, programs))? {
            match gave {
                Gave::Operations(run) => results.runs.push(run),
                Gave::Workloads(crowd, ended) => crowds.push((crowd, ended)),
                Gave::Latency(row) => results.latencies.insert(0, row),
                Gave::Sites(ended) => results.sites.push(ended),
            }
        }
        crowds.sort_by_key(|(crowd, _)| *crowd);
        results.workloads = crowds.into_iter().map(|(_, ended)| ended).collect();
        Ok(results)
    }

    fn run(&self, job: Job, workspace: &Workspace, programs: &Programs) -> Result<Gave, Failure> {
        let boot = |contents, recorder| {
            machines::boot(workspace, &contents, (Clock::Instructions, self.limit), recorder)
        };
        match job {
            Job::Operations(setting) => {
                let contents = setting.contents(programs, self.only())?;
                let ended = boot(contents, Some(&programs.recorder))?;
                Ok(Gave::Operations(Run::read(setting, programs, ended)?))
            }
            Job::Workloads(crowd) => {
                let ended = boot(crowd.contents(programs, &self.workloads, Clock::Instructions)?, None)?;
                Ok(Gave::Workloads(crowd.0, ended))
            }
            Job::Latency(surrounding) => {
                Ok(Gave::Latency(surrounding.measure(workspace, programs, self.limit)?))
            }
            Job::Sites(sites) => Ok(Gave::Sites(boot(sites.contents(programs)?, None)?)),
        }
    }

    /// Boots the machines of operations only.
    pub fn operation_runs(&self, workspace: &Workspace, programs: &Programs) -> Result<Vec<Run>, Failure> {
        let runs = machines::all(&self.settings(), |setting| {
            self.run(Job::Operations(*setting), workspace, programs)
        })?;
        let run = |gave| match gave {
            Gave::Operations(run) => Some(run),
            Gave::Workloads(..) | Gave::Latency(_) | Gave::Sites(_) => None,
        };
        Ok(runs.into_iter().filter_map(run).collect())
    }

    /// Boots the machines of workloads, one after the other: their times are this computer's.
    pub fn boot_workloads(
        &self,
        workspace: &Workspace,
        programs: &Programs,
        clock: Clock,
    ) -> Result<Vec<Ended>, Failure> {
        let boot = |crowd: Crowd| {
            machines::boot(
                workspace,
                &crowd.contents(programs, &self.workloads, clock)?,
                (clock, self.limit),
                None,
            )
        };
        Crowd::all().map(boot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn selection(filter: &str) -> Result<Selection, Failure> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/budgets.toml");
        Selection::new(Budgets::read(&path).unwrap(), filter, Duration::ZERO)
    }

    #[test]
    fn a_filter_boots_no_more_than_it_needs() {
        assert_eq!(selection("").unwrap().machines(), 15);
        assert_eq!(selection("call.null").unwrap().machines(), 2);
        assert_eq!(selection("switch.domain").unwrap().machines(), 1);
        assert_eq!(selection("latency.busy").unwrap().machines(), 1);
        assert_eq!(selection("footprint").unwrap().machines(), 0);
        let workload = selection("workload.fork").unwrap();
        assert_eq!((workload.machines(), workload.workloads.as_str()), (4, "fork"));
        assert!(selection("no such thing").is_err());
    }

    #[test]
    fn a_guest_is_asked_for_what_names_have_in_common() {
        assert_eq!(selection("").unwrap().only(), "");
        assert_eq!(selection("idle").unwrap().only(), "idle");
        assert_eq!(selection("map.region").unwrap().only(), "map.region_");
    }
}
