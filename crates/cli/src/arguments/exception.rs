//! The options that name the exception to store: addresses and a thread of the target.

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches};
use dotdump_format::VirtAddr;
use dotdump_transcode::exception::ExceptionRequest;
use dotdump_transcode::options::table::Argument;

/// `--signal-info`, which WinDbg has no option for.
pub(super) fn signal_info() -> Arg {
    address(Arg::new(SIGNAL_INFO).long(SIGNAL_INFO))
        .help("Address of a siginfo_t in a Linux process: store this signal as the exception (the same as -xr there)")
}

const SIGNAL_INFO: &str = "signal-info";

/// Gives an option an address as its value.
pub(super) fn address(argument: Arg) -> Arg {
    argument
        .value_name(Argument::Address.next_word().unwrap_or_default())
        .value_parser(parse_address)
}

/// Gives an option a thread as its value.
pub(super) fn thread(argument: Arg) -> Arg {
    argument
        .value_name(Argument::Thread.next_word().unwrap_or_default())
        .value_parser(parse_thread)
}

/// The exception that the options ask for.
pub(super) fn request(matches: &ArgMatches) -> Result<ExceptionRequest, clap::Error> {
    let address = |name| matches.get_one::<VirtAddr>(name).copied();
    let request = ExceptionRequest {
        jit_debug_info: address("jit-debug-info"),
        context: address("context"),
        record: address("exception-record"),
        pointers: address("exception-pointers"),
        thread: matches.get_one("exception-thread").copied(),
        signal_info: address(SIGNAL_INFO),
    };
    request
        .check()
        .map_err(|error| clap::Error::raw(ErrorKind::ArgumentConflict, error))?;
    Ok(request)
}

/// An address as debuggers print it: hexadecimal, with `0x` or without, halves perhaps apart (``00007ff6`12345678``).
fn parse_address(text: &str) -> Result<VirtAddr, String> {
    let digits = hexadecimal(text).unwrap_or(text).replace('`', "");
    let address = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = address.then(|| u64::from_str_radix(&digits, 16).ok()).flatten();
    address
        .map(VirtAddr)
        .ok_or_else(|| "an address is up to 16 hexadecimal digits, with 0x in front or without".to_owned())
}

/// A thread's id: decimal, or hexadecimal with `0x`.
fn parse_thread(text: &str) -> Result<u32, String> {
    let (digits, radix) = hexadecimal(text).map_or((text, 10), |digits| (digits, 16));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
        .ok_or_else(|| "a thread's id is a decimal number, or a hexadecimal one with 0x in front".to_owned())
}

/// The digits after `0x`.
fn hexadecimal(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_debuggers_print_them() {
        for text in ["7ff612345678", "0x7ff612345678", "0X7FF612345678", "00007ff6`12345678"] {
            assert_eq!(parse_address(text), Ok(VirtAddr(0x7FF6_1234_5678)), "{text}");
        }
        // Without 0x as well it is hexadecimal, as in WinDbg.
        assert_eq!(parse_address("10"), Ok(VirtAddr(16)));
        assert_eq!(parse_address("ffffffff`ffffffff"), Ok(VirtAddr(u64::MAX)));
        for text in ["", "0x", "`", "-1", "+1", "0x0x1", "g", "1ffffffffffffffff", "@rsp"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn threads_are_decimal_or_hexadecimal() {
        assert_eq!((parse_thread("4711"), parse_thread("0x1267")), (Ok(4711), Ok(4711)));
        for text in ["", "0x", "12ab", "-1", "+1", "4294967296"] {
            assert!(parse_thread(text).is_err(), "{text}");
        }
    }
}
