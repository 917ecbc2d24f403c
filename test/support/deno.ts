// npm's Deno, whose WebGPU is Firefox's: naga compiles WGSL, and wgpu runs it on the software driver.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chooseDriver } from './webgpu-device.ts';

function find(): string {
  const { platform, arch } = process;
  try {
    const packages = createRequire(createRequire(import.meta.url).resolve('deno/package.json'));
    const name = `@deno/${platform}-${arch}${platform === 'linux' ? '-glibc' : ''}`;
    return join(packages.resolve(`${name}/package.json`), `../deno${platform === 'win32' ? '.exe' : ''}`);
  } catch {
    return '';
  }
}

const path = find();
chooseDriver();
const lacks = !existsSync(path)
  ? 'npm deno is not installed'
  : process.env.VK_ICD_FILENAMES
    ? ''
    : 'there is no software driver; install chromium';
/** Why there is no Deno with WebGPU here; '' if there is one. */
export const noDeno = lacks && ` (skipped: ${lacks})`;

/** Runs a module. Rejects, with what it wrote to stderr, when it fails. */
export const runDeno = (args: readonly string[], cwd?: string): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(path, ['run', '-A', '--no-config', ...args], { cwd, encoding: 'utf8' });
