//! `--device`: a name to a device that this build has and this machine can open.

use anyhow::{Result, bail};
use sinterlm::burn::tensor::Device;

/// The device called `name` (`auto`, `flex`, `wgpu`, `vulkan`, `metal`, `cuda`, `cuda:1`) and its
/// name as users write it. `auto` takes the best one that is here.
pub fn choose_device(name: &str) -> Result<(Device, String)> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => match index.parse::<usize>() {
            Ok(index) => (kind, index),
            Err(_) => bail!("--device {name}: `{index}` is no device number; write cuda:0"),
        },
        None => (name, 0),
    };
    if kind == "auto" {
        for kind in ["cuda", "metal", "vulkan", "wgpu", "flex"] {
            if let Ok(Some(device)) = open(kind, 0, true) {
                return Ok((device, kind.to_owned()));
            }
        }
        bail!("--device auto: this build has no backend; build with --features flex");
    }
    match open(kind, index, false)? {
        Some(device) => Ok((device, name.to_owned())),
        None => bail!("--device {name}: this machine has no such device; use --device flex"),
    }
}

/// Opens a device, after asking whether there is one: burn panics on devices opened in vain.
/// `only_hardware` passes over software drivers.
#[allow(
    unused_variables,
    clippy::unnecessary_wraps,
    reason = "depends on the features"
)]
fn open(kind: &str, index: usize, only_hardware: bool) -> Result<Option<Device>> {
    match kind {
        #[cfg(feature = "flex")]
        "flex" => Ok(Some(Device::flex())),
        #[cfg(feature = "cuda")]
        "cuda" => {
            use sinterlm::burn::tensor::DeviceType;
            let found = Device::enumerate(DeviceType::Cuda).len();
            Ok((index < found).then(|| Device::cuda(index)))
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(gpu::find("wgpu", index, only_hardware)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(gpu::find("vulkan", index, only_hardware)),
        #[cfg(feature = "metal")]
        "metal" => Ok(gpu::find("metal", index, only_hardware)),
        #[allow(
            unreachable_patterns,
            reason = "which of them were taken above is the build's"
        )]
        "flex" | "wgpu" | "vulkan" | "metal" | "cuda" => {
            bail!("--device {kind}: this build has no such backend; build with --features {kind}")
        }
        other => bail!(
            "--device {other}: no such device; use auto, flex, wgpu, vulkan, metal, cuda or cuda:1"
        ),
    }
}

#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
mod gpu {
    //! Adapters of wgpu, hardware before software.

    use sinterlm::burn::tensor::{Device, DeviceKind, DeviceType};

    pub(super) fn find(api: &str, index: usize, only_hardware: bool) -> Option<Device> {
        let (found, make): (_, fn(DeviceKind) -> Device) = match api {
            #[cfg(feature = "vulkan")]
            "vulkan" => (Device::enumerate(DeviceType::Vulkan), Device::vulkan),
            #[cfg(feature = "metal")]
            "metal" => (Device::enumerate(DeviceType::Metal), Device::metal),
            _ => (Device::enumerate(DeviceType::Wgpu), Device::wgpu),
        };
        let hardware = [
            DeviceKind::DiscreteGpu(index),
            DeviceKind::IntegratedGpu(index),
            DeviceKind::VirtualGpu(index),
        ];
        let software = (!only_hardware && index == 0).then_some(DeviceKind::Cpu);
        hardware
            .into_iter()
            .chain(software)
            .map(make)
            .find(|device| found.iter().any(|other| other == device))
    }
}
