//! A thread that computes with known registers.

use std::arch::global_asm;

use dotdump_tests::damage::Random;
use serde_json::{Value, json};

use crate::run::hex;

/// What the registers hold. The general ones are in the order of a CONTEXT; that of the stack pointer is written by the
/// thread itself, and r15 is the address of its counter.
#[repr(C, align(64))]
pub(crate) struct Registers {
    general: [u64; 16],
    vector: [[u64; 8]; 32],
    mask: [u64; 8],
    mxcsr: u32,
    reserved: [u32; 15],
    tile_configuration: [u8; 64],
    tiles: [[u8; 1024]; 8],
}

/// The size of a vector register that the processor has, in bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Sse,
    Avx,
    Avx512,
    /// With the tiles of AMX.
    Amx,
}

const STACK_POINTER: usize = 4;
const COUNTER: usize = 15;
/// Flush to zero and denormals are zero, beside the default: not what it is without being set.
const MXCSR: u32 = 0x1F80 | 0x8040;

global_asm!(
    r"
    .macro capture_target_enter name
    .globl \name
    .type \name, @function
\name:
    .cfi_startproc
    push rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    .endm

    .text
    capture_target_enter capture_target_spin_amx
    ldtilecfg [rdi + 2304]
    # The second register is the distance of the rows.
    mov eax, 64
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    tileloadd tmm\n, [rdi + rax + 2368 + 1024 * \n]
    .endr
    jmp capture_target_load_512
    .cfi_endproc

    capture_target_enter capture_target_spin_avx512
capture_target_load_512:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 zmm\n, [rdi + 128 + 64 * \n]
    .endr
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq k\n, [rdi + 2176 + 8 * \n]
    .endr
    jmp capture_target_load
    .cfi_endproc

    capture_target_enter capture_target_spin_avx
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu ymm\n, [rdi + 128 + 64 * \n]
    .endr
    jmp capture_target_load
    .cfi_endproc

    capture_target_enter capture_target_spin_sse
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqu xmm\n, [rdi + 128 + 64 * \n]
    .endr
capture_target_load:
    fninit
    fldpi
    ldmxcsr [rdi + 2240]
    mov [rdi + 8 * 4], rsp
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 8 * 2]
    mov rbx, [rdi + 8 * 3]
    mov rbp, [rdi + 8 * 5]
    mov rsi, [rdi + 8 * 6]
    mov r8, [rdi + 8 * 8]
    mov r9, [rdi + 8 * 9]
    mov r10, [rdi + 8 * 10]
    mov r11, [rdi + 8 * 11]
    mov r12, [rdi + 8 * 12]
    mov r13, [rdi + 8 * 13]
    mov r14, [rdi + 8 * 14]
    mov r15, [rdi + 8 * 15]
    mov rdi, [rdi + 8 * 7]
.Lcapture_target_loop:
    inc qword ptr [r15]
    pause
    jmp .Lcapture_target_loop
.Lcapture_target_loop_end:
    .cfi_endproc
    .size capture_target_spin_sse, . - capture_target_spin_sse
    .pushsection .data
    .balign 8
    .globl capture_target_loop
capture_target_loop:
    .quad .Lcapture_target_loop, .Lcapture_target_loop_end
    .popsection
    "
);

unsafe extern "C" {
    fn capture_target_spin_amx(registers: *mut Registers) -> !;
    fn capture_target_spin_avx512(registers: *mut Registers) -> !;
    fn capture_target_spin_avx(registers: *mut Registers) -> !;
    fn capture_target_spin_sse(registers: *mut Registers) -> !;
    /// Where the loop begins and ends. A symbol in the code would be a function to debuggers, and have no caller.
    static capture_target_loop: [u64; 2];
}

/// What the processor has, and the system lets programs use.
pub(crate) fn level() -> Level {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;

    if !is_x86_feature_detected!("avx") {
        return Level::Sse;
    }
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bw") {
        return Level::Avx;
    }
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    let has_tiles = leaf.edx & (1 << 24) != 0;
    // SAFETY: the call takes two numbers and changes which instructions may be used.
    let permitted = || unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0;
    if has_tiles && permitted() {
        Level::Amx
    } else {
        Level::Avx512
    }
}

impl Registers {
    /// Registers whose contents follow from `seed`.
    pub(crate) fn new(seed: u64, counter: *mut u64) -> Box<Self> {
        let mut random = Random(seed);
        let mut registers = Box::new(Self {
            general: std::array::from_fn(|_| random.next()),
            vector: std::array::from_fn(|_| std::array::from_fn(|_| random.next())),
            mask: std::array::from_fn(|_| random.next()),
            mxcsr: MXCSR,
            reserved: [0; 15],
            tile_configuration: [0; 64],
            tiles: std::array::from_fn(|_| std::array::from_fn(|_| random.next().to_le_bytes()[0])),
        });
        registers.general[STACK_POINTER] = 0;
        registers.general[COUNTER] = counter as u64;
        // Palette 1, and eight tiles of 16 rows of 64 bytes.
        registers.tile_configuration[0] = 1;
        for tile in 0..8 {
            registers.tile_configuration[16 + 2 * tile] = 64;
            registers.tile_configuration[48 + tile] = 16;
        }
        registers
    }

    /// Computes forever with these registers.
    pub(crate) fn spin(registers: *mut Self, level: Level) -> ! {
        // SAFETY: the registers are valid for reads and the one write, and stay so, as the thread never leaves the loop;
        // the counter that they lead to is of this thread alone. The instructions are those that `level` found.
        unsafe {
            match level {
                Level::Amx => capture_target_spin_amx(registers),
                Level::Avx512 => capture_target_spin_avx512(registers),
                Level::Avx => capture_target_spin_avx(registers),
                Level::Sse => capture_target_spin_sse(registers),
            }
        }
    }

    /// What they hold, after the thread has entered the loop.
    pub(crate) fn truth(&self, level: Level) -> Value {
        let words = |words: &[u64]| words.iter().map(|word| hex(*word)).collect::<Vec<_>>();
        let bytes = |vector: &[u64; 8], size: usize| -> String {
            let bytes = vector.iter().flat_map(|word| word.to_le_bytes());
            bytes.take(size).map(|byte| format!("{byte:02x}")).collect()
        };
        let (count, size) = match level {
            Level::Amx | Level::Avx512 => (32, 64),
            Level::Avx => (16, 32),
            Level::Sse => (16, 16),
        };
        let has_masks = matches!(level, Level::Amx | Level::Avx512);
        let tiles = (level == Level::Amx).then(|| {
            let mut text = String::new();
            for byte in self.tiles.as_flattened() {
                text += &format!("{byte:02x}");
            }
            text
        });
        json!({
            "general": words(&self.general),
            "vector": self.vector[..count].iter().map(|vector| bytes(vector, size)).collect::<Vec<_>>(),
            "mask": has_masks.then(|| words(&self.mask)),
            "tiles": tiles,
            "mxcsr": self.mxcsr,
            // The loop's addresses; where in it the thread is, is not known.
            // SAFETY: the assembler put two words there that nobody writes.
            "loop": unsafe { capture_target_loop }.map(hex),
        })
    }
}
