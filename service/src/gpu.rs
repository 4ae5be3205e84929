//! How busy the GPU is that the models run on, as NVIDIA's management library tells it.

use assay_runtime::Provider;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use nvml_wrapper::{Device, Nvml, error::NvmlError};

use crate::metrics::Metrics;

/// The GPU of a server.
#[derive(Debug)]
pub(crate) struct Gpu {
    library: Nvml,
    device: u32,
    uuid: String,
}

impl Gpu {
    /// The GPU of `provider`; `None` on the processor, and where the library is not there or does not know the device, which is logged.
    ///
    /// Devices are counted as NVIDIA's library does, which is how CUDA does where `CUDA_DEVICE_ORDER=PCI_BUS_ID` and all devices are visible.
    pub(crate) fn of(provider: Provider, metrics: &Metrics) -> Option<Self> {
        let Provider::Cuda { device } = provider else { return None };
        let opened = || -> Result<Self, NvmlError> {
            let library = Nvml::init()?;
            let uuid = library.device_by_index(device)?.uuid()?;
            Ok(Self { library, device, uuid })
        };
        let opened = opened().inspect_err(|error| {
            tracing::warn!(%error, device, "NVIDIA's management library does not tell of the GPU: there are no nv_gpu_* metrics");
        });
        metrics.record(describe);
        opened.ok()
    }

    /// Looks at it. What the device does not tell is left as it was.
    pub(crate) fn look(&self, metrics: &Metrics) {
        // It is asked anew each time: a device that fell off the bus must not be told of as if it were there.
        if let Ok(device) = self.library.device_by_index(self.device) {
            metrics.record(|| self.tell(&device));
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "bytes of memory are less than 2^53")]
    fn tell(&self, device: &Device<'_>) {
        let label = [("gpu_uuid", self.uuid.clone())];
        if let Ok(used) = device.utilization_rates() {
            gauge!("nv_gpu_utilization", &label).set(f64::from(used.gpu) / 100.0);
        }
        if let Ok(memory) = device.memory_info() {
            gauge!("nv_gpu_memory_total_bytes", &label).set(memory.total as f64);
            gauge!("nv_gpu_memory_used_bytes", &label).set(memory.used as f64);
        }
        if let Ok(milliwatts) = device.power_usage() {
            gauge!("nv_gpu_power_usage", &label).set(f64::from(milliwatts) / 1000.0);
        }
        if let Ok(milliwatts) = device.enforced_power_limit() {
            gauge!("nv_gpu_power_limit", &label).set(f64::from(milliwatts) / 1000.0);
        }
        if let Ok(millijoules) = device.total_energy_consumption() {
            counter!("nv_energy_consumption", &label).absolute(millijoules / 1000);
        }
    }
}

fn describe() {
    describe_gauge!("nv_gpu_utilization", "Share of the last moments in which the GPU computed, 0 to 1.");
    describe_gauge!("nv_gpu_memory_total_bytes", "Memory of the GPU.");
    describe_gauge!("nv_gpu_memory_used_bytes", "Memory of the GPU that is used, by any process.");
    describe_gauge!("nv_gpu_power_usage", "Watts that the GPU takes.");
    describe_gauge!("nv_gpu_power_limit", "Watts that the GPU may take.");
    describe_counter!("nv_energy_consumption", "Joules that the GPU took since its driver was loaded.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_no_gpu_and_a_gpu_that_is_not_there_is_no_error() {
        let metrics = Metrics::new().unwrap();
        assert!(Gpu::of(Provider::Cpu, &metrics).is_none());
        // No machine has so many.
        assert!(Gpu::of(Provider::Cuda { device: 4096 }, &metrics).is_none());
        assert!(!metrics.render().contains("nv_gpu_"));
    }
}
