//! aarch64: `struct user_pt_regs` of `<asm/ptrace.h>`: x0 to x30, sp, pc, pstate. The number of
//! the call about to run is a register set of its own (`NT_ARM_SYSTEM_CALL`).

use super::Arch;
use crate::trace::syscall::Row;

/// 64-bit Arm.
#[derive(Debug)]
pub(crate) struct Aarch64;

impl Arch for Aarch64 {
    const AUDIT: u32 = 0xc000_00b7;
    const FOREIGN_BITS: u64 = 0;
    const WORDS: usize = 34;
    const IP: usize = 32;
    const SP: usize = 31;
    const FP: usize = 29;
    const LR: Option<usize> = Some(30);
    const RESULT: usize = 0;
    const ARGS: [usize; 6] = [0, 1, 2, 3, 4, 5];
    const NUMBER: Option<usize> = None;

    fn number(row: &Row) -> Option<u32> {
        row.aarch64
    }
}
