//! All that touches the machine, and all `unsafe`.

pub mod x86_64;
