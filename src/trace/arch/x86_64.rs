//! x86-64: `struct user_regs_struct` of `<sys/user.h>`, in order: `r15 r14 r13 r12 rbp rbx r11 r10
//! r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs`.

use super::Arch;
use crate::trace::syscall::Row;

/// 64-bit x86.
#[derive(Debug)]
pub(crate) struct X86_64;

impl Arch for X86_64 {
    const AUDIT: u32 = 0xc000_003e;
    const FOREIGN_BITS: u64 = 0x4000_0000; // __X32_SYSCALL_BIT
    const WORDS: usize = 27;
    const IP: usize = 16;
    const SP: usize = 19;
    const FP: usize = 4;
    const LR: Option<usize> = None;
    const RESULT: usize = 10;
    const ARGS: [usize; 6] = [14, 13, 12, 7, 9, 8];
    const NUMBER: Option<usize> = Some(15);

    fn number(row: &Row) -> Option<u32> {
        row.x86_64
    }
}
