//! The memory that `-mi`, `-md` and `-mp` choose, against dumps that WinDbg's engine and dbghelp wrote with the same
//! options (the flags in their headers tell). A rule that wants too little misses bytes that such a dump has; one that
//! wants too much asks for bytes that it does not have.
//!
//! The source is the reference as well, so memory beyond the rules shows only where a map of the address space tells what
//! the writer could have taken. Where a dump is matched but for some bytes, their number is what was found, so that a
//! change shows, and the reason that is given for them is a guess.

use dotdump_tests::minidump::Dump;
use dotdump_tests::places::corpus_file;
use dotdump_tests::program::convert_well;

/// What a conversion with the writer's own options gives.
#[derive(Debug, PartialEq, Eq)]
struct Agreement {
    /// Bytes of memory that the writer stored.
    theirs: u64,
    /// Of these, the ones that we leave out.
    missing: u64,
    /// Bytes of process and thread data that we look for in vain.
    absent_process_data: u64,
    /// Bytes that stacks point to and that we look for in vain. Without a map of the address space there is nothing to
    /// look for beyond what was captured.
    absent_indirect: u64,
}

fn agreement(part: &str, options: &str) -> Option<Agreement> {
    let source = corpus_file(part)?;
    let folder = tempfile::tempdir().expect("a folder");
    let (output, report) = (folder.path().join("output.dmp"), folder.path().join("report.json"));
    let report_path = report.to_str().expect("a path");
    convert_well(
        &source,
        &output,
        &[options, "--no-manifest", "-q", "--report", report_path],
    );
    let (theirs, ours) = (Dump::open(&source).addresses(), Dump::open(&output).addresses());
    assert_eq!(
        ours.without(&theirs).as_slice(),
        [],
        "{part}: memory that was never there"
    );
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).expect("a report")).expect("a JSON document");
    let absent = |name: &str| {
        let classes = report["written"]["memory_by_class"].as_array().into_iter().flatten();
        let mut class = classes.filter(|class| class["class"] == name);
        class.next().and_then(|class| class["absent"].as_u64()).unwrap_or(0)
    };
    Some(Agreement {
        theirs: theirs.bytes(),
        missing: theirs.without(&ours).bytes(),
        absent_process_data: absent("process-thread-data"),
        absent_indirect: absent("indirect"),
    })
}

fn agrees(part: &str, options: &str, expected: &Agreement) {
    if let Some(found) = agreement(part, options) {
        assert_eq!(found, *expected, "{part} {options}");
    }
}

const fn exact(theirs: u64) -> Agreement {
    Agreement {
        theirs,
        missing: 0,
        absent_process_data: 0,
        absent_indirect: 0,
    }
}

/// A debugger wrote it (0x40041) while the whole process stood still: nothing may differ. What it has of its modules is
/// taken as their data segments, because it has neither their headers nor a map of the address space: that part proves
/// nothing about the rule for headers, the windows around pointers do.
#[test]
fn data_segments_and_indirect_memory_of_a_debugger_are_the_same_bit_for_bit() {
    agrees("greemate", "-mdi", &exact(681_874));
}

/// The ranges that the reference worked out by hand for that dump.
#[test]
fn pointers_of_a_debuggers_dump_lead_to_the_known_ranges() {
    let Some(source) = corpus_file("greemate") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("i.dmp");
    convert_well(&source, &output, &["-mi", "-q"]);
    let ranges = Dump::open(&output).addresses();
    for (start, size) in [
        (0x233_0F79_08C0, 0x400),
        (0x76_E056_4000, 0x690),
        (0x76_E056_B000, 0x300),
        (0x76_E030_EB10, 0x14F0),
    ] {
        assert!(ranges.as_slice().contains(&(start, start + size)), "{start:#x}");
    }
}

#[test]
fn without_options_a_debuggers_dump_keeps_stacks_and_code_around_instruction_pointers() {
    let Some(source) = corpus_file("greemate") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("m.dmp");
    convert_well(&source, &output, &["-m", "-q"]);
    // From the stack pointers in the contexts to the bases, and 128 bytes on both sides of three instruction
    // pointers: the thread that crashed and its exception have the same.
    let expected = [
        (0x76_E030_EB60, 0x76_E031_0000),
        (0x76_E08F_FAC8, 0x76_E090_0000),
        (0x76_E09F_F8A8, 0x76_E0A0_0000),
        (0x7FF7_D2A5_8EB6, 0x7FF7_D2A5_8FB6),
        (0x7FFD_6796_EFC0, 0x7FFD_6796_F0C0),
        (0x7FFD_679A_3B54, 0x7FFD_679A_3C54),
    ];
    assert_eq!(Dump::open(&output).addresses().as_slice(), expected);
}

/// dbghelp in the program itself, with 0x100, 0x120 and 0x21934.
#[test]
fn process_and_thread_data_of_dbghelp_are_the_same_bit_for_bit() {
    agrees("tiny-exe-fastfail", "-mp", &exact(85_224));
    agrees("airbus-seclab-windows", "-mp", &exact(202_554));
    agrees("mwhax7", "-mp", &exact(168_632));
}

/// 25 bytes lie in `syzyasan_rtl.dll`: it seems that the program that crashed asked for them itself.
#[test]
fn process_and_thread_data_of_windows_7_are_the_same_but_for_what_the_program_added() {
    agrees(
        "use-after-free",
        "-mp",
        &Agreement {
            missing: 25,
            ..exact(284_922)
        },
    );
}

/// It seems that the program that crashed (`renderdoc.dll`) added three blocks of its own (272, 16,432 and 920 bytes).
#[test]
fn indirect_memory_of_dbghelp_is_the_same_but_for_what_the_program_added() {
    agrees(
        "zphixon",
        "-mi",
        &Agreement {
            missing: 272 + 16_432 + 920,
            ..exact(199_308)
        },
    );
}

/// Programs that dump themselves. What is missing is whole windows, 256 bytes before and 768 after a pointer: it seems
/// that the stack of the thread that writes changes between the search for pointers and its own capture.
#[test]
fn indirect_memory_of_programs_that_dump_themselves_differs_by_the_writers_own_stack() {
    agrees(
        "bradfitz66",
        "-mi",
        &Agreement {
            missing: 20_831,
            ..exact(684_126)
        },
    );
    agrees(
        "synthesisthirty",
        "-mi",
        &Agreement {
            missing: 29_113,
            ..exact(370_373)
        },
    );
}

/// 174 KB that no stack points to: it seems that the .NET runtime in that process adds what a debugger of managed code
/// needs.
#[test]
fn indirect_memory_of_a_managed_program_differs_by_what_the_runtime_added() {
    agrees(
        "sloac21",
        "-mi",
        &Agreement {
            missing: 173_933,
            ..exact(1_021_715)
        },
    );
}

/// Firefox, by its crash reporter (0x960): it seems that other threads ran on while it was dumped, and that the crash
/// reporter adds memory. The map of the address space says that the rest of the missing 32 KiB of fiber-local storage of one thread
/// is there, but the writer could not read it.
#[test]
fn a_browsers_dumps_agree_in_all_but_one_percent() {
    agrees(
        "services-windows-x86_64",
        "-mip",
        &Agreement {
            theirs: 3_549_266,
            missing: 28_055,
            absent_process_data: 29_072,
            absent_indirect: 11_549,
        },
    );
    agrees(
        "services-windows-aarch64",
        "-mip",
        &Agreement {
            theirs: 8_474_147,
            missing: 16_980,
            absent_process_data: 0,
            absent_indirect: 41_620,
        },
    );
}
