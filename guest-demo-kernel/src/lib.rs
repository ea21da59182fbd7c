//! The parts of the demo kernel that need no machine, so that they are tested on the host.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod frame_table;
pub mod guarded_memory;
pub mod histogram;
pub mod line_editor;
pub mod run_queue;
