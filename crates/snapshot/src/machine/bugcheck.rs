//! Why the machine stopped.

use dotdump_format::kernel::{DebuggerData, Header};

use super::Bugcheck;
use super::reader::KernelReader;

/// The bugcheck that the header tells of; `None` where it does not say.
#[must_use]
pub fn from_header(header: &Header) -> Option<Bugcheck> {
    Some(Bugcheck {
        code: header.bug_check_code()?,
        parameters: header.bug_check_parameters().unwrap_or_default(),
    })
}

/// The bugcheck that the kernel itself has noted in `KiBugcheckData`; `None` where there was none.
#[must_use]
pub fn from_kernel(reader: &KernelReader<'_>, data: &DebuggerData) -> Option<Bugcheck> {
    let array = data.ki_bugcheck_data()?;
    let number = |index: u64| reader.word(reader.at(array, index * reader.pointer_size()));
    let code = u32::try_from(number(0)?).ok().filter(|code| *code != 0)?;
    Some(Bugcheck {
        code,
        parameters: [number(1)?, number(2)?, number(3)?, number(4)?],
    })
}
