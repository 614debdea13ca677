//! The Windows streams of real dumps. The expected values come from other readers, named beside them:
//! minidump-stackwalk (rust-minidump), minidump_dump (Breakpad), skelsec's minidump; or from `od`.

use std::path::PathBuf;

use dotdump_format::minidump::comment::CommentW;
use dotdump_format::minidump::function_table::FunctionTables;
use dotdump_format::minidump::handle_data::{Handle, HandleData};
use dotdump_format::minidump::memory_info_list::{MemoryInfoList, MemoryState};
use dotdump_format::minidump::memory_list::MemoryList;
use dotdump_format::minidump::misc_info::MiscInfo;
use dotdump_format::minidump::name::Name;
use dotdump_format::minidump::process_vm_counters::ProcessVmCounters;
use dotdump_format::minidump::system_memory_info::SystemMemoryInfo;
use dotdump_format::minidump::thread_info_list::{ThreadDumpFlags, ThreadInfoList};
use dotdump_format::minidump::thread_names::ThreadNames;
use dotdump_format::minidump::token::TokenList;
use dotdump_format::minidump::unloaded_module_list::UnloadedModuleList;
use dotdump_format::minidump::{Minidump, StreamContent};
use dotdump_format::{Findings, ReadAt, VirtAddr, VirtRange};

/// The corpus; `None`, with a message, where there is none and none is required.
fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("DOTDUMP_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus")),
        PathBuf::from,
    );
    if path.is_dir() {
        return Some(path);
    }
    let required = std::env::var("DOTDUMP_REQUIRE_VALIDATORS").is_ok_and(|value| value == "1");
    assert!(!required, "no corpus at {} (DOTDUMP_CORPUS)", path.display());
    eprintln!("skipped: no corpus at {}", path.display());
    None
}

