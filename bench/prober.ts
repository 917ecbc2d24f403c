// One way to probe every device: what it can do at best, now. Repetitions of a benchmark stand between two probes.
import { createCpuDevice } from '../backends/cpu/device.ts';
import { probe as probeCpu } from '../backends/cpu/probe.ts';
import type { Device } from '../backends/device.ts';
import type { BackendName } from '../backends/index.ts';
import { createNodeWebGpuDevice } from '../backends/webgpu/node.ts';
import { devices } from '../runtime/execution/devices.ts';
import { cudaProbes } from './cuda-probe.ts';
import { type GpuProbe, GpuProber } from './gpu-probe.ts';
import { webgpuProbes } from './webgpu-probe.ts';

export type Probe = GpuProbe;

export interface Prober {
  /** The device's own name. */
  readonly device: string;
  probe(): Promise<Probe>;
}

/** `smoke`: a GPU is probed as little as possible. */
export async function openProber(target: BackendName, smoke: boolean): Promise<Prober> {
  switch (target) {
    case 'cpu': {
      const device = await createCpuDevice();
      return { device: device.name, probe: () => probeCpu(device) };
    }
    case 'cuda':
      return openGpu(await devices.cuda.open(), cudaProbes, smoke);
    case 'webgpu': {
      const device = await createNodeWebGpuDevice();
      const { vendor, architecture, description } = device.gpu.adapterInfo;
      const name = `webgpu ${vendor ? `${vendor} ${architecture}` : description}`.trim();
      return { ...(await openGpu(device, webgpuProbes, smoke)), device: name };
    }
    default:
      return target satisfies never;
  }
}

async function openGpu(device: Device, probes: typeof cudaProbes, smoke: boolean): Promise<Prober> {
  const prober = await GpuProber.open(device, await probes(device), smoke);
  return { device: device.name, probe: () => prober.probe() };
}
