//! The caches and the vendor of the processor, read once.
//!
//! They decide how a batch is divided and prefetched (`apply::tuning`), never a result.

use std::sync::OnceLock;

/// The vendor of a processor, as far as it matters for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// AMD, and Hygon, whose cores are AMD's.
    Amd,
    /// Any other: Intel, Apple, Arm.
    Other,
}

/// What is known of the processor: sizes in bytes of the caches that one thread uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The vendor.
    pub vendor: Vendor,
    /// The first-level data cache.
    pub first: usize,
    /// The second-level cache.
    pub second: usize,
    /// The last-level cache, shared by cores.
    pub third: usize,
}

impl Machine {
    /// What is assumed where nothing can be read: the least that processors of today have.
    pub const DEFAULT: Self = Self { vendor: Vendor::Other, first: 32 << 10, second: 512 << 10, third: 8 << 20 };

    /// The machine that this process runs on.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Machine> = OnceLock::new();
        CURRENT.get_or_init(|| Self::of(read::vendor(), read::caches()))
    }

    /// A machine with these caches, each (level, bytes). A level that is missing or 0 is the default; the third-level
    /// cache is never below the second-level one.
    fn of(vendor: Vendor, caches: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut sizes = [0; 3];
        for (level, bytes) in caches {
            if let Some(size) = level.checked_sub(1).and_then(|at| sizes.get_mut(at)) {
                *size = bytes.max(*size);
            }
        }
        let or = |size: usize, default: usize| if size > 0 { size } else { default };
        let (first, second) = (or(sizes[0], Self::DEFAULT.first), or(sizes[1], Self::DEFAULT.second));
        // Without a third-level cache, as on Apple's processors, the second level is the last.
        let third = if sizes[1] > 0 && sizes[2] == 0 { second } else { or(sizes[2], Self::DEFAULT.third).max(second) };
        Self { vendor, first, second, third }
    }
}

#[cfg(target_arch = "x86_64")]
mod read {
    use super::Vendor;
    use std::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};

    /// The leaves that describe caches: of Intel and others, and of AMD.
    const CACHES: [u32; 2] = [4, 0x8000_001D];

    #[allow(unsafe_code, unused_unsafe)] // safe since Rust 1.94
    fn cpuid(leaf: u32, part: u32) -> CpuidResult {
        // SAFETY: every x86-64 processor has the instruction.
        unsafe { __cpuid_count(leaf, part) }
    }

    #[allow(unsafe_code, unused_unsafe)]
    fn has(leaf: u32) -> bool {
        // SAFETY: as above.
        leaf <= unsafe { __cpuid(leaf & 0x8000_0000) }.eax
    }

    pub(super) fn vendor() -> Vendor {
        let name = cpuid(0, 0);
        vendor_of([name.ebx, name.edx, name.ecx])
    }

    pub(super) fn vendor_of(name: [u32; 3]) -> Vendor {
        match name.map(u32::to_le_bytes).as_flattened() {
            b"AuthenticAMD" | b"HygonGenuine" => Vendor::Amd,
            _ => Vendor::Other,
        }
    }

    pub(super) fn caches() -> Vec<(usize, usize)> {
        let leaf = CACHES[usize::from(vendor() == Vendor::Amd)];
        if !has(leaf) {
            return Vec::new();
        }
        (0..16).map(|part| cpuid(leaf, part)).map_while(cache_of).flatten().collect()
    }

    /// A cache as (level, bytes), `Some(None)` for one of instructions, `None` after the last.
    #[allow(clippy::option_option)]
    pub(super) fn cache_of(entry: CpuidResult) -> Option<Option<(usize, usize)>> {
        let field = |register: u32, from: u32, to: u32| (register >> from) as usize & ((1 << (to - from)) - 1);
        let CpuidResult { eax, ebx, ecx, .. } = entry;
        let (ways, partitions, line) = (field(ebx, 22, 32) + 1, field(ebx, 12, 22) + 1, field(ebx, 0, 12) + 1);
        let bytes = ways * partitions * line * (ecx as usize + 1);
        match field(eax, 0, 5) {
            0 => None,
            1 | 3 => Some(Some((field(eax, 5, 8), bytes))),
            _ => Some(None),
        }
    }
}

#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
mod read {
    use super::Vendor;
    use std::fs::read_to_string;

    pub(super) fn vendor() -> Vendor {
        Vendor::Other
    }

