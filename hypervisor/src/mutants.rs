//! Ways to break this hypervisor on purpose, to prove that the conformance suite would notice.
//!
//! A *mutation point* is a condition, `mutant!(Name)`, at a place where one wrong decision breaks one requirement. In the
//! normal build it is the literal `false`, so nothing is left of it. With the feature `mutants` it asks whether the
//! system's name is `mutant=` and the number below: one build holds all of them, and breaks in one way at a time.
//! `conformance/mutants.toml` says which requirement each violates, and `cargo pv mutants` runs the suite on each.

/// Whether this mutant is selected; `any`: whether one is.
#[cfg(feature = "mutants")]
macro_rules! mutant {
    (any) => {
        $crate::mutants::is_any()
    };
    ($name:ident) => {
        $crate::mutants::is_on($crate::mutants::Mutant::$name)
    };
}

/// Never, in a build that is meant to work.
#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

#[cfg(feature = "mutants")]
pub use selection::{Mutant, is_any, is_on, select};

#[cfg(feature = "mutants")]
mod selection {
    use core::sync::atomic::{AtomicU8, Ordering};

    macro_rules! mutants {
        ($($name:ident = $number:literal,)*) => {
            /// All of them; what each does is said in `conformance/mutants.toml`.
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            #[allow(missing_docs, reason = "the list says more than a line here could")]
            #[repr(u8)]
            pub enum Mutant { $($name = $number,)* }
        };
    }

    // A test compares these numbers with the list.
    mutants! {
        VersionDiffers = 1,
        ProbeAdmitsMore = 2,
        BatchStopsAtError = 3,
        BatchBlocks = 4,
        BatchUnchecked = 5,
        UnknownIsInvalid = 6,
        UnusedMustBeZero = 7,
        RegisterClobbered = 8,
        CallsClobberVectors = 9,
        AddressLeaks = 10,
        ProgramsCall = 11,
        EndbrMissing = 12,
        AreaReservedTaken = 13,
        LoadRootTakesAnyFlag = 14,
        AreaOfAnySize = 15,
        AreaAcrossPages = 16,
        ConsoleUnchecked = 17,
        ConsoleStoresMore = 18,
        AreaForgetsEvents = 19,
        AreaOverwritten = 20,
        EntriesByHalves = 21,
        CpuidShowsAll = 22,
        TrapsDoNotMask = 23,
        StackOfProgram = 24,
        AlignmentCheckKept = 25,
        FrameHidesMask = 26,
        ErrorCodeOfProcessor = 27,
        FaultAddressLost = 28,
        GatesAreOpen = 29,
        UpcallsDoNotMask = 30,
        SystemCallsDoNotMask = 31,
        GsBaseLost = 32,
        IretKeepsMask = 33,
        IretTakesAnyLevel = 34,
        IretTakesAnyRip = 35,
        EventLost = 36,
        MaskIgnored = 37,
        SelectorForgotten = 38,
        UnmaskForgets = 39,
        NeverDelivered = 40,
        DeliveredWhileMasked = 41,
        BindLeavesPending = 42,
        BindLeavesOpen = 43,
        FewPorts = 44,
        UnboundIsInvalid = 45,
        UpperRightsIgnored = 46,
        UserViewShowsKernel = 47,
        KernelRunsUserPages = 48,
        AbsentShownPresent = 49,
        FrameOfOthers = 50,
        ReservedBitsTaken = 51,
        ReservedShownPresent = 52,
        AccessedLost = 53,
        DirtyTooEarly = 54,
        WritableWhileClean = 55,
        RefusedMarks = 56,
        FaultAroundUnmarked = 57,
        PopulateDirties = 58,
        FlushPageDoesNothing = 59,
        FlushRangeTooShort = 60,
        FlushAllDoesNothing = 61,
        GlobalFlushedInOneRoot = 62,
        CommonSlotShownAbsent = 63,
        CommonSlotNotFlushed = 64,
        FewCommonSlots = 65,
        ClockGoesBack = 66,
        ClocksDiffer = 67,
        DeadlineEarly = 68,
        PastDeadlineLost = 69,
        DeadlineTwice = 70,
        DeadlineNotReplaced = 71,
        DeadlineTakesBack = 72,
        BlockKeepsMask = 73,
        ShutdownReturns = 74,
        EntryRegisterDirty = 75,
        MapUnsorted = 76,
        MemoryDirty = 77,
        VcpuTooMany = 78,
        IpiSkipped = 79,
        DoorbellOfOthers = 80,
        VectorStateLeaked = 81,
        PortsOpenToPrograms = 82,
        RestartKeepsMemory = 83,
        FillAfterFlush = 84,
        LeafKeepsGlobal = 85,
    }

    static SELECTED: AtomicU8 = AtomicU8::new(0);

    /// Selects the mutant that the system's name asks for. Boot only.
    pub fn select(system_name: &str) {
        let number = system_name.strip_prefix("mutant=").and_then(|number| number.parse().ok());
        SELECTED.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether `mutant` is selected.
    #[must_use]
    pub fn is_on(mutant: Mutant) -> bool {
        SELECTED.load(Ordering::Relaxed) == mutant as u8
    }

    /// Whether one is.
    #[must_use]
    pub fn is_any() -> bool {
        SELECTED.load(Ordering::Relaxed) != 0
    }
}
