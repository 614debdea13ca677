//! Which pages are kept: counted against the record of whoever mapped them.

use std::collections::{BTreeMap, BTreeSet};

use dotdump_format::kernel::{Header, Machine, MemoryRun};
use dotdump_format::{Error, Pfn, VirtAddr};
use dotdump_snapshot::PageSet;
use dotdump_snapshot::machine::{Processor, ProcessorContext};
use dotdump_snapshot::paging::PagingMode;
use dotdump_transcode::Request;
use dotdump_transcode::machine::prepare;
use dotdump_transcode::machine::select::{self, PageReason, PageSelection, PageState, PageStates};
use dotdump_transcode::options::DumpKind;
use dotdump_transcode::request::PageLayout;
use proptest::prelude::*;

use crate::common::{FULL, Kept, Ram, TestMachine, TestPages, convert, read, refusal, request};
use crate::tables::{By, Tables};

/// Where entries of prototypes lie, and the page that they lie in.
const PROTOTYPES: u64 = 0xFFFF_F880_0000_0000;
const PROTOTYPE_PAGE: u64 = 0x1000;
/// The first page of tables.
const TABLES: u64 = 0x8000;
/// Pages that are mapped by 2 MiB.
const LARGE: std::ops::Range<u64> = 0x400..0x600;

/// Somebody's view of a page: the kernel's or that of a process, and how.
#[derive(Clone, Copy, Debug)]
struct View {
    space: usize,
    page: u64,
    by: u8,
}

#[derive(Clone, Debug)]
struct Drawn {
    present: BTreeSet<u64>,
    views: Vec<View>,
    states: BTreeMap<u64, u8>,
    is_large: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let view = (0_usize..4, 1_u64..0x140, 0_u8..4).prop_map(|(space, page, by)| View { space, page, by });
    (
        prop::collection::btree_set(1_u64..0x140, 0..200),
        prop::collection::btree_set(LARGE, 0..64),
        prop::collection::vec(view, 0..150),
        prop::collection::btree_map(1_u64..0x600, 0_u8..10, 0..300),
        any::<bool>(),
    )
        .prop_map(|(mut present, large, views, states, is_large)| {
            present.extend(large);
            Drawn {
                present,
                views,
                states,
                is_large,
            }
        })
}

/// What leads to pages, by whoever made the tables.
#[derive(Default, Debug)]
struct Truth {
    kernel: [BTreeSet<u64>; 3],
    user: [BTreeSet<u64>; 3],
    kernel_tables: BTreeSet<u64>,
    user_tables: BTreeSet<u64>,
}

fn build(drawn: &Drawn) -> (Tables, Truth) {
    let mut ram = Ram::default();
    drawn.present.iter().for_each(|page| ram.add(*page));
    ram.add_zeroed(PROTOTYPE_PAGE);
    let mut tables = Tables::new(ram, TABLES);
    let mut truth = Truth::default();
    tables.map(tables.system, PROTOTYPES, PROTOTYPE_PAGE, By::Valid);
    truth.kernel[0].insert(PROTOTYPE_PAGE);
    if drawn.is_large {
        tables.map(tables.system, 0xFFFF_F800_4000_0000, LARGE.start, By::Large);
        truth.kernel[0].extend(LARGE);
    }
    let roots = [tables.system, tables.process(), tables.process(), tables.process()];
    for (index, view) in drawn.views.iter().enumerate() {
        let number = index as u64;
        // Far apart, so that there are many tables.
        let address = match view.space {
            0 => 0xFFFF_F800_0000_0000 + number * 0x3_1000,
            _ => 0x10_0000 + number * 0x7_1000,
        };
        let how = usize::from(view.by.min(2));
        let by = match view.by {
            0 => By::Valid,
            1 => By::Transition,
            _ => {
                // The prototype's own entry is valid or in transition.
                let entry = view.page << 12 | if view.by == 2 { 0x63 } else { 0x800 };
                tables
                    .ram
                    .put(PROTOTYPE_PAGE * 0x1000 + number * 8, &entry.to_le_bytes());
                By::Prototype(PROTOTYPES + number * 8)
            }
        };
        tables.map(roots[view.space], address, view.page, by);
        let half = if view.space == 0 {
            &mut truth.kernel
        } else {
            &mut truth.user
        };
        half[how].insert(view.page);
    }
    truth.kernel_tables = tables.kernel_tables.clone();
    truth.user_tables = tables.user_tables.clone();
    (tables, truth)
}

