//! Facts about this machine: for bug reports, and to name the measurements taken on it.

use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use crate::process::first_line;

/// The processor's name as its maker writes it.
pub(crate) fn cpu_model() -> String {
    proc_value("/proc/cpuinfo", "model name")
        .or_else(|| first_line("sysctl", &["-n", "machdep.cpu.brand_string"]))
        .or_else(|| env::var("PROCESSOR_IDENTIFIER").ok())
        .unwrap_or_else(|| format!("unknown {}", env::consts::ARCH))
}

/// Threads that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A file name for this kind of machine, such as `amd-epyc-9r14-2-cores`.
pub(crate) fn slug() -> String {
    slug_of(&format!("{} {} cores", cpu_model(), cores()))
}

fn slug_of(name: &str) -> String {
    let name = name.to_lowercase().replace("(r)", "").replace("(tm)", "");
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The vector instruction sets that kernels may pick from.
pub(crate) fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let sets = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let sets = [("neon", true)];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let sets: [(&str, bool); 0] = [];
    sets.into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name)
        .collect()
}

/// The instruction set that the kernels' own loops take on this CPU, as `sinterlm_kernels::Isa` chooses.
pub(crate) fn kernel_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match (has_avx512 && has_avx2, has_avx2) {
            (true, _) if is_x86_feature_detected!("avx512bf16") => "AVX-512 with bf16 products",
            (true, _) => "AVX-512",
            (false, true) => "AVX2",
            (false, false) => "SSE2",
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    "baseline"
}

/// The data caches of the first core in bytes, by name, L1d to L3, where the system tells.
pub(crate) fn cpu_caches() -> Vec<(&'static str, u64)> {
    let levels = [("L1d", 1), ("L2", 2), ("L3", 3)];
    let size = |(name, level)| Some((name, linux_cache(level).or_else(|| macos_cache(level))?));
    levels.into_iter().filter_map(size).collect()
}

fn linux_cache(level: u32) -> Option<u64> {
    let read = |folder: &Path, name| fs::read_to_string(folder.join(name)).ok();
    let folders = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    folders.flatten().find_map(|entry| {
        let folder = entry.path();
        let is_that = read(&folder, "level")?.trim() == level.to_string();
        let holds_data = read(&folder, "type")?.trim() != "Instruction";
        (is_that && holds_data).then(|| bytes_of(&read(&folder, "size")?))?
    })
}

fn macos_cache(level: u32) -> Option<u64> {
    let name = match level {
        1 => "hw.l1dcachesize",
        2 => "hw.l2cachesize",
        _ => "hw.l3cachesize",
    };
    let bytes = first_line("sysctl", &["-n", name])?.parse().ok()?;
    (bytes > 0).then_some(bytes)
}

/// A size such as `32K`, as the kernel writes it.
fn bytes_of(size: &str) -> Option<u64> {
    let size = size.trim();
    let digits = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &size[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    Some(digits.parse::<u64>().ok()? * factor)
}

/// Memory in bytes, all and available, where the system tells.
pub(crate) fn memory_bytes() -> Option<(u64, u64)> {
    let bytes = |key| {
        let value = proc_value("/proc/meminfo", key)?;
        Some(value.strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some((bytes("MemTotal")?, bytes("MemAvailable")?))
}

/// What NVIDIA's driver says of its first GPU.
pub(crate) fn nvidia() -> Option<String> {
    let fields = "--query-gpu=name,driver_version,memory.total";
    first_line("nvidia-smi", &[fields, "--format=csv,noheader"])
}

/// The first Vulkan driver that the loader would find, by its manifest; Metal's on macOS.
pub(crate) fn vulkan_driver() -> Option<String> {
    if cfg!(target_os = "macos") {
        return Some("Metal".to_owned());
    }
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Ok(files) = env::var(variable) {
            return Some(format!("{files} (by {variable})"));
        }
    }
    let mut manifests: Vec<PathBuf> = [
        "/usr/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
    ]
    .iter()
    .filter_map(|folder| fs::read_dir(folder).ok())
    .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
    .collect();
    manifests.sort();
    manifests.first().map(|path| path.display().to_string())
}

/// Size of all files below a folder, links not followed; none if the folder is not there.
pub(crate) fn folder_bytes(folder: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()).unwrap_or(0),
            Ok(metadata) => metadata.len(),
            Err(_) => 0, // removed meanwhile
        };
    }
    Some(bytes)
}

/// The first value of `key` in a file of lines `key : value`.
fn proc_value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_plain_file_name() {
        assert_eq!(
            slug_of("Intel(R) Xeon(R) CPU @ 2.20GHz 2 cores"),
            "intel-xeon-cpu-2-20ghz-2-cores"
        );
    }

    #[test]
    fn cache_sizes_are_read_in_their_units() {
        assert_eq!(bytes_of("32K\n"), Some(32 << 10));
        assert_eq!(bytes_of("4M"), Some(4 << 20));
        assert_eq!(bytes_of("512"), Some(512));
        assert_eq!(bytes_of("32Q"), None);
        if cfg!(target_os = "linux") {
            let caches = cpu_caches();
            assert!(
                caches.iter().all(|(_, bytes)| *bytes >= 1 << 10),
                "{caches:?}"
            );
        }
    }

    #[test]
    fn folders_are_summed_with_what_lies_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/x"), [0; 10]).unwrap();
        fs::write(folder.path().join("y"), [0; 5]).unwrap();
        assert_eq!(folder_bytes(folder.path()), Some(15));
        assert_eq!(folder_bytes(&folder.path().join("none")), None);
    }
}
