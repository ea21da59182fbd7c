//! Trace points: what happens is noted in a ring of records for each CPU, which `cargo pv trace` reads out.
//!
//! In the normal build a point is nothing, neither code nor data: being off costs nothing because nothing is there. The
//! feature `trace` makes each of them a call of [`crate::arch::x86_64::trace::note`]. A switch at run time would be paid
//! for by everybody: a look at a flag on each way, and the text of all points resident.
//!
//! `trace!(Kind, first, second)` is a point in Rust; [`trace_records::Kind`] says what the words mean. Points in the entry code
//! change no register and need no stack: `trace_point!(enter)` at a `syscall`, `trace_point!(exception)` where an exception
//! of a guest has its vector and error code in the frame, `trace_point!(leave)` at each end of the ways that do not go
//! through [`crate::front::leave`]. A way that has no such end shows up as visits without an end, which the tests refuse.
//!
//! A traced hypervisor takes the same ways as the true one, the short ones included; a record costs some 85 instructions,
//! so a visit of a guest is about 170 longer.

/// Notes that something happened.
#[cfg(feature = "trace")]
macro_rules! trace {
    ($kind:ident) => {
        trace!($kind, 0, 0)
    };
    ($kind:ident, $first:expr) => {
        trace!($kind, $first, 0)
    };
    ($kind:ident, $first:expr, $second:expr) => {
        $crate::arch::x86_64::trace::note($crate::trace::Kind::$kind, $first, $second)
    };
}

/// Nothing, in the normal build.
#[cfg(not(feature = "trace"))]
macro_rules! trace {
    ($($what:tt)*) => {};
}

/// A point in the entry code. The numbers are asserted where the routine is, since a template takes operands only from
/// its own block, which has none without the feature.
#[cfg(feature = "trace")]
macro_rules! trace_point {
    (enter) => {
        trace_point!("0")
    };
    (leave) => {
        trace_point!("1")
    };
    (exception) => {
        trace_point!("2")
    };
    (delivered) => {
        trace_point!("3")
    };
    ($number:literal) => {
        concat!(
            "mov [rip + __ehdr_start + 0x40101ff8], rsp
             lea rsp, [rip + __ehdr_start + 0x40101000]
             push ",
            $number,
            "
             call pvops_trace_point
             mov rsp, [rip + __ehdr_start + 0x40101ff8]"
        )
    };
}

/// Nothing, in the normal build.
#[cfg(not(feature = "trace"))]
macro_rules! trace_point {
    ($where:ident) => {
        ""
    };
}

#[cfg(feature = "trace")]
pub use trace_records::Kind;
