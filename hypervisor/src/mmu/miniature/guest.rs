//! Guest memory, guest tables and a walker written apart from the one under test.

use crate::mmu::bits::{ACCESSED, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::mmu::memory::{GuestTable, GuestTables, HostPage};
use crate::mmu::walk::Access;
use crate::mmu::{index, span};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

/// Rights of tables that allow everything.
pub const TABLE: u64 = PRESENT | WRITABLE | USER;

/// Guest-physical memory of `bytes`, contiguous in the host from `host`. Words never written are zero.
pub struct Guest {
    /// Size.
    pub bytes: u64,
    /// Host-physical address of its first byte.
    pub host: u64,
    /// Registers of devices, at the same addresses in the host.
    pub registers: Vec<Range<u64>>,
    words: RefCell<HashMap<u64, u64>>,
    next_table: Cell<u64>,
    /// Entry to change under the next walk, as another vCPU would: place, new value, times left.
    pub meddler: Cell<Option<(u64, u64, u32)>>,
}

/// What the tables say about an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Guest-physical address.
    pub phys: u64,
    /// Level of the leaf.
    pub level: u8,
    /// Writable by every entry of the path.
    pub writable: bool,
    /// Open to user mode by every entry of the path.
    pub user: bool,
    /// Refused to fetches by some entry of the path.
    pub no_execute: bool,
    /// The leaf is global.
    pub global: bool,
    /// Accessed in every entry of the path.
    pub accessed: bool,
    /// The leaf is dirty.
    pub dirty: bool,
}

impl Found {
    /// Whether the rights allow the access (Intel SDM volume 3, 4.6, with CR0.WP, SMEP and NXE set).
    pub fn allows(&self, access: Access) -> bool {
        let executable = !self.no_execute && (access.is_user() || !self.user);
        (access.is_user() <= self.user)
            && (access.writes() <= self.writable)
            && (access.fetches() <= executable)
    }
}

impl Guest {
    /// Memory that is zero, and no devices.
    #[must_use]
    pub fn new(bytes: u64, host: u64) -> Self {
        Self {
            bytes,
            host,
            registers: Vec::new(),
            words: RefCell::default(),
            next_table: Cell::new(4096),
            meddler: Cell::new(None),
        }
    }

    /// The word at `address`.
    #[must_use]
    pub fn read(&self, address: u64) -> u64 {
        self.words.borrow().get(&address).copied().unwrap_or(0)
    }

    /// Stores a word.
    pub fn write(&self, address: u64, value: u64) {
        self.words.borrow_mut().insert(address, value);
    }

    /// An empty table.
    pub fn new_table(&self) -> u64 {
        let table = self.next_table.get();
        self.next_table.set(table + 4096);
        table
    }

    /// Where the entry of `level` for `address` lies, if the tables above it are there.
    pub fn place(&self, root: u64, address: u64, level: u8) -> Option<u64> {
        let mut table = root;
        for upper in (level + 1..=4).rev() {
            let entry = self.read(table + index(address, upper) as u64 * 8);
            if entry & PRESENT == 0 || (upper < 4 && entry & LARGE != 0) {
                return None;
            }
            table = entry & FRAME;
        }
        Some(table + index(address, level) as u64 * 8)
    }

    /// Sets the entry of `level` for `address`, making tables of the rights `upper` on the way.
    pub fn set(&self, root: u64, address: u64, level: u8, entry: u64, upper: u64) {
        let mut table = root;
        for at in (level + 1..=4).rev() {
            let place = table + index(address, at) as u64 * 8;
            let old = self.read(place);
            if old & PRESENT == 0 || (at < 4 && old & LARGE != 0) {
                self.write(place, self.new_table() | upper);
            }
            table = self.read(place) & FRAME;
        }
        self.write(table + index(address, level) as u64 * 8, entry);
    }

    /// Maps the page of `level` at `phys`, under tables that allow everything.
    pub fn map(&self, root: u64, address: u64, level: u8, phys: u64, flags: u64) {
        let large = if level > 1 { LARGE } else { 0 };
        self.set(root, address, level, phys | PRESENT | large | flags, TABLE);
    }

    /// Changes the entry of `level` for `address`.
    pub fn change(&self, root: u64, address: u64, level: u8, change: impl Fn(u64) -> u64) {
        let place = self.place(root, address, level).expect("an entry to change");
        self.write(place, change(self.read(place)));
    }

