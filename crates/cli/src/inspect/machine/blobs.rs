//! What is known of the blocks of secondary data, by their GUIDs. Names say what the blocks of real dumps hold.

use dotdump_format::minidump::guid::Guid;
use dotdump_transcode::machine::manifest::{CHECKSUMS_TAG, MANIFEST_TAG};

/// What a block holds; `None` where nobody knows.
pub(super) fn name(tag: &Guid) -> Option<&'static str> {
    match *tag {
        MANIFEST_TAG => return Some("dotdump manifest"),
        CHECKSUMS_TAG => return Some("dotdump checksums"),
        _ => {}
    }
    let digits = tag.digits();
    NAMES
        .iter()
        .find_map(|(known, name)| (*known == digits).then_some(*name))
}

const NAMES: &[(u128, &str)] = &[
    (0x6C7AC389_4313_47DC_9F34_A8800A0FB56C, "processor registry values"),
    (0xE83B40D2_B0A0_4842_ABEA_71C9E3463DD1, "ACPI table"),
    (0xBC5C008F_1E3A_44D7_988D_86F6884C6758, "SMBIOS table"),
    (0xD03DC06F_D88E_44C5_BA2A_FAE035172D19, "CPUID leaves"),
    (0xDA82441D_7142_4BC1_B844_0807C5A4B67F, "storport"),
    (0xF87E4A4C_C5A1_4D2F_BFF0_D5DE63A5E4C3, "driver framework (WDF)"),
    (0x9276C055_EB87_425C_B8B5_04E4D247F6CD, "PCI configuration"),
    (0x2B88B710_1C93_4F7C_B06C_655ECC50DECC, "system build"),
    (0x335D5E04_5638_4E58_AA36_7ED1CFE76FD6, "win32kfull"),
    (0x335D5E04_563A_4E58_AA36_7ED1CFE76FD6, "win32kfull"),
    (0x335D5E04_563B_4E58_AA36_7ED1CFE76FD6, "win32kfull"),
    (0x0F81EC00_9E50_48E6_B899_EB3BBEEDE741, "win32kbase"),
    (0x0F81EC00_9E51_48E6_B899_EB3BBEEDE741, "win32kbase"),
    (0x0F81EC00_9E52_48E6_B899_EB3BBEEDE741, "win32kbase"),
    (0x0F81EC00_9E56_48E6_B899_EB3BBEEDE741, "win32kbase"),
    (0x21BA7B61_05F8_41F1_9048_C09493DCFE38, "wireless LAN log"),
    (0x21BA7B61_05F9_41F1_9048_C09493DCFE38, "wireless LAN log"),
    (0xBF2297DC_34BA_11DC_868A_E19155D89593, "NVIDIA"),
    (0x2B4AE195_A64D_4F04_8EDE_7E4F981BD42A, "list of triage data blocks"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_looked_up_as_they_are_written() {
        let text = "6c7ac389-4313-47dc-9f34-a8800a0fb56c";
        let guid = Guid::from_digits(NAMES[0].0);
        assert_eq!(guid.to_string(), text);
        assert_eq!(name(&guid), Some("processor registry values"));
        assert_eq!(name(&MANIFEST_TAG), Some("dotdump manifest"));
        assert_eq!(name(&Guid::from_digits(0)), None);
    }
}
