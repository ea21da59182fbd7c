//! Call ids, as a guest puts them into `rax`.

use crate::Outcome;
use hypervisor::front::decode::extension_version;
use hypervisor::front::fast::is_call;
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Extension, Mmu, Sched, Time};

/// Eight bytes are an id.
pub fn run(input: &[u8]) -> Outcome {
    input.as_chunks::<8>().0.iter().fold(0, |_, bytes| decode(u64::from_le_bytes(*bytes)))
}

/// The table has the calls of the ABI and nothing else.
fn decode(id: u64) -> Outcome {
    let number = id as u16;
    let is_of = |extension: Extension, exists: bool| exists && id == CallId::new(extension, number).0;
    let exists = is_of(Extension::Base, Base::try_from(number).is_ok())
        || is_of(Extension::Cpu, Cpu::try_from(number).is_ok())
        || is_of(Extension::Event, Event::try_from(number).is_ok())
        || is_of(Extension::Mmu, Mmu::try_from(number).is_ok())
        || is_of(Extension::Time, Time::try_from(number).is_ok())
        || is_of(Extension::Console, Console::try_from(number).is_ok())
        || is_of(Extension::Sched, Sched::try_from(number).is_ok());
    assert_eq!(is_call(id), exists, "{id:#x}");
    if !exists {
        return 0;
    }
    assert_ne!(extension_version(id >> 16), 0, "a call of an absent extension");
    id
}

/// A call of each extension, and one of none.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    (0..0x18u64).map(|extension| (extension << 16).to_le_bytes().to_vec()).collect()
}
