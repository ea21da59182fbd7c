//! The operations. Each is measured in both worlds where both have it: by the raw instructions on the bare machine, by
//! the raw call or store as a guest. What the library adds is measured in `library`.

mod calls;
mod events;
mod library;
mod memory;
mod roots;
pub(crate) mod switch;
mod time;
mod traps;

use crate::measure::{self, println};
use crate::world;
use pvops_abi::call::CallId;
use pvops_abi::hyper;
use pvops_abi::ops;

/// Numbers of marks, for the recorder.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(crate) enum Mark {
    Empty = 1,
    Three,
    NullCall,
    UnknownCall,
    Batch,
    SystemCall,
    KernelFault,
    UserFault,
    EventToSelf,
    MapPage,
    MapRegion2M,
    MapRegion1G,
    MapRegion512G,
    Populate,
    UnmapUser,
    UnmapKernel,
    LoadRoot,
    LoadRootOf64,
    Yield,
    SetDeadline,
    Deadline,
    Wake,
    Switch,
    Idle,
    IdleWithTick,
}

/// What measures a group of operations whose names begin with the first item, under the ABI only if the second says so.
type Group = (&'static str, bool, fn());

const GROUPS: [Group; 18] = [
    ("calibration", false, calls::calibration),
    ("call.null", true, calls::null),
    ("call.unknown", true, calls::unknown),
    ("call.batch", true, calls::batch),
    ("system_call", false, traps::system_call),
    ("kernel_fault", false, traps::kernel_fault),
    ("user_fault", false, traps::user_fault),
    ("event_to_self", false, events::to_self),
    ("map.page", false, memory::page),
    ("map.region", false, memory::regions),
    ("map.populate", true, memory::populate),
    ("unmap", false, memory::unmap),
    ("root.switch", false, roots::switch),
    ("sched.yield", true, time::yield_alone),
    ("time.set_deadline", false, time::set_deadline),
    ("time.deadline", false, time::deadline),
    ("time.wake", false, time::wake),
    ("idle", false, time::idle),
];

/// Measures the operations whose names begin with `only`, and what the library adds.
pub(crate) fn run(only: &str) {
    measure::calibrate();
    let is_guest = world::start_info().is_some();
    for (name, needs_abi, measure) in GROUPS {
        if (is_guest || !needs_abi) && (name.starts_with(only) || only.starts_with(name)) {
            measure();
        }
    }
    if "library".starts_with(only) || only.starts_with("library") {
        library::measure();
    }
    println!("hypermark: done, backend {}", ops::ops().backend_name);
}

/// Makes a call that must succeed.
fn call(id: CallId, arguments: &[u64]) -> u64 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    hyper::call(id, all).result().expect("a well-formed call")
}
