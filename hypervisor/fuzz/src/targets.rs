//! The targets, a file each: what is fed, and what must hold whatever it is.

pub mod batch;
pub mod boot;
pub mod calls;
pub mod firmware;
pub mod image;
pub mod model;
pub mod shadow;
