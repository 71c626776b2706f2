//! How much memory this process uses, where the operating system reports it.

/// Bytes of memory in use now; `None` where it cannot be known (only Linux reports it).
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// The most bytes of memory in use so far; `None` where it cannot be known (only Linux reports it).
pub fn peak_memory_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Bytes that the machine has left for new allocations; `None` where it cannot be known.
pub fn available_memory_bytes() -> Option<u64> {
    kib_line("/proc/meminfo", "MemAvailable:")
}

fn status_bytes(key: &str) -> Option<u64> {
    kib_line("/proc/self/status", key)
}

fn kib_line(path: &str, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    // The unit is always kB: proc_pid_status(5), proc_meminfo(5).
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_shows() {
        let before = resident_bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        assert!(resident_bytes().unwrap() >= before + (60 << 20));
        assert!(peak_memory_bytes().unwrap() >= before + (60 << 20));
        drop(std::hint::black_box(block));
    }
}
