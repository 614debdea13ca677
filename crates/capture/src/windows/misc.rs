//! Ids, times, and what else `MiscInfo` holds of a process.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};

use dotdump_format::minidump::context::xstate::XStateConfig;
use dotdump_format::minidump::misc_info::{MiscInfo, MiscInfoFlags, MiscInfoRecord, SystemTime, TimeZoneInformation};
use dotdump_format::time::filetime_to_unix;
use windows_sys::Win32::Foundation::{FILETIME, SYSTEMTIME};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::Threading::GetProcessTimes;
use windows_sys::Win32::System::Time::{GetTimeZoneInformation, TIME_ZONE_INFORMATION};
use zerocopy::byteorder::little_endian::U16;

use super::native::{Plain, check, functions, missing, process_information, raw};
use super::system::ARCHITECTURE;
use super::threads::ticks;

/// `ProcessExecuteFlags`.
const EXECUTE_FLAGS: u32 = 34;
/// `ProcessProtectionInformation`.
const PROTECTION: u32 = 61;
/// `ProcessCookie`.
const COOKIE: u32 = 36;
/// `ProcessorInformation` of power information.
const PROCESSOR_POWER: u32 = 11;
/// Times of the system in one second.
const TICKS: u64 = 10_000_000;
/// `TIME_ZONE_ID_INVALID`.
const NO_TIME_ZONE: u32 = u32::MAX;

// SAFETY: a number.
unsafe impl Plain for u8 {}

/// What does not change while the process runs.
pub(super) fn lasting(process: &OwnedHandle, id: u32, integrity: Option<u32>) -> MiscInfoRecord {
    let mut record = MiscInfoRecord {
        process_id: id.into(),
        ..MiscInfoRecord::default()
    };
    let mut flags = MiscInfoFlags::PROCESS_ID;
    if let Ok([max, current, limit, max_idle, current_idle]) = processor_power() {
        flags |= MiscInfoFlags::PROCESSOR_POWER_INFO;
        record.processor_max_mhz = max.into();
        record.processor_current_mhz = current.into();
        record.processor_mhz_limit = limit.into();
        record.processor_max_idle_state = max_idle.into();
        record.processor_current_idle_state = current_idle.into();
    }
    if let Some(integrity) = integrity {
        flags |= MiscInfoFlags::PROCESS_INTEGRITY;
        record.process_integrity_level = integrity.into();
    }
    if let Ok(execute) = process_information::<u32>(process.as_handle(), EXECUTE_FLAGS) {
        flags |= MiscInfoFlags::PROCESS_EXECUTE_FLAGS;
        record.process_execute_flags = execute.into();
    }
    if let Ok(protection) = process_information::<u8>(process.as_handle(), PROTECTION) {
        flags |= MiscInfoFlags::PROTECTED_PROCESS;
        record.protected_process = u32::from(protection != 0).into();
    }
    if let Ok(cookie) = process_information::<u32>(process.as_handle(), COOKIE) {
        flags |= MiscInfoFlags::PROCESS_COOKIE;
        record.process_cookie = cookie.into();
    }
    if let Some((id, zone)) = time_zone() {
        flags |= MiscInfoFlags::TIMEZONE;
        record.time_zone_id = id.into();
        record.time_zone = zone;
    }
    flags |= MiscInfoFlags::BUILDSTRING;
    if let Some(build) = build_string() {
        fill(&mut record.build_string, &build);
    }
    let writer = format!(
        "dotdump.{},{}",
        ARCHITECTURE.name().unwrap_or_default(),
        env!("CARGO_PKG_VERSION")
    );
    fill(&mut record.dbg_bld_str, &writer.encode_utf16().collect::<Vec<_>>());
    record.flags1 = flags.bits().into();
    record
}