fn check(selection: &PageSelection, present: &PageSet, expected: &BTreeMap<u64, PageReason>) {
    let kept: Vec<u64> = expected
        .iter()
        .filter(|(_, reason)| reason.is_kept())
        .map(|(page, _)| *page)
        .collect();
    let found: Vec<u64> = selection.pages.runs().flat_map(|(first, end)| first.0..end.0).collect();
    assert_eq!(found, kept);
    let mut counts: BTreeMap<PageReason, u64> = BTreeMap::new();
    for reason in expected.values() {
        *counts.entry(*reason).or_default() += 1;
    }
    let told = [selection.reasons.list(true), selection.reasons.list(false)].concat();
    let told: BTreeMap<PageReason, u64> = told.iter().map(|count| (count.reason, count.pages)).collect();
    assert_eq!(told, counts);
    assert_eq!(told.values().sum::<u64>(), present.len(), "each page has one reason");
    assert_eq!((selection.walks.absent_tables, selection.walks.stopped_walks), (0, 0));
}

/// The states of pages by number.
struct States(BTreeMap<u64, PageState>);

impl PageStates for States {
    fn for_each(&self, first: Pfn, end: Pfn, each: &mut dyn FnMut(Pfn, PageState)) -> Result<(), Error> {
        for (page, state) in self.0.range(first.0..end.0) {
            each(Pfn(*page), *state);
        }
        Ok(())
    }
}

fn state(number: u8) -> PageState {
    match number {
        0 => PageState::Zeroed,
        1 => PageState::Free,
        2 => PageState::Listed { is_file_backed: true },
        3 => PageState::Listed { is_file_backed: false },
        4 => PageState::Bad,
        5 => PageState::Active { is_driver_locked: true },
        6 => PageState::Transition,
        _ => PageState::Active {
            is_driver_locked: false,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every page that a kernel address leads to is kept, and none that only processes' addresses lead to.
    #[test]
    fn kernel_memory(drawn in drawn()) {
        let (tables, truth) = build(&drawn);
        let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
        let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
        machine.processes = tables.processes;
        let present = select::present(&pages).unwrap();
        let selection = select::kernel(&machine, &present).unwrap();

        let expected = pages.ram.0.keys().map(|page| {
            let is_user = truth.user.iter().any(|set| set.contains(page));
            let reason = if truth.kernel_tables.contains(page) {
                PageReason::KernelPageTable
            } else if truth.user_tables.contains(page) {
                PageReason::UserPageTable
            } else if truth.kernel.iter().any(|set| set.contains(page)) && is_user {
                PageReason::KernelAndUser
            } else if truth.kernel[0].contains(page) {
                PageReason::Kernel
            } else if truth.kernel[1].contains(page) {
                PageReason::KernelTransition
            } else if truth.kernel[2].contains(page) {
                PageReason::KernelPrototype
            } else if is_user {
                PageReason::UserOnly
            } else {
                PageReason::Unmapped
            };
            (*page, reason)
        });
        check(&selection, &present, &expected.collect());
    }

    /// Every active page is kept; free and zeroed ones are dropped unless something maps them.
    #[test]
    fn active_memory(drawn in drawn(), has_database in any::<bool>()) {
        let (tables, truth) = build(&drawn);
        let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
        let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
        machine.processes = tables.processes;
        let present = select::present(&pages).unwrap();
        let states = match has_database {
            true => drawn.states.iter().map(|(page, number)| (*page, state(*number))).collect(),
            false => BTreeMap::new(),
        };
        let database = States(states.clone());
        let database = has_database.then_some(&database as &dyn PageStates);
        let selection = select::active(&machine, &present, database).unwrap();

        let expected = pages.ram.0.keys().map(|page| {
            let tables = [&truth.kernel_tables, &truth.user_tables];
            let mapped = truth.kernel.iter().chain(&truth.user).chain(tables).any(|set| set.contains(page));
            let state = states.get(page);
            let by_tables = || {
                if truth.kernel_tables.contains(page) {
                    Some(PageReason::KernelPageTable)
                } else if truth.user_tables.contains(page) {
                    Some(PageReason::UserPageTable)
                } else if truth.kernel[0].contains(page) {
                    Some(PageReason::Kernel)
                } else if truth.user[0].contains(page) {
                    Some(PageReason::User)
                } else {
                    None
                }
            };
            let reason = match state {
                Some(PageState::Active { is_driver_locked: false }) => PageReason::Active,
                Some(PageState::Active { is_driver_locked: true }) if mapped => PageReason::Active,
                Some(PageState::Transition) => PageReason::Transition,
                Some(PageState::Listed { is_file_backed: false }) => PageReason::PageFileBacked,
                other => by_tables().unwrap_or_else(|| match other {
                    Some(PageState::Bad) => PageReason::Bad,
                    Some(PageState::Active { .. }) => PageReason::DriverLocked,
                    Some(PageState::Listed { .. }) => PageReason::FileCache,
                    _ if truth.kernel[1].contains(page) => PageReason::KernelTransition,
                    _ if truth.kernel[2].contains(page) => PageReason::KernelPrototype,
                    _ if mapped => PageReason::UserTransition,
                    Some(PageState::Zeroed) => PageReason::Zeroed,
                    Some(PageState::Free) => PageReason::Free,
                    _ => PageReason::Unmapped,
                }),
            };
            (*page, reason)
        });
        check(&selection, &present, &expected.collect());
    }
}

/// A small machine, and its tables' pages.
fn small() -> Tables {
    let mut ram = Ram::default();
    (1..0x40).for_each(|page| ram.add(page));
    let mut tables = Tables::new(ram, TABLES);
    for index in 0..8 {
        tables.map(
            tables.system,
            0xFFFF_F800_0000_0000 + index * 0x1000,
            1 + index,
            By::Valid,
        );
    }
    let process = tables.process();
    for index in 0..8 {
        tables.map(process, 0x40_0000 + index * 0x1000, 0x20 + index, By::Valid);
    }
    tables
}

#[test]
fn the_map_of_the_tables_leads_to_no_page() {
    let tables = small();
    let (system, processes) = (tables.system, tables.processes.clone());
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, system << 12);
    machine.processes = processes;
    let selection = select::kernel(&machine, &select::present(&pages).unwrap()).unwrap();
    assert!(
        !selection.pages.contains(Pfn(0x20)),
        "a user page, that the map shows as the page of a page"
    );
    assert_eq!(selection.reasons.pages(PageReason::Kernel), 8);
    assert_eq!(selection.reasons.pages(PageReason::UserOnly), 8);
}

#[test]
fn a_choice_without_the_list_of_modules_is_refused() {
    let tables = small();
    let (system, processes) = (tables.system, tables.processes.clone());
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, system << 12);
    machine.processes = processes;
    // An address that the kernel's tables lead to, but not as one of the kernel.
    machine.space = dotdump_snapshot::AddressSpace::new(
        &pages,
        PagingMode::FourLevel,
        machine.processes[0].directory_table_base,
        dotdump_snapshot::paging::SoftwarePtes::Early,
    );
    let Header::Dump64(header) = &mut machine.header else {
        unreachable!()
    };
    header.ps_loaded_module_list = 0x40_3000.into();
    let told = refusal(&machine, &request(DumpKind::Kernel, PageLayout::Bitmap));
    assert!(told.contains("PsLoadedModuleList (0x403000)"), "{told}");
    let lost = select::lost(&machine, &PageSet::default()).unwrap();
    assert_eq!(
        lost.iter().map(|lost| lost.address).collect::<Vec<_>>(),
        [VirtAddr(0x40_3000)]
    );
}

