//! A test's checks, and the verdict and detail that they come to.

use super::faults::Fault;
use super::{abi, provoked, world};
use crate::verdict::Verdict;
use core::fmt::{self, Debug, Write};
use pvops_abi::call::CallId;
use pvops_abi::error::Error;
use pvops_abi::hyper::Reply;

/// Bytes kept of a detail.
const DETAIL_BYTES: usize = 240;

/// What a test found so far. The detail tells of the first check with the worst verdict.
pub(crate) struct Report {
    verdict: Verdict,
    checks: u32,
    bad: u32,
    detail: Text,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self {
            verdict: Verdict::Pass,
            checks: 0,
            bad: 0,
            detail: Text { bytes: [0; DETAIL_BYTES], length: 0 },
        }
    }

    /// The worst verdict. A test that checked nothing proved nothing.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.checks == 0 { self.verdict.max(Verdict::Error) } else { self.verdict }
    }

    fn add(&mut self, verdict: Verdict, detail: fmt::Arguments<'_>) {
        self.checks += 1;
        self.bad += u32::from(verdict != Verdict::Pass);
        if verdict > self.verdict {
            self.verdict = verdict;
            self.detail.length = 0;
            _ = self.detail.write_fmt(detail);
        }
    }

    /// The subject promised that `holds`.
    pub(crate) fn check(&mut self, holds: bool, what: &str) {
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        self.add(verdict, format_args!("{what}"));
    }

    /// The subject promised `wanted`.
    pub(crate) fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, wanted: T) {
        let verdict = if found == wanted { Verdict::Pass } else { Verdict::Fail };
        self.add(verdict, format_args!("{what}: {found:x?} instead of {wanted:x?}"));
    }

    /// The call had to succeed; its value.
    pub(crate) fn accepted(&mut self, what: &str, reply: Reply) -> u64 {
        let verdict = if reply.status == 0 { Verdict::Pass } else { Verdict::Fail };
        self.add(verdict, format_args!("{what}: status {}", reply.status));
        reply.value
    }

    /// The call had to be refused with `wanted`.
    pub(crate) fn refused(&mut self, what: fmt::Arguments<'_>, reply: Reply, wanted: Error) {
        let verdict = if reply.status == wanted.to_status() { Verdict::Pass } else { Verdict::Fail };
        if verdict == Verdict::Pass {
            provoked::note(abi::last_call(), wanted);
        }
        self.add(verdict, format_args!("{what}: status {} instead of {wanted:?}", reply.status));
    }

    /// As [`Self::refused`], for a reply to `id` that was got elsewhere.
    pub(crate) fn refused_call(&mut self, id: CallId, what: fmt::Arguments<'_>, reply: Reply, wanted: Error) {
        abi::note_call(id);
        self.refused(what, reply, wanted);
    }

    /// The attempt had to fault with this vector and error code; the fault.
    pub(crate) fn faults<T>(
        &mut self,
        what: &str,
        attempt: Result<T, Fault>,
        vector: u64,
        error_code: u64,
    ) -> Option<Fault> {
        let Err(fault) = attempt else {
            self.add(Verdict::Fail, format_args!("{what}: no fault"));
            return None;
        };
        let holds = fault.vector == vector && fault.error_code == error_code;
        let verdict = if holds { Verdict::Pass } else { Verdict::Fail };
        self.add(verdict, format_args!("{what}: {fault} instead of vector {vector}, error {error_code:#x}"));
        Some(fault)
    }

    /// The attempt must not fault; what it returned.
    pub(crate) fn works<T>(&mut self, what: &str, attempt: Result<T, Fault>) -> Option<T> {
        match attempt {
            Ok(value) => {
                self.checks += 1;
                Some(value)
            }
            Err(fault) => {
                self.add(Verdict::Fail, format_args!("{what}: {fault}"));
                None
            }
        }
    }

    /// The suite itself cannot go on.
    pub(crate) fn error(&mut self, why: &str) {
        self.add(Verdict::Error, format_args!("{why}"));
    }

    /// The test does not apply here.
    pub(crate) fn skip(&mut self, why: &str) {
        self.add(Verdict::Skip, format_args!("{why}"));
    }

    /// Remarks something in the line of a test that passes.
    pub(crate) fn remark(&mut self, remark: fmt::Arguments<'_>) {
        if self.verdict == Verdict::Pass {
            self.detail.length = 0;
            _ = self.detail.write_fmt(remark);
        }
    }

    /// A fault that no check asked for ended the test.
    pub(crate) fn unexpected(&mut self, fault: Fault) {
        let image = world::boot().kernel_start.0;
        let offset = fault.rip.wrapping_sub(image);
        self.add(Verdict::Fail, format_args!("unexpected {fault}, image offset {offset:#x}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verdict().word())?;
        if self.checks == 0 {
            return f.write_str(" it checked nothing");
        }
        if self.bad > 1 {
            write!(f, " {} of {} checks; first:", self.bad, self.checks)?;
        }
        if self.detail.length > 0 {
            write!(f, " {}", self.detail.as_str())?;
        }
        Ok(())
    }
}

/// A line's worth of text; what does not fit is cut off.
struct Text {
    bytes: [u8; DETAIL_BYTES],
    length: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        match core::str::from_utf8(&self.bytes[..self.length]) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&self.bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = text.len().min(DETAIL_BYTES - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}
