//! Which handler serves which event port.

use crate::sync::IrqLock;
use alloc::vec::Vec;
use pvops_abi::ops::event::{self, BindError, EventSource, Port};

/// Serves one occurrence; interrupts are masked.
pub(crate) type Handler = fn(Port);

static HANDLERS: IrqLock<Vec<(Port, Handler)>> = IrqLock::new(Vec::new());

/// Binds a source and lets its port in. Exercises `event::bind` and `event::unmask`.
pub(crate) fn bind(source: EventSource, handler: Handler) -> Result<Port, BindError> {
    let port = event::bind(source)?;
    HANDLERS.lock().push((port, handler));
    event::unmask(port);
    Ok(port)
}

/// Undoes [`bind`]. Exercises `event::unbind`.
pub(crate) fn unbind(port: Port) {
    event::mask(port);
    event::unbind(port);
    HANDLERS.lock().retain(|(bound, _)| *bound != port);
}

/// Serves everything that is pending. Called with interrupts masked.
pub(crate) fn handle_pending() {
    while let Some(port) = event::next_pending() {
        let handler = HANDLERS.lock().iter().find(|(bound, _)| *bound == port).map(|(_, handler)| *handler);
        if let Some(handler) = handler {
            handler(port);
        }
        event::end_of_interrupt(port);
    }
}
