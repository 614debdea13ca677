//! The processor and the system, of the kernel's texts.

use dotdump_format::minidump::StreamType;
use dotdump_format::minidump::linux_auxv::{AuxvType, WordSize};
use dotdump_format::minidump::linux_text::LinuxCpuInfo;
use dotdump_format::minidump::system_info::{PlatformId, SystemInfo};

use super::auxv::Auxv;
use super::facts::{LinuxArchitecture, LinuxFacts};

/// The flags of `/proc/cpuinfo` by their bits in EDX of CPUID leaf 1 (`arch/x86/kernel/cpu/capflags.c`).
const FEATURES: [(u32, &str); 30] = [
    (0, "fpu"),
    (1, "vme"),
    (2, "de"),
    (3, "pse"),
    (4, "tsc"),
    (5, "msr"),
    (6, "pae"),
    (7, "mce"),
    (8, "cx8"),
    (9, "apic"),
    (11, "sep"),
    (12, "mtrr"),
    (13, "pge"),
    (14, "mca"),
    (15, "cmov"),
    (16, "pat"),
    (17, "pse36"),
    (18, "pn"),
    (19, "clflush"),
    (21, "dts"),
    (22, "acpi"),
    (23, "mmx"),
    (24, "fxsr"),
    (25, "sse"),
    (26, "sse2"),
    (27, "ss"),
    (28, "ht"),
    (29, "tm"),
    (30, "ia64"),
    (31, "pbe"),
];

/// The same for EDX of leaf 0x80000001, whose other bits repeat those of leaf 1 on processors of AMD.
const AMD_FEATURES: [(u32, &str); 10] = [
    (11, "syscall"),
    (19, "mp"),
    (20, "nx"),
    (22, "mmxext"),
    (25, "fxsr_opt"),
    (26, "pdpe1gb"),
    (27, "rdtscp"),
    (29, "lm"),
    (30, "3dnowext"),
    (31, "3dnow"),
];

/// The SystemInfo of a Linux process. The text of its `CSDVersion` is [`LinuxFacts::system`]'s name.
pub(super) fn system_info(facts: &LinuxFacts) -> SystemInfo {
    let mut info = SystemInfo {
        processor_architecture: facts.architecture.to_minidump().0.into(),
        platform_id: PlatformId::LINUX.0.into(),
        ..SystemInfo::default()
    };
    let text = facts
        .texts
        .iter()
        .find(|(stream_type, _)| *stream_type == StreamType::LINUX_CPU_INFO);
    let cpu = LinuxCpuInfo::new(text.map_or(&[][..], |(_, text)| text));
    let processors = match facts.system.processors {
        0 => cpu.pairs().filter(|(key, _)| *key == b"processor").count(),
        online => usize::try_from(online).unwrap_or(usize::MAX),
    };
    info.number_of_processors = u8::try_from(processors).unwrap_or(u8::MAX);
    match facts.architecture {
        LinuxArchitecture::X86 | LinuxArchitecture::Amd64 => x86(&cpu, &mut info),
        LinuxArchitecture::Arm64 => arm64(facts, &cpu, &mut info),
    }
    info
}

/// The number that `key` has, decimal or after `0x` hexadecimal.
fn number(cpu: &LinuxCpuInfo<'_>, key: &str) -> Option<u32> {
    let value = core::str::from_utf8(cpu.value(key)?).ok()?;
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

fn low_16(value: u32) -> u16 {
    u16::try_from(value & 0xFFFF).unwrap_or(0)
}

/// The form of x86, which Breakpad's writers use for x86-64 as well.
fn x86(cpu: &LinuxCpuInfo<'_>, info: &mut SystemInfo) {
    let family = number(cpu, "cpu family");
    let model = number(cpu, "model").unwrap_or(0);
    let stepping = number(cpu, "stepping").unwrap_or(0);
    let Some(family) = family else { return };
    info.processor_level = low_16(family).into();
    info.processor_revision = low_16(model << 8 | stepping & 0xFF).into();
    let vendor = cpu.value("vendor_id").unwrap_or_default();
    let length = vendor.len().min(12);
    info.cpu[..length].copy_from_slice(&vendor[..length]);
    // EAX of CPUID leaf 1: what does not fit the first fields goes to the extended ones.
    let version = stepping & 0xF
        | (model & 0xF) << 4
        | family.min(0xF) << 8
        | (model >> 4 & 0xF) << 16
        | (family.saturating_sub(0xF) & 0xFF) << 20;
    let flags: Vec<&[u8]> = cpu
        .value("flags")
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .collect();
    let bits = |table: &[(u32, &str)]| {
        let set = table.iter().filter(|(_, name)| flags.contains(&name.as_bytes()));
        set.fold(0, |bits, (bit, _)| bits | 1_u32 << bit)
    };
    let amd_features = if vendor == b"AuthenticAMD" {
        bits(&AMD_FEATURES)
    } else {
        0
    };
    for (at, word) in [(12, version), (16, bits(&FEATURES)), (20, amd_features)] {
        info.cpu[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// Breakpad's form for ARM: the identification register, and the features.
fn arm64(facts: &LinuxFacts, cpu: &LinuxCpuInfo<'_>, info: &mut SystemInfo) {
    let field = |key, bits: u32| number(cpu, key).unwrap_or(0) & ((1 << bits) - 1);
    let part = field("CPU part", 12);
    let (variant, revision) = (field("CPU variant", 4), field("CPU revision", 4));
    // MIDR_EL1; an architecture of 0xF says that other registers tell.
    let id = field("CPU implementer", 8) << 24 | variant << 20 | 0xF << 16 | part << 4 | revision;
    info.processor_level = low_16(number(cpu, "CPU architecture").unwrap_or(8)).into();
    info.processor_revision = low_16(variant << 8 | revision).into();
    let auxv = Auxv::parse(&facts.auxv, WordSize::Eight);
    let features = auxv.value(AuxvType::HWCAP).unwrap_or(0) & u64::from(u32::MAX);
    let id = if cpu.value("CPU implementer").is_some() { id } else { 0 };
    info.cpu[..4].copy_from_slice(&id.to_le_bytes());
    info.cpu[4..8].copy_from_slice(&u32::try_from(features).unwrap_or(0).to_le_bytes());
}
