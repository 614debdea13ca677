//! `ExceptionStream` (6): the exception for which the dump was made.

use zerocopy::byteorder::little_endian::{U32, U64};

use super::{LocationDescriptor, Stream, StreamContent, StreamType, WriteStream};
use crate::error::{Error, Findings};
use crate::layout::Layout;
use crate::record::{Record, record};

/// The number of parameters that a record has room for.
pub const EXCEPTION_MAXIMUM_PARAMETERS: u32 = 15;

record! {
    /// `MINIDUMP_EXCEPTION_STREAM` (`minidumpapiset.h`), 168 bytes.
    pub struct ExceptionStream[168] {
        /// The thread that raised it.
        pub thread_id: U32,
        /// Padding.
        pub alignment: U32,
        /// An NTSTATUS; Linux: the signal number; macOS: the Mach exception.
        pub exception_code: U32,
        /// 1 where the program cannot go on; Linux: `si_code`; macOS: the first code.
        pub exception_flags: U32,
        /// Address of a chained record in the target; 0 for none.
        pub exception_record: U64,
        /// Where it happened; Linux: `si_addr`.
        pub exception_address: U64,
        /// How many of the parameters are valid.
        pub number_parameters: U32,
        /// Padding.
        pub unused_alignment: U32,
        /// Parameters. Access violation: 0 read, 1 write or 8 execute; then the address.
        pub exception_information: [U64; 15],
        /// The registers at the exception.
        pub thread_context: LocationDescriptor,
    }
}

impl ExceptionStream {
    /// The valid parameters.
    pub fn parameters(&self) -> impl Iterator<Item = u64> + '_ {
        let valid = self.number_parameters.get().min(EXCEPTION_MAXIMUM_PARAMETERS) as usize;
        self.exception_information[..valid]
            .iter()
            .map(|parameter| parameter.get())
    }
}

impl<'a> StreamContent<'a> for ExceptionStream {
    const TYPE: StreamType = StreamType::EXCEPTION;

    fn read(stream: &Stream<'a>, findings: &mut Findings) -> Result<Self, Error> {
        let record: Self = stream.head()?;
        if record.number_parameters.get() > EXCEPTION_MAXIMUM_PARAMETERS {
            findings.add(
                stream.offset.saturating_add(32),
                "Exception.NumberParameters",
                alloc::format!(
                    "{}, at most {EXCEPTION_MAXIMUM_PARAMETERS} expected",
                    record.number_parameters
                ),
            );
        }
        if stream.size != Self::SIZE as u64 {
            findings.add(
                stream.offset,
                "Exception",
                alloc::format!("a stream of {} bytes, {} expected", stream.size, Self::SIZE),
            );
        }
        Ok(record)
    }
}

impl WriteStream for ExceptionStream {
    fn stream_type(&self) -> StreamType {
        StreamType::EXCEPTION
    }

    /// The context must have its place.
    fn write(&self, layout: &mut Layout) -> Result<LocationDescriptor, Error> {
        layout.align(8);
        let offset = layout.push_record(self);
        layout.location(offset, Self::SIZE as u64, "Exception")
    }
}
