//! The instruction set that the kernels run on.

use std::sync::OnceLock;

/// The environment variable that forces a level by its name, for tests. A level that the processor lacks is ignored.
pub const ENVIRONMENT: &str = "MIXUP_RS_SIMD";

/// An instruction set. A value proves that the processor supports it, as only [`Level::available`] creates values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// Supported by every processor of the architecture: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// AVX2 and F16C, which every processor with AVX2 has.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL, and AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The levels that this processor supports, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let better = with_features(
            [is_x86_feature_detected!("avx2"), is_x86_feature_detected!("f16c")],
            [
                is_x86_feature_detected!("avx512f"),
                is_x86_feature_detected!("avx512bw"),
                is_x86_feature_detected!("avx512dq"),
                is_x86_feature_detected!("avx512vl"),
            ],
        );
        #[cfg(not(target_arch = "x86_64"))]
        let better = [];
        std::iter::once(Set::Baseline).chain(better).map(Self).collect()
    }

    /// The level in use: the one that [`ENVIRONMENT`] forced at the first call, else the best.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let levels = Self::available();
            Self::forced().ok().flatten().unwrap_or(levels[levels.len() - 1])
        })
    }

    /// The level that [`ENVIRONMENT`] forces; `None` if it is not set or empty.
    ///
    /// # Errors
    /// The value of the variable, if it names no level of this processor.
    pub fn forced() -> Result<Option<Self>, String> {
        let name = std::env::var_os(ENVIRONMENT).unwrap_or_default().to_string_lossy().trim().to_owned();
        match Self::available().into_iter().find(|level| level.name() == name) {
            None if !name.is_empty() => Err(name),
            level => Ok(level),
        }
    }

    /// The name of the level: "avx512", "avx2", "neon" or "baseline".
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Set::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    pub(super) fn set(self) -> Set {
        self.0
    }
}

/// The sets of a processor with these features. A set needs all of its own features and the set before it.
#[cfg(target_arch = "x86_64")]
fn with_features(avx2: [bool; 2], avx512: [bool; 4]) -> Vec<Set> {
    match (!avx2.contains(&false), !avx512.contains(&false)) {
        (false, _) => vec![],
        (true, false) => vec![Set::Avx2],
        (true, true) => vec![Set::Avx2, Set::Avx512],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_that_force_them() {
        let names: Vec<_> = Level::available().into_iter().map(Level::name).collect();
        let known = if cfg!(target_arch = "aarch64") { vec!["neon"] } else { vec!["baseline", "avx2", "avx512"] };
        assert!(!names.is_empty() && known.starts_with(&names), "{names:?}");
    }

    #[test]
    fn the_environment_forces_a_level() {
        const EXPECTED: &str = "MIXUP_RS_TEST_LEVEL";
        let found = || format!("{} {:?}", Level::current().name(), Level::forced().map(|level| level.map(Level::name)));
        let levels = Level::available();
        let (least, best) = (levels[0].name(), levels[levels.len() - 1].name());
        if let Ok(expected) = std::env::var(EXPECTED) {
            // The best level of this process: under valgrind the parent has fewer levels than its child.
            return assert_eq!(found(), expected.replace("the best", best));
        }
        for (value, expected) in [
            ("", "the best Ok(None)".to_owned()),
            (least, format!("{least} Ok(Some({least:?}))")),
            (&format!(" {best} "), format!("{best} Ok(Some({best:?}))")),
            ("mmx", "the best Err(\"mmx\")".to_owned()),
        ] {
            // In a new process, as the level in use never changes.
            let mut test = std::process::Command::new(std::env::current_exe().unwrap());
            test.args(["--exact", "simd::level::tests::the_environment_forces_a_level"]);
            let output = test.env(ENVIRONMENT, value).env(EXPECTED, expected).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && printed.contains("1 passed"), "{value:?}: {printed}");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_set_needs_all_of_its_features() {
        let (two, four) = ([true; 2], [true; 4]);
        assert_eq!(with_features(two, four), [Set::Avx2, Set::Avx512]);
        for missing in 0..2 {
            assert_eq!(with_features(std::array::from_fn(|i| i != missing), four), []);
        }
        for missing in 0..4 {
            assert_eq!(with_features(two, std::array::from_fn(|i| i != missing)), [Set::Avx2]);
        }
    }
}
