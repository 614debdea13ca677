//! `DUMP_FILE_ATTRIBUTES` (`mindumpdef.h`): what a kernel dump says of its making.

/// The names of the bits, each at its place.
const NAMES: [&str; 10] = [
    "HiberCrash",
    "DumpDevicePowerOff",
    "InsufficientDumpfileSize",
    "KernelGeneratedTriageDump",
    "LiveDumpGeneratedDump",
    "DumpIsGeneratedOffline",
    "FilterDumpFile",
    "EarlyBootCrash",
    "EncryptedDumpData",
    "DecryptedDump",
];

/// The names of the bits that are set; those without a name last, as one number.
pub(super) fn names(attributes: u32) -> Vec<String> {
    let named = NAMES.iter().enumerate();
    let mut names: Vec<String> = named
        .filter(|(bit, _)| attributes >> bit & 1 != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let unnamed = attributes >> NAMES.len() << NAMES.len();
    if unnamed != 0 {
        names.push(format!("{unnamed:#x}"));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_names_of_the_header_file() {
        // Those of a triage dump that build 26100 wrote.
        assert_eq!(names(0x2_1808), ["KernelGeneratedTriageDump", "0x21800"]);
        assert_eq!(names(0x240), ["FilterDumpFile", "DecryptedDump"]);
        assert!(names(0).is_empty());
    }
}
