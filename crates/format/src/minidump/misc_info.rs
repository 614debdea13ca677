//! `MiscInfoStream` (15): process id and times, processor speed, time zone, build strings. It grew over the years.

use alloc::string::String;

use zerocopy::byteorder::little_endian::{I32, U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use super::context::xstate::XStateConfig;
use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::{Layout, count};
use crate::record::{Record, record};

/// The size of `MINIDUMP_MISC_INFO`, in bytes.
pub const SIZE_1: usize = 24;
/// The size of `MINIDUMP_MISC_INFO_2`, in bytes.
pub const SIZE_2: usize = 44;
/// The size of `MINIDUMP_MISC_INFO_3`, in bytes.
pub const SIZE_3: usize = 232;
/// The size of `MINIDUMP_MISC_INFO_4`, in bytes.
pub const SIZE_4: usize = 832;
/// The size of `MINIDUMP_MISC_INFO_5`, in bytes.
pub const SIZE_5: usize = 1364;

record! {
    /// `SYSTEMTIME` (`minwinbase.h`), 16 bytes. In a time zone with year 0: a rule such as "the last Sunday in March".
    pub struct SystemTime[16] {
        /// Year; 0 in a rule.
        pub year: U16,
        /// Month, 1 to 12; 0 where there is no date.
        pub month: U16,
        /// Day of the week, 0 is Sunday.
        pub day_of_week: U16,
        /// Day of the month; in a rule: 1 to 5, which of the month's such days, 5 the last.
        pub day: U16,
        /// Hour.
        pub hour: U16,
        /// Minute.
        pub minute: U16,
        /// Second.
        pub second: U16,
        /// Millisecond.
        pub milliseconds: U16,
    }

    /// `TIME_ZONE_INFORMATION` (`timezoneapi.h`), 172 bytes.
    pub struct TimeZoneInformation[172] {
        /// UTC minus local time, in minutes.
        pub bias: I32,
        /// Name of the zone outside of daylight-saving time, NUL-terminated UTF-16.
        pub standard_name: [U16; 32],
        /// When daylight-saving time ends.
        pub standard_date: SystemTime,
        /// Minutes to add to the bias outside of daylight-saving time; mostly 0.
        pub standard_bias: I32,
        /// Name of the zone in daylight-saving time, NUL-terminated UTF-16.
        pub daylight_name: [U16; 32],
        /// When daylight-saving time starts.
        pub daylight_date: SystemTime,
        /// Minutes to add to the bias in daylight-saving time; mostly -60.
        pub daylight_bias: I32,
    }

    /// `MINIDUMP_MISC_INFO_5` (`minidumpapiset.h`), 1364 bytes. Its earlier versions are its first 24, 44, 232 and 832.
    pub struct MiscInfoRecord[1364] {
        /// The size of the record in bytes: which version it is.
        pub size_of_info: U32,
        /// [`MiscInfoFlags`].
        pub flags1: U32,
        /// The system's id of the process.
        pub process_id: U32,
        /// When it was started: `time_t`, seconds since 1970.
        pub process_create_time: U32,
        /// Time spent in the program, in seconds.
        pub process_user_time: U32,
        /// Time spent in the kernel, in seconds.
        pub process_kernel_time: U32,
        /// The processor's highest speed in MHz.
        pub processor_max_mhz: U32,
        /// The processor's speed in MHz. Crashpad writes it into the field before.
        pub processor_current_mhz: U32,
        /// The processor's speed limit in MHz.
        pub processor_mhz_limit: U32,
        /// The processor's deepest idle state.
        pub processor_max_idle_state: U32,
        /// The processor's idle state.
        pub processor_current_idle_state: U32,
        /// 0x1000 low, 0x2000 medium, 0x3000 high, 0x4000 system.
        pub process_integrity_level: U32,
        /// `MEM_EXECUTE_OPTION_*`.
        pub process_execute_flags: U32,
        /// Whether it is a protected process.
        pub protected_process: U32,
        /// 0 unknown, 1 standard time, 2 daylight-saving time.
        pub time_zone_id: U32,
        /// The time zone.
        pub time_zone: TimeZoneInformation,
        /// The build of the system, NUL-terminated UTF-16.
        pub build_string: [U16; 260],
        /// Name and version of the writer, NUL-terminated UTF-16.
        pub dbg_bld_str: [U16; 40],
        /// The extended states in the contexts.
        pub xstate_data: XStateConfig,
        /// The process's cookie, with which it encodes pointers.
        pub process_cookie: U32,
    }
}

bitflags::bitflags! {
    /// `MINIDUMP_MISC*` (`minidumpapiset.h`): which fields are valid. Bits without a name are kept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MiscInfoFlags: u32 {
        /// Process id.
        const PROCESS_ID = 0x1;
        /// Process times.
        const PROCESS_TIMES = 0x2;
        /// Speed and idle states of the processor.
        const PROCESSOR_POWER_INFO = 0x4;
        /// Integrity level.
        const PROCESS_INTEGRITY = 0x10;
        /// Execute flags.
        const PROCESS_EXECUTE_FLAGS = 0x20;
        /// Time zone.
        const TIMEZONE = 0x40;
        /// Whether the process is protected.
        const PROTECTED_PROCESS = 0x80;
        /// Build strings.
        const BUILDSTRING = 0x100;
        /// Process cookie.
        const PROCESS_COOKIE = 0x200;

        const _ = !0;
    }
}

