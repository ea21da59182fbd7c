//! What the targets found once, each in `findings/TARGET/`, and what they begin with: all of it must pass.

use hypervisor_fuzz::campaign::{Running, attempt};
use hypervisor_fuzz::{TARGETS, target};
use std::fs;
use std::path::Path;

#[test]
fn findings_stay_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings");
    let mut count = 0;
    for target_folder in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = target_folder.file_name().unwrap().to_str().unwrap();
        let target = target(name).unwrap_or_else(|| panic!("no target {name}"));
        for path in fs::read_dir(&target_folder).unwrap().map(|entry| entry.unwrap().path()) {
            let result = attempt(target, &fs::read(&path).unwrap(), &Running::default());
            assert!(result.is_ok(), "{}: {result:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn every_target_begins_with_inputs_that_pass() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty());
        for seed in seeds {
            assert!(seed.len() <= target.most_bytes);
            (target.run)(&seed);
        }
    }
}

/// Outcomes of what is accepted; a seed that is refused would leave most of a target's code unreached.
#[test]
fn files_to_begin_with_are_accepted() {
    for (name, accepted) in [("boot", 0x200), ("image", 0x100)] {
        let target = target(name).unwrap();
        for seed in (target.seeds)() {
            let outcome = (target.run)(&seed);
            assert!(outcome >= accepted, "{name}: {outcome:#x}");
        }
    }
    let firmware = target("firmware").unwrap();
    let outcome = (firmware.run)(&(firmware.seeds)()[0]);
    let everything = 1 << 16 | 1 << 12 | 1 << 8 | 3 << 4 | 1;
    assert_eq!(outcome, everything, "PCI's configuration space, an IOAPIC, three CPUs, soft-off");
}
