// Checks WGSL modules on a WebGPU adapter: what the compiler says of each, warnings included, and with `pipelines` what
// the device says of a pipeline of it, where limits show. Runs in Node and, by itself, in Deno, where there are no
// pipelines: a software driver takes long to compile them. `deno run -A check.ts IN.json OUT.json`.
import type { Source } from './sources.ts';

declare const Deno:
  | { args: string[]; readTextFile(path: string): Promise<string>; writeTextFile(path: string, text: string): Promise<void> }
  | undefined; // biome-ignore format: one row

/** What is wrong, a line a module; empty if nothing is. Throws where there is no adapter. */
export async function check(
  gpu: GPU,
  list: readonly Source[],
  { features = [], pipelines }: { readonly features?: GPUFeatureName[]; readonly pipelines: boolean },
): Promise<string[]> {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('there is no adapter');
  const device = await adapter.requestDevice({ requiredFeatures: features });
  const uncaptured: string[] = [];
  device.onuncapturederror = ({ error }) => uncaptured.push(error.message);
  const results = list.map(async ({ from, code }) => {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    if (pipelines) device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    const scope = device.popErrorScope(); // all modules are under way before the first answer comes
    const { messages } = await module.getCompilationInfo();
    const lines = messages.map((m) => `${m.type} in line ${m.lineNum}: ${m.message}`);
    const error = await scope;
    if (error && lines.length === 0) lines.push(error.message);
    return lines.length > 0 ? [`${from}: ${lines.join('; ').slice(0, 600)}\n${code}`] : [];
  });
  const problems = (await Promise.all(results)).flat();
  device.destroy();
  return [...problems, ...uncaptured];
}

if (typeof Deno !== 'undefined') {
  const [from, to] = Deno.args;
  const list = JSON.parse(await Deno.readTextFile(from)) as Source[];
  await Deno.writeTextFile(to, JSON.stringify(await check(navigator.gpu, list, { pipelines: false })));
}
