//! What differs between processors: where a register stands in the kernel's register set, and how
//! a system call is replaced at its stop.
//!
//! Everything is written over plain arrays of words, so that the code for every processor is
//! compiled and tested on every host; only [`Native`] depends on the host.

#[cfg_attr(
    not(target_arch = "aarch64"),
    allow(dead_code, reason = "tested on every host")
)]
pub(crate) mod aarch64;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "tested on every host")
)]
pub(crate) mod x86_64;

/// The processor that this svhcheck was built for.
#[cfg(target_arch = "x86_64")]
pub(crate) type Native = x86_64::X86_64;
/// The processor that this svhcheck was built for.
#[cfg(target_arch = "aarch64")]
pub(crate) type Native = aarch64::Aarch64;

/// One processor's register layout and numbers.
pub(crate) trait Arch {
    /// `AUDIT_ARCH_*`: what seccomp and `PTRACE_GET_SYSCALL_INFO` call this processor.
    const AUDIT: u32;
    /// Bits of a call number that mark a foreign calling convention (x32).
    const FOREIGN_BITS: u64;
    /// Words of the `NT_PRSTATUS` register set.
    const WORDS: usize;
    /// Index of the instruction pointer.
    const IP: usize;
    /// Index of the stack pointer.
    const SP: usize;
    /// Index of the frame pointer.
    const FP: usize;
    /// Index of the return-address register, where there is one.
    const LR: Option<usize>;
    /// Index of the register that carries a call's result.
    const RESULT: usize;
    /// Indices of the six argument registers.
    const ARGS: [usize; 6];
    /// Index of the call's number, where it is part of that register set.
    const NUMBER: Option<usize>;

    /// Number of `call` on this processor.
    fn number(row: &super::syscall::Row) -> Option<u32>;
}

/// The general registers of a stopped thread, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers(pub(crate) Vec<u64>);

impl Registers {
    pub(crate) fn ip<A: Arch>(&self) -> u64 {
        self.0[A::IP]
    }

    pub(crate) fn sp<A: Arch>(&self) -> u64 {
        self.0[A::SP]
    }

    pub(crate) fn fp<A: Arch>(&self) -> u64 {
        self.0[A::FP]
    }

    /// The return address, where a register holds it.
    #[cfg_attr(
        target_arch = "x86_64",
        allow(dead_code, reason = "it has no such register")
    )]
    pub(crate) fn lr<A: Arch>(&self) -> u64 {
        A::LR.map_or(0, |index| self.0[index])
    }

    /// The first argument of a function at its entry (the same register as a call's first
    /// argument on both processors).
    pub(crate) fn first_argument<A: Arch>(&self) -> u64 {
        self.0[A::ARGS[0]]
    }

    pub(crate) fn set_argument<A: Arch>(&mut self, index: usize, value: u64) {
        self.0[A::ARGS[index]] = value;
    }

    pub(crate) fn set_result<A: Arch>(&mut self, value: i64) {
        self.0[A::RESULT] = value.cast_unsigned();
    }

    /// Sets the number of the call about to run; returns false where the number is not part of
    /// the general registers and must be set apart.
    pub(crate) fn set_number<A: Arch>(&mut self, number: i64) -> bool {
        if let Some(index) = A::NUMBER {
            self.0[index] = number.cast_unsigned();
        }
        A::NUMBER.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout_is_sound<A: Arch>() {
        let mut registers = Registers((0..A::WORDS as u64).collect());
        assert_eq!(registers.ip::<A>(), A::IP as u64);
        assert_eq!(registers.sp::<A>(), A::SP as u64);
        registers.set_result::<A>(-1);
        assert_eq!(registers.0[A::RESULT], u64::MAX);
        for (index, register) in A::ARGS.into_iter().enumerate() {
            registers.set_argument::<A>(index, 7);
            assert_eq!(registers.0[register], 7);
        }
        assert_eq!(registers.set_number::<A>(-1), A::NUMBER.is_some());
    }

    #[test]
    fn both_layouts_are_sound() {
        layout_is_sound::<x86_64::X86_64>();
        layout_is_sound::<aarch64::Aarch64>();
    }
}
