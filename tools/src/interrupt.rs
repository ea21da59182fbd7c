//! Ctrl-C, SIGTERM and SIGHUP set a flag instead of ending the process, so that every guard gets to end its
//! child and remove its files. All waits look at the flag at least twenty times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;

/// The longest that a wait may sleep before it looks at the flag again.
pub const POLL_INTERVAL: Duration = Duration::from_millis(20);

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Installs the handlers. Call once, before anything is started.
pub fn install() {
    let flag = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Fails only for signals that cannot be handled, and these can.
        let _ = signal_hook::flag::register(signal, Arc::clone(flag));
    }
}

/// An error once the user asked to stop.
pub fn check() -> Result<(), Failure> {
    match REQUESTED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Failure::interrupted()),
        _ => Ok(()),
    }
}
