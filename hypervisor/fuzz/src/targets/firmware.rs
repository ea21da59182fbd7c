//! ACPI's static tables: not hostile as a guest is, but firmware is known to get them wrong.
//!
//! Tables lie at fixed places of a small memory, so that no pointer leads out of it; lengths and contents are the
//! input's. What is read must end, and list nothing twice without end.

use crate::Outcome;
use arbitrary::Unstructured;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_firmware::{Firmware, MAX_CPUS, cpu_count, sleep_package};

const RSDP: usize = 0x100;
const XSDT: usize = 0x200;
/// Each table has a page; behind its longest length there is room for an entry that is cut off.
const TABLES: [(usize, &[u8; 4]); 6] = [
    (0x1000, b"APIC"),
    (FADT, b"FACP"),
    (0x3000, b"HPET"),
    (0x4000, b"SSDT"),
    (DSDT, b"DSDT"),
    (0x6000, b"MCFG"),
];
const FADT: usize = 0x2000;
/// The only one to which another table points, not the list of all.
const DSDT: usize = 0x5000;
const MEMORY_BYTES: usize = 0x7000;
const MOST_TABLE_BYTES: usize = 0xf00;
const HEADER_BYTES: usize = 36;

/// See the module.
pub fn run(input: &[u8]) -> Outcome {
    let soft_off = sleep_package::find_soft_off(input);
    assert!(soft_off.is_none_or(|values| values.a < 8 && values.b < 8));
    let mut input = Unstructured::new(input);
    let mut memory = vec![0u8; MEMORY_BYTES];
    let listed = TABLES.into_iter().filter(|(place, _)| *place != DSDT);
    let places: Vec<u8> = listed.flat_map(|(place, _)| (place as u64).to_le_bytes()).collect();
    write_table(&mut memory, XSDT, b"XSDT", HEADER_BYTES + places.len(), &places);
    for (place, signature) in TABLES {
        // As in sound tables, the length mostly fits; often it does not.
        let bytes = input.arbitrary::<u8>().unwrap_or(0);
        let body = input.bytes(usize::from(bytes).min(input.len())).unwrap_or(&[]);
        let stated = match input.arbitrary::<u8>().unwrap_or(0) {
            0..0xc0 => HEADER_BYTES + body.len(),
            other => usize::from(other - 0xc0) * 4,
        };
        write_table(&mut memory, place, signature, stated.min(MOST_TABLE_BYTES), body);
    }
    point_to_dsdt(&mut memory);
    write_rsdp(&mut memory);

    let map = VirtAddr(memory.as_ptr().expose_provenance() as u64);
    let rsdp = PhysAddr(RSDP as u64);
    let count = cpu_count(Some(rsdp), map);
    assert!((1..=MAX_CPUS).contains(&count));
    match Firmware::read(rsdp, map) {
        Ok(firmware) => {
            assert_eq!(firmware.cpus.len().max(1), count);
            let io_apics = firmware.io_apics.iter().flatten().count() as Outcome;
            1 << 16
                | (firmware.configuration_spaces.len() as Outcome).min(3) << 12
                | io_apics << 8
                | (firmware.cpus.len() as Outcome).min(3) << 4
                | Outcome::from(firmware.power.soft_off.is_some())
        }
        Err(reason) => reason as Outcome,
    }
}

fn write_table(memory: &mut [u8], place: usize, signature: &[u8; 4], stated: usize, body: &[u8]) {
    memory[place..place + 4].copy_from_slice(signature);
    memory[place + 4..place + 8].copy_from_slice(&(stated as u32).to_le_bytes());
    memory[place + 8] = 2;
    memory[place + HEADER_BYTES..][..body.len()].copy_from_slice(body);
    let end = place + stated.max(HEADER_BYTES);
    memory[place + 9] = checksum(&memory[place..end]);
}

/// The FADT's pointers to the DSDT are the only ones inside tables that are followed.
fn point_to_dsdt(memory: &mut [u8]) {
    const DSDT_POINTER: usize = 40;
    const LONG_DSDT_POINTER: usize = 140;
    memory[FADT + DSDT_POINTER..][..4].copy_from_slice(&(DSDT as u32).to_le_bytes());
    memory[FADT + LONG_DSDT_POINTER..][..8].copy_from_slice(&(DSDT as u64).to_le_bytes());
    memory[FADT + 9] = 0;
    let stated = u32::from_le_bytes(memory[FADT + 4..FADT + 8].try_into().expect("four bytes")) as usize;
    memory[FADT + 9] = checksum(&memory[FADT..FADT + stated.max(HEADER_BYTES)]);
}

fn write_rsdp(memory: &mut [u8]) {
    memory[RSDP..RSDP + 8].copy_from_slice(b"RSD PTR ");
    memory[RSDP + 15] = 2;
    memory[RSDP + 20] = 36;
    memory[RSDP + 24..RSDP + 32].copy_from_slice(&(XSDT as u64).to_le_bytes());
    memory[RSDP + 8] = checksum(&memory[RSDP..RSDP + 20]);
    memory[RSDP + 32] = checksum(&memory[RSDP..RSDP + 36]);
}

/// What makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// A machine as QEMU describes it, and one without anything.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut madt = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    madt.extend([0, 8, 1, 1, 1, 0, 0, 0]);
    madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    madt.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    madt.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
    madt.extend([5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0]);
    let mut fadt = vec![0; 208];
    // PM1a_CNT at port 0x604, PM timer at 0x608.
    fadt[28..32].copy_from_slice(&0x604u32.to_le_bytes());
    fadt[40..44].copy_from_slice(&0x608u32.to_le_bytes());
    let hpet = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0];
    // Reserved; configuration space of buses 0 to 255.
    let mcfg = [vec![0; 8], 0xe000_0000u64.to_le_bytes().to_vec(), vec![0, 0, 0, 255, 0, 0, 0, 0]].concat();
    let dsdt = b"\x08_S5_\x12\x06\x04\x0a\x05\x0a\x05\0\0".to_vec();
    let mut input = Vec::new();
    for body in [&madt, &fadt, &hpet, &dsdt, &dsdt, &mcfg] {
        input.push(body.len() as u8);
        input.extend(body);
        input.push(0);
    }
    vec![input, vec![]]
}