    pub(super) fn caches() -> Vec<(usize, usize)> {
        let cache = |index: usize| {
            let entry =
                |name: &str| read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}")).ok();
            let (kind, level, size) = (entry("type")?, entry("level")?, entry("size")?);
            let bytes = super::bytes_of(&size)?;
            Some((if kind.trim() == "Instruction" { 0 } else { level.trim().parse().ok()? }, bytes))
        };
        (0..8).map_while(cache).collect()
    }
}

#[cfg(all(target_vendor = "apple", not(target_arch = "x86_64")))]
mod read {
    use super::Vendor;
    use std::ffi::CStr;

    pub(super) fn vendor() -> Vendor {
        Vendor::Other
    }

    /// Of the performance cores, which come first.
    pub(super) fn caches() -> Vec<(usize, usize)> {
        let names = [(1, c"hw.perflevel0.l1dcachesize"), (2, c"hw.perflevel0.l2cachesize")];
        names.iter().filter_map(|&(level, name)| Some((level, number(name)?))).collect()
    }

    #[allow(unsafe_code)]
    fn number(name: &CStr) -> Option<usize> {
        let (mut value, mut size) = (0_u64, size_of::<u64>());
        // SAFETY: `value` has `size` bytes, and the name ends with a zero.
        let status = unsafe {
            libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &raw mut size, std::ptr::null_mut(), 0)
        };
        (status == 0).then(|| value as usize)
    }
}

#[cfg(not(any(target_arch = "x86_64", target_os = "linux", target_vendor = "apple")))]
mod read {
    use super::Vendor;

    pub(super) fn vendor() -> Vendor {
        Vendor::Other
    }

    pub(super) fn caches() -> Vec<(usize, usize)> {
        Vec::new()
    }
}

/// The bytes of a size in sysfs, such as `512K`.
#[cfg(any(test, all(target_os = "linux", not(target_arch = "x86_64"))))]
fn bytes_of(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_caches() {
        let Machine { first, second, third, .. } = *Machine::current();
        assert!((8 << 10..1 << 20).contains(&first), "{first}");
        assert!(first <= second && second <= third, "{first} {second} {third}");
    }

    #[test]
    fn what_is_missing_is_the_default() {
        let machine = |caches: &[(usize, usize)]| {
            let Machine { first, second, third, .. } = Machine::of(Vendor::Other, caches.iter().copied());
            [first, second, third]
        };
        let Machine { first, second, third, .. } = Machine::DEFAULT;
        assert_eq!(machine(&[]), [first, second, third]);
        assert_eq!(machine(&[(1, 7), (0, 9), (4, 9), (2, 8), (3, 10)]), [7, 8, 10]);
        // The second level is the last, or greater than the third.
        assert_eq!(machine(&[(2, 12 << 20)]), [first, 12 << 20, 12 << 20]);
        assert_eq!(machine(&[(2, 12 << 20), (3, 1 << 20)]), [first, 12 << 20, 12 << 20]);
    }

    #[test]
    fn sizes_of_sysfs_are_read() {
        assert_eq!(
            ["512K\n", "32768K", "8M", "64", "1G"].map(bytes_of),
            [1 << 19, 1 << 25, 1 << 23, 64, 1 << 30].map(Some)
        );
        assert_eq!(["", "K", "x", "5T", "99999999999999999999K"].map(bytes_of), [None; 5]);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn entries_of_cpuid_are_read() {
        use std::arch::x86_64::CpuidResult;
        let name = |text: &[u8; 12]| {
            read::vendor_of(std::array::from_fn(|i| u32::from_le_bytes(text[4 * i..][..4].try_into().unwrap())))
        };
        assert_eq!(name(b"AuthenticAMD"), Vendor::Amd);
        assert_eq!(name(b"GenuineIntel"), Vendor::Other);
        // 16 ways of 32,768 sets with lines of 64 bytes, at the third level; a cache of instructions; the end.
        let entry = |eax, ebx, ecx| read::cache_of(CpuidResult { eax, ebx, ecx, edx: 0 });
        assert_eq!(entry(0x0000_4163, 0x03C0_003F, 0x7FFF), Some(Some((3, 32 << 20))));
        assert_eq!(entry(0x0000_0122, 0x01C0_003F, 0x3F), Some(None));
        assert_eq!(entry(0, 0, 0), None);
    }
}
