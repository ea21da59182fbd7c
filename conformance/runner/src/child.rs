//! Child processes that cannot outlive this one.
//!
//! Each child leads a process group of its own, so that Ctrl-C at the terminal reaches only us and we decide;
//! dropping it kills the whole group. Should this process be killed outright, the kernel kills the child.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitStatus};

use rustix::process::{Pid, Signal};

/// A running child.
pub struct Child {
    child: process::Child,
}

impl Child {
    /// Starts `command`. The calling thread must outlive the child: its end counts as the parent's.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.process_group(0);
        // SAFETY: between fork and exec only async-signal-safe functions may be called; this is one system
        // call, without allocation or locks.
        unsafe {
            command.pre_exec(|| {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)
            });
        }
        command.spawn().map(|child| Self { child })
    }

    /// The ends of its pipes.
    pub fn pipes(&mut self) -> &mut process::Child {
        &mut self.child
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills it and everything it started.
    pub fn kill(&mut self) {
        // Not yet reaped, so the number still names this group and no other.
        if let Ok(None) = self.child.try_wait() {
            if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
