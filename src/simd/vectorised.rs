//! Compiles a loop once per instruction set.

use super::level::{Level, Set};

/// A loop that the compiler can vectorise. `run` and all that it calls must be `#[inline(always)]`.
pub(crate) trait Loop {
    fn run(self);
}

/// Runs a loop compiled for an instruction set.
pub(crate) fn vectorised(level: Level, work: impl Loop) {
    match level.set() {
        Set::Baseline => work.run(),
        // SAFETY: a level proves that the processor supports it.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx2 => unsafe { avx2(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Set::Avx512 => unsafe { avx512(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn avx2(work: impl Loop) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(work: impl Loop) {
    work.run();
}
