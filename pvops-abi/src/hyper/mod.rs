//! The hypercall backend.