    /// The entry of `level` for `address`.
    pub fn entry(&self, root: u64, address: u64, level: u8) -> u64 {
        self.read(self.place(root, address, level).expect("an entry to read"))
    }

    /// What the tables say now: the page, or the cause bits of the page fault (present, reserved).
    pub fn look(&self, root: u64, address: u64) -> Result<Found, u64> {
        let everything = Found {
            phys: 0,
            level: 4,
            writable: true,
            user: true,
            no_execute: false,
            global: false,
            accessed: true,
            dirty: false,
        };
        self.descend(root & FRAME, 39, address, everything)
    }

    fn descend(&self, table: u64, shift: u32, address: u64, above: Found) -> Result<Found, u64> {
        if table + 4096 > self.bytes {
            return Err(9);
        }
        let entry = self.read(table + (address >> shift) % 512 * 8);
        if entry & PRESENT == 0 {
            return Err(0);
        }
        let here = Found {
            level: ((shift - 12) / 9 + 1) as u8,
            writable: above.writable && entry & WRITABLE != 0,
            user: above.user && entry & USER != 0,
            no_execute: above.no_execute || entry & NO_EXECUTE != 0,
            accessed: above.accessed && entry & ACCESSED != 0,
            ..above
        };
        let is_large = entry & LARGE != 0 && shift > 12;
        if shift > 12 && !is_large {
            return self.descend(entry & FRAME, shift - 9, address, here);
        }
        let bytes = 1u64 << shift;
        let reserved = entry & FRAME & (bytes - 1) & !(1 << 12);
        if shift == 39 || (is_large && reserved != 0) {
            return Err(9);
        }
        let phys = (entry & FRAME & !(bytes - 1)) | (address & (bytes - 1));
        let is_register = |registers: &Range<u64>| registers.contains(&phys);
        if (phys & !4095) + 4096 > self.bytes && !self.registers.iter().any(is_register) {
            return Err(9);
        }
        Ok(Found { phys, global: entry & GLOBAL != 0, dirty: entry & DIRTY != 0, ..here })
    }

    /// What an access by these tables gives: guest-physical address, or error code.
    pub fn expect(&self, root: u64, address: u64, access: Access) -> Result<u64, u64> {
        let kind = u64::from(access.writes()) << 1
            | u64::from(access.is_user()) << 2
            | u64::from(access.fetches()) << 4;
        match self.look(root, address) {
            Err(cause) => Err(cause | kind),
            Ok(found) if found.allows(access) => Ok(found.phys),
            Ok(_) => Err(1 | kind),
        }
    }
}

/// A table in that memory.
#[derive(Clone, Copy)]
pub struct TableAt<'a> {
    guest: &'a Guest,
    address: u64,
}

impl GuestTable for TableAt<'_> {
    fn load(self, index: usize) -> u64 {
        assert!(index < 512);
        self.guest.read(self.address + index as u64 * 8)
    }

    fn set_bits(self, index: usize, expected: u64, wanted: u64) -> bool {
        let guest = self.guest;
        let address = self.address + index as u64 * 8;
        if let Some((place, value, left @ 1..)) = guest.meddler.get()
            && place == address
        {
            guest.write(place, value ^ u64::from(left % 2) << 12);
            guest.meddler.set(Some((place, value, left - 1)));
        }
        let is_same = guest.read(address) == expected;
        if is_same {
            guest.write(address, expected | wanted);
        }
        is_same
    }
}

impl GuestTables for Guest {
    type Table<'a> = TableAt<'a>;

    fn table(&self, address: u64) -> Option<TableAt<'_>> {
        assert!(address.is_multiple_of(4096));
        (address.checked_add(4096)? <= self.bytes).then_some(TableAt { guest: self, address })
    }

    fn to_host(&self, address: u64, bytes: u64) -> Option<HostPage> {
        assert!(bytes == span(1) || bytes == span(2) || bytes == span(3));
        assert!(address.is_multiple_of(bytes));
        let end = address.checked_add(bytes)?;
        if self.registers.iter().any(|registers| registers.start <= address && end <= registers.end) {
            return Some(HostPage::registers(address));
        }
        let host = self.host + address;
        (end <= self.bytes && host.is_multiple_of(bytes)).then(|| HostPage::memory(host))
    }
}