/// A dump of the corpus.
fn dump(name: &str) -> Option<Vec<u8>> {
    let path = corpus()?.join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A stream that must be there and in order.
fn stream<'a, T: StreamContent<'a>>(file: &'a dyn ReadAt) -> T {
    let mut findings = Findings::default();
    let stream = Minidump::open(file).unwrap().get::<T>(&mut findings).unwrap().unwrap();
    assert!(findings.is_empty(), "{:?}", findings.as_slice());
    stream
}

const GREEMATE: &str = "mdmp-x64-win10-debugdiag-greemate-firstchance-av-myapp.dmp";
const MWHAX7: &str = "mdmp-x64-win10-dbghelp-mwhax7-crash.dmp";
const RICCARS: &str = "mdmp-x64-win10-dbghelp-riccars-crash.dmp";
const TINY: &str = "mdmp-x64-win11-crashpad-google-tiny-exe-with-cet-xsave.dmp";
const USE_AFTER_FREE: &str = "mdmp-x86-win7-dbghelp-google-use-after-free.dmp";
const TAELLINGLIN: &str = "mdmp-x64-win11-dbghelp-taellinglin-crash.dmp";
const FIZZBUZZ: &str = "mdmp-x64-win7-dbghelp-llvm-fizzbuzz_wow64.dmp";

// skelsec's minidump prints the same text.
#[test]
fn comment() {
    let Some(file) = dump(GREEMATE) else { return };
    assert_eq!(stream::<CommentW>(&file).text(), "FirstChance_av_AccessViolation");
}

// `od`: the list header is 736, 1, 16, 72, and the only token fills the rest.
#[test]
fn token() {
    let Some(file) = dump(GREEMATE) else { return };
    let list: TokenList<'_> = stream(&file);
    let token = &list.tokens[0];
    assert_eq!((list.element_header_size, list.tokens.len()), (72, 1));
    assert_eq!(
        (token.header.token_size.get(), token.header.token_id.get()),
        (736 - 16, 0xB10)
    );
    let header = &token.header;
    for part in [
        &header.user,
        &header.groups,
        &header.primary_group,
        &header.privileges,
        &header.statistics,
    ] {
        assert_eq!(token.part(part).map(<[u8]>::len), Some(part.size.get() as usize));
    }
    // TOKEN_STATISTICS has 56 bytes.
    assert_eq!(header.statistics.size.get(), 56);
    // TOKEN_USER: where in it the SID starts, attributes, and the SID: revision 1, 5 parts, authority 5.
    let user = token.part(&header.user).unwrap();
    assert_eq!(user[..8], [8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(user[8..16], [1, 5, 0, 0, 0, 0, 0, 5]);
    assert_eq!(user.len(), 8 + 8 + 5 * 4);
}

// minidump-stackwalk --dump and skelsec's minidump.
#[test]
fn handles_of_windows() {
    let Some(file) = dump(MWHAX7) else { return };
    let data: HandleData = stream(&file);
    assert_eq!((data.descriptor_size, data.handles.len()), (40, 179));
    let text = |name: &Option<Name>| name.as_ref().map(Name::text);
    let of_type = |wanted: Option<&str>| {
        let same = |handle: &&Handle| text(&handle.type_name).as_deref() == wanted;
        data.handles.iter().filter(same).count()
    };
    assert_eq!(
        [Some("File"), Some("Thread"), Some("Event"), Some("Key"), None].map(of_type),
        [49, 26, 22, 7, 50]
    );
    let event = &data.handles[0];
    assert_eq!(
        (event.record.handle.get(), event.record.granted_access.get()),
        (4, 0x1F_0003)
    );
    assert_eq!(
        (event.record.handle_count.get(), event.record.pointer_count.get()),
        (2, 65_538)
    );
    assert_eq!(
        (event.object_info[0].info_type, &event.object_info[0].data[..]),
        (6, &[1, 0, 0, 0, 0, 0, 0, 0][..])
    );
    let key = &data.handles[102];
    assert_eq!(
        (key.record.handle.get(), key.record.granted_access.get()),
        (412, 131_097)
    );
    assert_eq!(
        text(&key.object_name).as_deref(),
        Some("\\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Control\\Nls\\Sorting\\Ids")
    );
    let mutant = &data.handles[99];
    assert_eq!(
        text(&mutant.object_name).as_deref(),
        Some("\\Sessions\\2\\BaseNamedObjects\\DBWinMutex")
    );
    let chain: Vec<_> = mutant
        .object_info
        .iter()
        .map(|info| (info.info_type, info.data.len()))
        .collect();
    assert_eq!(chain, [(3, 16), (2, 8)]);
    // All pieces of information, by type and size.
    let all = |info_type, size| {
        let pieces = data.handles.iter().flat_map(|handle| &handle.object_info);
        pieces
            .filter(|info| (info.info_type, info.data.len()) == (info_type, size))
            .count()
    };
    assert_eq!(
        [all(1, 48), all(2, 8), all(3, 16), all(6, 8), all(8, 8)],
        [26, 1, 1, 22, 4]
    );
}

// minidump-stackwalk --dump.
#[test]
fn handles_of_crashpad() {
    let Some(file) = dump(TINY) else { return };
    let data: HandleData = stream(&file);
    assert_eq!((data.descriptor_size, data.handles.len()), (32, 147));
    assert_eq!(data.handles[0].record.granted_access.get(), 0x12_019F);
    let last = &data.handles[146];
    assert_eq!((last.record.handle.get(), last.record.attributes.get()), (0xAD0, 2));
    assert_eq!(
        (last.record.handle_count.get(), last.record.pointer_count.get()),
        (4, 98_306)
    );
    assert_eq!(last.type_name.as_ref().unwrap().text(), "Section");
}

// A stream without handles is written where a snapshot of them fails.
#[test]
fn handles_of_a_process_that_let_none_be_seen() {
    let Some(file) = dump(FIZZBUZZ) else { return };
    let data: HandleData = stream(&file);
    assert_eq!((data.descriptor_size, data.handles.len()), (40, 0));
}

// skelsec's minidump.
#[test]
fn thread_info() {
    let Some(file) = dump(MWHAX7) else { return };
    let list: ThreadInfoList<'_> = stream(&file);
    assert_eq!(list.threads.len(), 12);
    let first = list.threads.get(0).unwrap();
    assert_eq!(
        (first.thread_id.get(), first.dump_flags()),
        (0x1F30, ThreadDumpFlags::WRITING_THREAD)
    );
    assert_eq!(
        (first.exit_status.get(), first.create_time.get()),
        (0x103, 0x01DA_525B_0889_CB7D)
    );
    assert_eq!((first.kernel_time.get(), first.user_time.get()), (0xC8_4588, 0x4C_4B40));
    assert_eq!(
        (first.start_address.get(), first.affinity.get()),
        (0x7FF7_11EF_C7A0, 0xFFF)
    );
    assert_eq!(list.threads.get(11).unwrap().start_address.get(), 0x7FFA_FAF0_FB40);
}

// Breakpad's minidump_dump.
#[test]
fn memory_info() {
    let Some(file) = dump(MWHAX7) else { return };
    let list: MemoryInfoList<'_> = stream(&file);
    assert_eq!(list.regions.len(), 439);
    let first = list.regions.get(0).unwrap();
    assert_eq!((first.state(), first.range().size()), (MemoryState::FREE, 0x7FFE_0000));
    let free = list.regions.get(200).unwrap();
    assert_eq!(
        (free.base_address.get(), free.region_size.get()),
        (0x7FFA_F0FF_A000, 0x203_6000)
    );
    assert!(!free.is_committed() && !free.is_readable());
    let last = list.regions.get(438).unwrap();
    assert_eq!(
        (last.base_address.get(), last.allocation_protect.get()),
        (0x7FFF_FFFE_0000, 2)
    );
    assert_eq!(
        (last.state.get(), last.protect.get(), last.memory_type.get()),
        (0x2000, 1, 0x2_0000)
    );
    // The whole address space, in order and without gaps.
    let mut end = VirtAddr(0);
    for region in &list.regions {
        let range = region.unwrap().range();
        assert_eq!(range.start, end);
        end = range.end;
    }
    assert_eq!(end, VirtAddr(0x7FFF_FFFF_0000));
}

// minidump-stackwalk --dump.
#[test]
fn unloaded_modules() {
    let Some(file) = dump(USE_AFTER_FREE) else { return };
    let list: UnloadedModuleList = stream(&file);
    assert_eq!(list.modules.len(), 12);
    let (first, last) = (&list.modules[0], &list.modules[11]);
    assert_eq!(first.name.as_ref().unwrap().text(), "POWRPROF.DLL");
    assert_eq!(first.range(), VirtRange::sized(VirtAddr(0x6FA6_0000), 0x2_5000));
    assert_eq!(
        (first.record.check_sum.get(), first.record.time_date_stamp.get()),
        (0x2_6DF1, 0x4A5B_DB0C)
    );
    assert_eq!(last.name.as_ref().unwrap().text(), "KBDUS.DLL");
    assert_eq!(last.range(), VirtRange::sized(VirtAddr(0x742E_0000), 0x4000));
}

// Breakpad's minidump_dump.
#[test]
fn thread_names() {
    let Some(file) = dump(RICCARS) else { return };
    let names: ThreadNames = stream(&file);
    assert_eq!(names.names.len(), 31);
    let text = |thread_id| names.of(thread_id).map(Name::text);
    assert_eq!(text(0x46BC).as_deref(), Some("Job.Worker 0"));
    assert_eq!(text(0x2C68).as_deref(), Some("Job.Worker 1"));
    assert_eq!(text(0x89C).as_deref(), Some("Background Job.Worker 14"));
    assert_eq!(text(0x46C4).as_deref(), Some("Loading.PreloadManager"));
}

// Breakpad's minidump_dump.
#[test]
fn misc_info_of_windows_10() {
    let Some(file) = dump(MWHAX7) else { return };
    let info: MiscInfo = stream(&file);
    assert_eq!((info.size(), info.flags().bits()), (1364, 0x3D7));
    assert_eq!(
        (info.process_id(), info.process_create_time()),
        (Some(6736), Some(0x65B7_0D9D))
    );
    assert_eq!(
        (info.process_user_time(), info.process_kernel_time()),
        (Some(0), Some(1))
    );
    assert_eq!(
        (info.processor_max_mhz(), info.processor_current_idle_state()),
        (Some(2694), Some(2))
    );
    assert_eq!(
        (info.process_integrity_level(), info.process_execute_flags()),
        (Some(0x3000), None)
    );
    assert_eq!((info.protected_process(), info.time_zone_id()), (Some(0), Some(1)));
    let zone = info.time_zone().unwrap();
    assert_eq!((zone.bias.get(), zone.daylight_bias.get()), (-60, -60));
    assert_eq!(zone.standard_name(), "Romance Standard Time");
    assert_eq!(zone.daylight_name(), "Romance Daylight Time");
    let date = &zone.standard_date;
    assert_eq!(
        (
            date.month.get(),
            date.day_of_week.get(),
            date.day.get(),
            date.hour.get()
        ),
        (10, 0, 5, 3)
    );
    assert_eq!(
        info.build_string().unwrap(),
        "10.0.14393.6343 (rs1_release.230913-1727)"
    );
    assert_eq!(info.dbg_bld_str().unwrap(), "dbgcore.amd64,10.0.14321.1024");
    assert_eq!(info.xstate_data(), None);
    assert_eq!(info.process_cookie(), Some((-1_893_828_827_i32).cast_unsigned()));
}

// Breakpad's minidump_dump.
#[test]
fn misc_info_of_windows_7() {
    let Some(file) = dump(USE_AFTER_FREE) else { return };
    let info: MiscInfo = stream(&file);
    assert_eq!((info.size(), info.flags().bits()), (232, 0xF7));
    assert_eq!(info.process_id(), Some(0x3D7C));
    assert!(info.time_zone().is_some() && info.build_string().is_none() && info.process_cookie().is_none());
}

// The format reference, section 4.9.3; Crashpad wrote 1232 + 32 + 63 + 64 + 16 bytes.
#[test]
fn extended_state_of_crashpad() {
    let Some(file) = dump(TINY) else { return };
    let info: MiscInfo = stream(&file);
    let state = info.xstate_data().unwrap();
    assert_eq!((state.size_of_info.get(), state.context_size.get()), (528, 1407));
    assert_eq!(state.enabled_features.get(), 0x8000_0000_0000_0803);
    assert_eq!(
        (state.features[11].offset.get(), state.features[11].size.get()),
        (576, 16)
    );
}

// Every table in the file leads to unwind information that the writer put into the dump.
#[test]
fn function_tables() {
    let Some(file) = dump(RICCARS) else { return };
    let list: FunctionTables<'_> = stream(&file);
    // `od`: 24, 32, 136, 12, 3599, 0.
    assert_eq!(list.header.size_of_native_descriptor.get(), 136);
    assert_eq!(list.header.number_of_descriptors.get(), 3599);
    let mut ranges: Vec<(u64, u64)> = stream::<MemoryList<'_>>(&file)
        .ranges
        .iter()
        .map(|range| {
            let range = range.unwrap();
            (
                range.start_of_memory_range.get(),
                u64::from(range.memory.data_size.get()),
            )
        })
        .collect();
    ranges.sort_unstable();
    let stored = |address: VirtAddr| {
        let after = ranges.partition_point(|(start, _)| *start <= address.0);
        after > 0 && address.0 - ranges[after - 1].0 < ranges[after - 1].1
    };
    let (mut tables, mut functions, mut found) = (0, 0, 0);
    for table in &list {
        let table = table.unwrap();
        tables += 1;
        assert!(table.is_x64());
        let range = table.descriptor.range();
        for entry in &table.entries {
            let entry = entry.unwrap();
            let start = VirtAddr(table.descriptor.base_address.get() + u64::from(entry.begin_address.get()));
            assert!(range.contains(start), "{start} in {range}");
        }
        for address in table.unwind_addresses() {
            functions += 1;
            found += u64::from(stored(address.unwrap()));
        }
    }
    assert_eq!(tables, 3599);
    assert!(functions > 0 && found == functions);
}

// Walking the sizes that the file states must lead to the end of the stream, save for what was set aside.
#[test]
fn function_tables_of_every_dump() {
    let Some(corpus) = corpus() else { return };
    let mut dumps = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("mdmp-") {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let dump = Minidump::open(&file).unwrap();
        let Some(list) = dump.get::<FunctionTables<'_>>(&mut Findings::default()).unwrap() else {
            continue;
        };
        dumps += 1;
        let stream = dump.stream(FunctionTables::TYPE).unwrap();
        let tables: Vec<_> = list.iter().map(Result::unwrap).collect();
        assert_eq!(tables.len(), list.header.number_of_descriptors.get() as usize, "{name}");
        let last = tables.last().unwrap();
        let end = last.entries.offset_of(last.entries.len()).0 + u64::from(last.descriptor.size_of_align_pad.get());
        // The writer sets 8 bytes aside for padding each table to a multiple of 8 in the file, and uses what it needs.
        let pads: u64 = tables
            .iter()
            .map(|table| u64::from(table.descriptor.size_of_align_pad.get()))
            .sum();
        let spare = stream.end().0 - end;
        let used = pads + u64::from(list.header.size_of_align_pad.get());
        assert_eq!(spare + used, 8 * tables.len() as u64, "{name}");
        assert!(
            tables.iter().all(|table| (table.native_offset.0 - 32) % 8 == 0),
            "{name}"
        );
    }
    assert!(dumps >= 8, "{dumps}");
}

// `od`.
#[test]
fn system_memory() {
    let Some(file) = dump(GREEMATE) else { return };
    let info: SystemMemoryInfo = stream(&file);
    assert_eq!(
        (info.size(), info.flags().bits(), info.page_size()),
        (492, 0xF, Some(4096))
    );
    assert_eq!(info.record.basic.number_of_physical_pages.get(), 0x5_FF7D);
    let Some(file) = dump(TAELLINGLIN) else { return };
    let info: SystemMemoryInfo = stream(&file);
    assert_eq!(
        (info.size(), info.flags().bits(), info.page_size()),
        (524, 0x3F, Some(4096))
    );
    let performance = &info.record.performance;
    assert_eq!(performance.mdl_pages_allocated.get(), 164_882);
    // Close to 48 bytes for each of the 0xFEC3BF physical pages: 195,659 pages.
    assert_eq!(performance.pfn_database_committed_pages.get(), 196_694);
    assert_eq!(performance.contiguous_pages_allocated.get(), 48_670);
}

// `od`.
#[test]
fn process_counters() {
    let Some(file) = dump(GREEMATE) else { return };
    let counters: ProcessVmCounters = stream(&file);
    assert_eq!((counters.base().revision.get(), counters.base().flags.get()), (2, 0x1F));
    assert_eq!(
        (
            counters.base().page_fault_count.get(),
            counters.base().working_set_size.get()
        ),
        (0x1548, 0x8C_7000)
    );
    let Some(file) = dump("mdmp-x64-win11-dbghelp-sloac21-crash.dmp") else {
        return;
    };
    let counters: ProcessVmCounters = stream(&file);
    assert!(matches!(counters, ProcessVmCounters::V1(_)));
}

/// Reads a stream of each dump of the corpus, as far as it has one; damaged dumps only must not make it panic.
fn everywhere(read: impl Fn(&Minidump<'_>, &mut Findings)) {
    let Some(corpus) = corpus() else { return };
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let Ok(file) = std::fs::read(&path) else { continue };
        let Ok(dump) = Minidump::open(&file) else { continue };
        let mut findings = Findings::default();
        read(&dump, &mut findings);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("mdmp-") {
            assert!(findings.is_empty(), "{name}: {:?}", findings.as_slice());
        }
    }
}

#[test]
fn every_dump_of_windows_is_in_order() {
    everywhere(|dump, findings| {
        let _ = dump.get::<CommentW>(findings);
        let _ = dump.get::<TokenList<'_>>(findings);
        let _ = dump.get::<HandleData>(findings);
        let _ = dump.get::<UnloadedModuleList>(findings);
        let _ = dump.get::<ThreadNames>(findings);
        let _ = dump.get::<SystemMemoryInfo>(findings);
        let _ = dump.get::<ProcessVmCounters>(findings);
        let _ = dump.get::<ThreadInfoList<'_>>(findings);
        let _ = dump.get::<MemoryInfoList<'_>>(findings);
        let _ = dump.get::<MiscInfo>(findings);
    });
}