#[test]
fn pages_that_are_dropped_are_told_by_reason() {
    let tables = small();
    let (system, processes) = (tables.system, tables.processes.clone());
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, system << 12);
    machine.processes = processes;
    let (file, conversion) = convert(&machine, &request(DumpKind::Kernel, PageLayout::Bitmap)).unwrap();
    let dump = read(&file);
    assert_eq!(dump.dump_type, 6);
    for (number, page) in &dump.pages {
        assert_eq!(page, &pages.ram.0[number], "page {number:#x}");
    }
    let report = serde_json::to_value(&conversion.report).unwrap();
    assert_eq!(report["written"]["pages"], dump.pages.len());
    assert_eq!(
        report["dropped"],
        serde_json::json!([{"reason": "user-only", "pages": 8}, {"reason": "unmapped", "pages": 0x3F - 16}])
    );
    assert_eq!(report["kept"][2], serde_json::json!({"reason": "kernel", "pages": 8}));
}

/// A dump that lacks something is not made into one that promises it.
#[test]
fn partial_sources() {
    let tables = small();
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
    let mut set = |dump_type: u32, attributes: u32| {
        let Header::Dump64(header) = &mut machine.header else {
            unreachable!()
        };
        header.dump_type = dump_type.into();
        header.attributes = attributes.into();
        let refused = |kind| {
            let request = request(kind, PageLayout::Bitmap);
            prepare(&machine, Some(&pages.file), &request).is_err()
        };
        [
            refused(FULL),
            refused(DumpKind::KernelActive),
            refused(DumpKind::Kernel),
        ]
    };
    assert_eq!(set(1, 0), [false, false, false]);
    assert_eq!(set(5, 0), [false, false, false]);
    assert_eq!(set(5, 0x40), [true, false, false]);
    assert_eq!(set(9, 0), [true, false, false]);
    for kernel in [2, 6, 7, 8] {
        assert_eq!(set(kernel, 0), [true, true, false]);
    }
    assert_eq!(set(0xA, 0), [false, false, false]);
}

