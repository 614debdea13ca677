//! `DBGKD_GET_VERSION64` (`wdbgexts.h`): how the kernel introduces itself to a debugger. It keeps one in the variable
//! `KdVersionBlock`.

use zerocopy::byteorder::little_endian::{U16, U64};

use super::machine::MachineType;
use crate::record::record;

record! {
    /// `DBGKD_GET_VERSION64` (`wdbgexts.h`), 0x28 bytes.
    pub struct DbgKdGetVersion64[0x28] {
        /// 0xF for a free build, 0xC for a checked one; the high byte is the type of system, 0 for Windows NT.
        pub major_version: U16,
        /// The build number.
        pub minor_version: U16,
        /// Version of the protocol.
        pub protocol_version: u8,
        /// `KD_SECONDARY_VERSION_*`.
        pub kd_secondary_version: u8,
        /// `DBGKD_VERS_FLAG_*`.
        pub flags: U16,
        /// `IMAGE_FILE_MACHINE_*`.
        pub machine_type: U16,
        /// The first packet type that is not known.
        pub max_packet_type: u8,
        /// The first state change that is not known.
        pub max_state_change: u8,
        /// The first request that is not known.
        pub max_manipulate: u8,
        /// Whether the machine is simulated.
        pub simulation: u8,
        /// Unused.
        pub unused: U16,
        /// Where the kernel's image starts.
        pub kern_base: U64,
        /// List head of loaded modules.
        pub ps_loaded_module_list: U64,
        /// The address of a pointer to the first `KDDEBUGGER_DATA64`.
        pub debugger_data_list: U64,
    }
}

impl DbgKdGetVersion64 {
    /// `DBGKD_VERS_FLAG_MP`: the kernel is for several processors.
    pub const FLAG_MP: u16 = 1;
    /// `DBGKD_VERS_FLAG_PTR64`: pointers have 64 bits.
    pub const FLAG_PTR64: u16 = 4;

    /// The processor.
    #[must_use]
    pub const fn machine(&self) -> MachineType {
        MachineType(self.machine_type.get())
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn offsets() {
        assert_eq!(offset_of!(DbgKdGetVersion64, machine_type), 0x08);
        assert_eq!(offset_of!(DbgKdGetVersion64, simulation), 0x0D);
        assert_eq!(offset_of!(DbgKdGetVersion64, kern_base), 0x10);
        assert_eq!(offset_of!(DbgKdGetVersion64, debugger_data_list), 0x20);
    }
}
