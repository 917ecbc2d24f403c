// What artifacts with native code require of a machine, whatever they run on: the system, the processor's architecture and
// Node.
import os from 'node:os';
import type { HostRequires, Misfit } from './format.ts';

export const hostRequires = (): HostRequires => ({ platform: os.platform(), arch: os.arch(), nodeMajor: 20 });

export const compileHere = `compile it on this machine with 'modelc compile'`;

export function hostMisfit({ platform, arch, nodeMajor }: HostRequires): Misfit | undefined {
  if (platform !== os.platform() || arch !== os.arch()) {
    return { needs: `${platform} on ${arch}, this is ${os.platform()} on ${os.arch()}`, wayOut: compileHere };
  }
  if (Number(process.versions.node.split('.')[0]) < nodeMajor) {
    return { needs: `Node ${nodeMajor} or later, this is ${process.versions.node}`, wayOut: 'update Node' };
  }
  return undefined;
}
