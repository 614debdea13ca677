//! What an exception record says, for each operating system.

use dotdump_format::minidump::exception::ExceptionStream;
use dotdump_format::minidump::system_info::PlatformId;

use super::statuses::{fast_fail, mach_code, mach_exception, ntstatus, signal, signal_code};

/// What an exception record says.
pub(super) struct Described {
    /// The name of the code, where it has one.
    pub(super) name: Option<&'static str>,
    /// More about it, such as `writing address 0x18`.
    pub(super) detail: Option<String>,
    /// The address that the crash is about: of the data that could not be accessed, else of the exception.
    pub(super) crash_address: u64,
}

/// `EXCEPTION_ACCESS_VIOLATION` and `EXCEPTION_IN_PAGE_ERROR` tell the address in their second parameter.
const WITH_ADDRESS: [u32; 2] = [0xC000_0005, 0xC000_0006];

/// Describes a record of a dump of this system. `mask` has the bits of an address.
pub(super) fn describe(record: &ExceptionStream, platform: Option<PlatformId>, mask: u64) -> Described {
    let (code, flags) = (record.exception_code.get(), record.exception_flags.get());
    let address = record.exception_address.get() & mask;
    match platform {
        Some(platform) if platform.is_linux() => Described {
            name: signal(code),
            detail: detail(signal_code(code, flags), matches!(code, 4 | 7 | 8 | 11), address),
            crash_address: address,
        },
        Some(PlatformId::MACOS | PlatformId::IOS) => Described {
            name: mach_exception(code),
            detail: detail(mach_code(code, flags), code == 1, address),
            crash_address: address,
        },
        _ => windows(record, address, mask),
    }
}

/// The second code, and the address where it means something.
fn detail(code: Option<&str>, has_address: bool, address: u64) -> Option<String> {
    match (code, has_address) {
        (Some(code), true) => Some(format!("{code}, address {address:#x}")),
        (Some(code), false) => Some(code.to_owned()),
        (None, true) => Some(format!("address {address:#x}")),
        (None, false) => None,
    }
}

fn windows(record: &ExceptionStream, address: u64, mask: u64) -> Described {
    let code = record.exception_code.get();
    let mut parameters = record.parameters();
    let (first, second) = (parameters.next(), parameters.next());
    let access = WITH_ADDRESS.contains(&code).then_some(first.zip(second)).flatten();
    let detail = match (access, first) {
        (Some((kind, at)), _) => {
            let verb = match kind {
                0 => "reading",
                1 => "writing",
                8 => "executing",
                _ => "accessing",
            };
            Some(format!("{verb} address {:#x}", at & mask))
        }
        (None, Some(reason)) if code == 0xC000_0409 => Some(match fast_fail(reason) {
            Some(name) => format!("fast fail {reason} {name}"),
            None => format!("fast fail {reason}"),
        }),
        _ => None,
    };
    Described {
        name: ntstatus(code),
        detail,
        crash_address: access.map_or(address, |(_, at)| at & mask),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(code: u32, flags: u32, parameters: &[u64]) -> ExceptionStream {
        let mut record = ExceptionStream {
            exception_code: code.into(),
            exception_flags: flags.into(),
            exception_address: 0x1234.into(),
            number_parameters: u32::try_from(parameters.len()).unwrap().into(),
            ..Default::default()
        };
        for (field, value) in record.exception_information.iter_mut().zip(parameters) {
            field.set(*value);
        }
        record
    }

    fn told(record: &ExceptionStream, platform: PlatformId) -> String {
        let told = describe(record, Some(platform), u64::from(u32::MAX));
        format!(
            "{} {} {:#x}",
            told.name.unwrap_or("-"),
            told.detail.unwrap_or_default(),
            told.crash_address
        )
    }

    #[test]
    fn records_of_each_system() {
        let windows = PlatformId::WIN32_NT;
        assert_eq!(
            told(&record(0xC000_0005, 0, &[1, 0xFFFF_FFFF_8000_0018]), windows),
            "ACCESS_VIOLATION writing address 0x80000018 0x80000018"
        );
        assert_eq!(
            told(&record(0xC000_0005, 0, &[1]), windows),
            "ACCESS_VIOLATION  0x1234",
            "an address that is not there"
        );
        assert_eq!(
            told(&record(0xC000_0409, 1, &[7]), windows),
            "STACK_BUFFER_OVERRUN fast fail 7 FATAL_APP_EXIT 0x1234"
        );
        assert_eq!(told(&record(0x1111, 1, &[]), windows), "-  0x1234");
        assert_eq!(
            told(&record(11, 1, &[]), PlatformId::LINUX),
            "SIGSEGV SEGV_MAPERR, address 0x1234 0x1234"
        );
        assert_eq!(
            told(&record(1, 13, &[]), PlatformId::MACOS),
            "EXC_BAD_ACCESS EXC_I386_GPFLT, address 0x1234 0x1234"
        );
        assert_eq!(
            told(&record(u32::MAX, 0, &[]), PlatformId::ANDROID),
            "dump requested SI_USER 0x1234"
        );
    }
}