/// A MiscInfoStream of any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MiscInfo {
    /// The record. What lies beyond [`MiscInfo::size`] is zero.
    pub record: MiscInfoRecord,
    size: usize,
}

impl Default for MiscInfo {
    /// The newest version, without anything valid in it.
    fn default() -> Self {
        Self::new(MiscInfoRecord::default())
    }
}

/// An accessor for a field that is valid where it lies within the record and its flag is set.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $flag:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Option<u32> {
                let end = core::mem::offset_of!(MiscInfoRecord, $name) + size_of::<U32>();
                self.has(MiscInfoFlags::$flag, end).then_some(self.record.$name.get())
            }
        )*
    };
}

/// UTF-16 up to its NUL, lone surrogates replaced.
fn text(units: &[U16]) -> String {
    char::decode_utf16(units.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

impl MiscInfo {
    /// The newest version.
    #[must_use]
    pub fn new(mut record: MiscInfoRecord) -> Self {
        record.size_of_info.set(u32::try_from(SIZE_5).unwrap_or(u32::MAX));
        Self { record, size: SIZE_5 }
    }

    /// The size of the record in the file, in bytes: at most [`SIZE_5`].
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The same as the newest version that is not above `size` bytes. New fields are zero, and those beyond it are lost.
    #[must_use]
    pub fn with_size(mut self, size: usize) -> Self {
        let versions = [SIZE_5, SIZE_4, SIZE_3, SIZE_2];
        self.size = versions.into_iter().find(|version| *version <= size).unwrap_or(SIZE_1);
        self.record.as_mut_bytes()[self.size..].zero();
        self.record
            .size_of_info
            .set(u32::try_from(self.size).unwrap_or(u32::MAX));
        self
    }

    /// Which fields are valid, as far as they lie within the record.
    #[must_use]
    pub const fn flags(&self) -> MiscInfoFlags {
        MiscInfoFlags::from_bits_retain(self.record.flags1.get())
    }

    /// Whether a field that ends at byte `end` is valid.
    const fn has(&self, flag: MiscInfoFlags, end: usize) -> bool {
        self.flags().contains(flag) && end <= self.size
    }

    fields! {
        /// The system's id of the process.
        process_id: PROCESS_ID;
        /// When it was started: seconds since 1970.
        process_create_time: PROCESS_TIMES;
        /// Time spent in the program, in seconds.
        process_user_time: PROCESS_TIMES;
        /// Time spent in the kernel, in seconds.
        process_kernel_time: PROCESS_TIMES;
        /// The processor's highest speed in MHz.
        processor_max_mhz: PROCESSOR_POWER_INFO;
        /// The processor's speed in MHz.
        processor_current_mhz: PROCESSOR_POWER_INFO;
        /// The processor's speed limit in MHz.
        processor_mhz_limit: PROCESSOR_POWER_INFO;
        /// The processor's deepest idle state.
        processor_max_idle_state: PROCESSOR_POWER_INFO;
        /// The processor's idle state.
        processor_current_idle_state: PROCESSOR_POWER_INFO;
        /// 0x1000 low, 0x2000 medium, 0x3000 high, 0x4000 system.
        process_integrity_level: PROCESS_INTEGRITY;
        /// `MEM_EXECUTE_OPTION_*`.
        process_execute_flags: PROCESS_EXECUTE_FLAGS;
        /// Whether it is a protected process.
        protected_process: PROTECTED_PROCESS;
        /// 0 unknown, 1 standard time, 2 daylight-saving time.
        time_zone_id: TIMEZONE;
        /// The process's cookie.
        process_cookie: PROCESS_COOKIE;
    }

    /// The time zone.
    #[must_use]
    pub fn time_zone(&self) -> Option<&TimeZoneInformation> {
        self.has(MiscInfoFlags::TIMEZONE, SIZE_3)
            .then_some(&self.record.time_zone)
    }

    /// The build of the system.
    #[must_use]
    pub fn build_string(&self) -> Option<String> {
        self.has(MiscInfoFlags::BUILDSTRING, SIZE_4)
            .then(|| text(&self.record.build_string))
    }

    /// Name and version of the writer.
    #[must_use]
    pub fn dbg_bld_str(&self) -> Option<String> {
        self.has(MiscInfoFlags::BUILDSTRING, SIZE_4)
            .then(|| text(&self.record.dbg_bld_str))
    }

    /// The extended states in the contexts; `None` where the contexts have none.
    #[must_use]
    pub fn xstate_data(&self) -> Option<&XStateConfig> {
        let end = core::mem::offset_of!(MiscInfoRecord, process_cookie);
        let there = self.size >= end && self.record.xstate_data.size_of_info.get() != 0;
        there.then_some(&self.record.xstate_data)
    }
}

impl TimeZoneInformation {
    /// Name of the zone outside of daylight-saving time.
    #[must_use]
    pub fn standard_name(&self) -> String {
        text(&self.standard_name)
    }

    /// Name of the zone in daylight-saving time.
    #[must_use]
    pub fn daylight_name(&self) -> String {
        text(&self.daylight_name)
    }
}

impl<'a> StreamContent<'a> for MiscInfo {
    const TYPE: StreamType = StreamType::MISC_INFO;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        const WHAT: &str = "MiscInfo.SizeOfInfo";
        let there = stream.size.min(SIZE_5 as u64);
        let bytes = stream.bytes_at(0, there.max(8))?;
        let head = MiscInfoRecord::read_partial(&bytes[..8], stream.endian);
        let stated = u64::from(head.size_of_info.get());
        // Some writers leave it zero; then the stream alone tells.
        let size = if stated < 8 || stated > stream.size {
            let size = stream.size;
            findings.add(
                stream.offset,
                WHAT,
                alloc::format!("{stated} in a stream of {size} bytes"),
            );
            bytes.len()
        } else {
            // Breakpad's record ends with padding, and newer ones may be longer.
            usize::try_from(stated).unwrap_or(SIZE_5).min(bytes.len())
        };
        let mut record = MiscInfoRecord::read_partial(&bytes[..size], stream.endian);
        record.size_of_info = count(size, WHAT)?.into();
        Ok(Self { record, size })
    }
}

impl WriteStream for MiscInfo {
    fn stream_type(&self) -> StreamType {
        Self::TYPE
    }

    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        let mut record = self.record;
        record.size_of_info = count(self.size, "MiscInfo.SizeOfInfo")?.into();
        layout.align(4);
        let offset = layout.push_bytes(&record.in_order(layout.endian()).as_bytes()[..self.size]);
        layout.location(offset, self.size as u64, "MiscInfo")
    }
}

#[cfg(test)]
mod tests;
