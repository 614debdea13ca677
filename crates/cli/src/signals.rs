//! Signals that end the program, and what is cleaned up before.

use std::io;
use std::sync::{Mutex, PoisonError};

use dotdump_transcode::sink::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// From now on the first such signal asks to stop, so that a temporary file is removed on the way out. A second
/// one ends the program at once: it may hang in a system call. Where nothing needs to be removed this is better
/// left away, for then the first signal already ends the program. A second call gives the same request again.
pub(crate) fn install() -> io::Result<Cancel> {
    static INSTALLED: Mutex<Option<Cancel>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cancel) = &*installed {
        return Ok(cancel.clone());
    }
    let cancel = Cancel::new();
    for &signal in SIGNALS.iter().filter(|&&signal| !is_ignored(signal)) {
        // Actions run in this order: the flag is not set yet when the first signal looks at it.
        flag::register_conditional_shutdown(signal, 1, cancel.flag())?;
        flag::register(signal, cancel.flag())?;
    }
    *installed = Some(cancel.clone());
    Ok(cancel)
}

/// Whether who started the program had the signal ignored, as `nohup` does. It must stay so.
fn is_ignored(signal: i32) -> bool {
    // Other systems do not tell without a system call for which there is no safe function.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|mask| mask & 1 == 1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_signal_asks_to_stop() {
        let cancel = install().expect("handlers");
        assert!(!cancel.is_cancelled());
        signal_hook::low_level::raise(SIGTERM).expect("a signal");
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn ignored_signals_are_known() {
        // The runtime of every Rust program ignores this one.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(signal_hook::consts::SIGSEGV));
    }
}
