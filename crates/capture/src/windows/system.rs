//! The processor and the system.

use dotdump_format::minidump::system_info::{PlatformId, ProcessorArchitecture, SystemInfo};
use windows_sys::Win32::System::SystemInformation::{GetNativeSystemInfo, OSVERSIONINFOEXW, SYSTEM_INFO};
#[cfg(not(target_arch = "x86"))]
use windows_sys::Win32::System::Threading::IsProcessorFeaturePresent;

use super::native::functions;

/// The processor for which this is built, and with it the processes that it captures.
pub(super) const ARCHITECTURE: ProcessorArchitecture = if cfg!(target_arch = "x86_64") {
    ProcessorArchitecture::AMD64
} else if cfg!(target_arch = "aarch64") {
    ProcessorArchitecture::ARM64
} else {
    ProcessorArchitecture::X86
};

/// What the dump says of processor and system, and the service pack's name.
pub(super) fn system_info() -> (SystemInfo, Vec<u16>) {
    let mut native = SYSTEM_INFO::default();
    // SAFETY: the record is written in place.
    unsafe { GetNativeSystemInfo(&raw mut native) };
    let mut info = SystemInfo {
        processor_architecture: ARCHITECTURE.0.into(),
        processor_level: native.wProcessorLevel.into(),
        processor_revision: native.wProcessorRevision.into(),
        number_of_processors: u8::try_from(native.dwNumberOfProcessors).unwrap_or(u8::MAX),
        platform_id: PlatformId::WIN32_NT.0.into(),
        cpu: processor(),
        ..SystemInfo::default()
    };
    let mut service_pack = Vec::new();
    let mut version = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).unwrap_or(0),
        ..OSVERSIONINFOEXW::default()
    };
    if let Some(get) = functions().get_version {
        // SAFETY: the record tells its size, and is written in place.
        if unsafe { get((&raw mut version).cast()) } >= 0 {
            info.major_version = version.dwMajorVersion.into();
            info.minor_version = version.dwMinorVersion.into();
            info.build_number = version.dwBuildNumber.into();
            info.platform_id = version.dwPlatformId.into();
            info.suite_mask = version.wSuiteMask.into();
            info.product_type = version.wProductType;
            service_pack = version.szCSDVersion.into_iter().take_while(|unit| *unit != 0).collect();
        }
    }
    (info, service_pack)
}

/// The processor's features: of x86 what CPUID tells, of others the bits of `IsProcessorFeaturePresent`.
#[cfg(not(target_arch = "x86"))]
fn processor() -> [u8; 24] {
    let mut features = 0_u64;
    for feature in 0..u64::BITS {
        // SAFETY: the function takes any number.
        if unsafe { IsProcessorFeaturePresent(feature) } != 0 {
            features |= 1 << feature;
        }
    }
    let mut cpu = [0; 24];
    cpu[..8].copy_from_slice(&features.to_le_bytes());
    cpu
}

/// The processor's features: the maker's name, version and features of CPUID 1, and of AMD the extended features.
#[cfg(target_arch = "x86")]
fn processor() -> [u8; 24] {
    use std::arch::x86::__cpuid;

    // Every processor that runs a supported Windows has the instruction.
    let (maker, version) = (__cpuid(0), __cpuid(1));
    let is_amd = [maker.ebx, maker.edx, maker.ecx] == [0x6874_7541, 0x6974_6E65, 0x444D_4163];
    let extended = if is_amd { __cpuid(0x8000_0001).edx } else { 0 };
    let words = [maker.ebx, maker.edx, maker.ecx, version.eax, version.edx, extended];
    let mut cpu = [0; 24];
    for (place, word) in cpu.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    cpu
}