/// A dump of kernel pages that has all that the machine had is complete, whatever it is called.
#[test]
fn a_kernel_dump_with_all_pages() {
    let tables = small();
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
    let all = MemoryRun {
        base_page: Pfn(1),
        page_count: pages.ram.0.len() as u64,
    };
    for (more, is_complete) in [(0, true), (1, false)] {
        let run = MemoryRun {
            page_count: all.page_count + more,
            ..all
        };
        machine.header.set_physical_memory(&[run]).unwrap();
        let Header::Dump64(header) = &mut machine.header else {
            unreachable!()
        };
        header.dump_type = 6.into();
        let request = request(FULL, PageLayout::Bitmap);
        if is_complete {
            let (file, _) = convert(&machine, &request).unwrap();
            assert_eq!(read(&file).dump_type, 5);
        } else {
            assert!(refusal(&machine, &request).contains("kernel memory only"));
            // With --force what is there is written, and called what it is.
            let mut request = request;
            request.force = true;
            assert_eq!(read(&convert(&machine, &request).unwrap().0).dump_type, 6);
        }
    }
}

#[test]
fn memory_without_windows_is_written_with_a_warning() {
    let tables = small();
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
    let request = request(DumpKind::Full { avx_state: false }, PageLayout::Bitmap);
    let absent = |machine: &TestMachine<'_>| convert(machine, &request).unwrap().1.report.absent;
    assert_eq!(absent(&machine), []);
    machine.header = Header::unset(Machine::Amd64);
    let [told] = <[_; 1]>::try_from(absent(&machine)).unwrap();
    assert_eq!(told.severity, dotdump_transcode::shortfall::Severity::Warning);
    assert!(told.message.contains("no Windows kernel was found"), "{}", told.message);
    // A small dump of it would be a guess.
    let mut small = Request::default();
    assert!(refusal(&machine, &small).contains("no Windows kernel was found"));
    small.force = true;
    let told = prepare(&machine, Some(&pages.file), &small).unwrap().report.absent;
    assert!(
        told.iter()
            .any(|told| told.message.contains("no Windows kernel was found"))
    );
}

/// What a dump by runs has of a machine stands in its manifest alone.
#[test]
fn kernel_memory_by_runs_without_a_manifest_is_warned_of() {
    let tables = small();
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
    for (layout, no_manifest, is_told) in [
        (PageLayout::Runs, true, true),
        (PageLayout::Runs, false, false),
        (PageLayout::Bitmap, true, false),
    ] {
        let mut request = request(DumpKind::Kernel, layout);
        (request.force, request.no_manifest) = (true, no_manifest);
        let told = convert(&machine, &request).unwrap().1.report.absent;
        let told = told.iter().any(|told| told.option == "--no-manifest");
        assert_eq!(told, is_told, "{layout:?}");
    }
}

#[test]
fn extended_state_stays_where_it_is() {
    let tables = small();
    let pages = TestPages::new(tables.ram, b"", |_| Kept::InFile);
    let mut machine = TestMachine::new(&pages, Machine::Amd64, PagingMode::FourLevel, tables.system << 12);
    let context = |size| Processor {
        number: 0,
        prcb: None,
        current_thread: None,
        context: Some(ProcessorContext {
            address: Some(VirtAddr(0xFFFF_F800_0000_0000)),
            bytes: vec![0; size],
        }),
        special_registers: None,
    };
    let request = request(DumpKind::Full { avx_state: true }, PageLayout::Bitmap);
    let told = |machine: &TestMachine<'_>| convert(machine, &request).unwrap().1.report.absent.remove(0);
    machine.processors = vec![context(0x640), context(0x4D0)];
    assert!(told(&machine).message.contains("1 of 2 processors"));
    machine.processors = vec![context(0x640)];
    let told = told(&machine);
    assert_eq!(told.severity, dotdump_transcode::shortfall::Severity::Note);
    assert_eq!(told.option, "-fy");
}