/// All of it, with the times of this moment.
pub(super) fn misc_info(process: &OwnedHandle, mut record: MiscInfoRecord, xstate: Option<XStateConfig>) -> MiscInfo {
    let [mut create, mut exit, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, and the times are written in place.
    let timed = unsafe {
        GetProcessTimes(
            raw(process.as_handle()),
            &raw mut create,
            &raw mut exit,
            &raw mut kernel,
            &raw mut user,
        )
    };
    if timed != 0 {
        let seconds = |time: FILETIME| u32::try_from(ticks(time) / TICKS).unwrap_or(u32::MAX);
        let created = filetime_to_unix(ticks(create)).and_then(|time| u32::try_from(time).ok());
        record.process_create_time = created.unwrap_or(0).into();
        record.process_user_time = seconds(user).into();
        record.process_kernel_time = seconds(kernel).into();
        record.flags1 = (record.flags1.get() | MiscInfoFlags::PROCESS_TIMES.bits()).into();
    }
    record.xstate_data = xstate.unwrap_or_default();
    MiscInfo::new(record)
}

fn fill(place: &mut [U16], text: &[u16]) {
    // The last one stays NUL.
    let room = place.len().saturating_sub(1);
    for (place, unit) in place.iter_mut().take(room).zip(text) {
        *place = (*unit).into();
    }
}

/// Of the first processor: its highest, its current and its allowed frequency, its deepest and its current idle state.
fn processor_power() -> io::Result<[u32; 5]> {
    /// `PROCESSOR_POWER_INFORMATION`, in words: its number, and the five of above.
    const WORDS: usize = 6;
    /// More processors than any machine has.
    const MOST: usize = 2048;

    let query = functions().power_information.ok_or_else(missing)?;
    let mut words = vec![0_u32; WORDS * MOST];
    let size = u32::try_from(size_of_val(words.as_slice())).map_err(io::Error::other)?;
    // SAFETY: nothing is passed in, and the buffer is as large as it says.
    check(unsafe { query(PROCESSOR_POWER, std::ptr::null(), 0, words.as_mut_ptr().cast(), size) })?;
    words[1..]
        .first_chunk()
        .copied()
        .ok_or_else(|| io::Error::other("no processor"))
}

fn time_zone() -> Option<(u32, TimeZoneInformation)> {
    let mut zone = TIME_ZONE_INFORMATION::default();
    // SAFETY: the record is written in place.
    let id = unsafe { GetTimeZoneInformation(&raw mut zone) };
    let date = |date: SYSTEMTIME| SystemTime {
        year: date.wYear.into(),
        month: date.wMonth.into(),
        day_of_week: date.wDayOfWeek.into(),
        day: date.wDay.into(),
        hour: date.wHour.into(),
        minute: date.wMinute.into(),
        second: date.wSecond.into(),
        milliseconds: date.wMilliseconds.into(),
    };
    (id != NO_TIME_ZONE).then(|| {
        let zone = TimeZoneInformation {
            bias: zone.Bias.into(),
            standard_name: zone.StandardName.map(U16::new),
            standard_date: date(zone.StandardDate),
            standard_bias: zone.StandardBias.into(),
            daylight_name: zone.DaylightName.map(U16::new),
            daylight_date: date(zone.DaylightDate),
            daylight_bias: zone.DaylightBias.into(),
        };
        (id, zone)
    })
}

/// The system's build, such as `19041.1.amd64fre.vb_release.191206-1406`.
fn build_string() -> Option<Vec<u16>> {
    let wide = |text: &str| text.encode_utf16().chain([0]).collect::<Vec<u16>>();
    let key = wide(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion");
    ["BuildLabEx", "BuildLab", "CurrentBuild"].into_iter().find_map(|name| {
        let name = wide(name);
        let mut text = [0_u16; 260];
        let mut size = u32::try_from(size_of_val(&text)).ok()?;
        // SAFETY: the names end with NUL, and the buffer is as large as it says.
        let status = unsafe {
            RegGetValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                name.as_ptr(),
                RRF_RT_REG_SZ,
                std::ptr::null_mut(),
                text.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let text = text.split(|unit| *unit == 0).next().unwrap_or_default();
        (status == 0 && !text.is_empty()).then(|| text.to_vec())
    })
}
