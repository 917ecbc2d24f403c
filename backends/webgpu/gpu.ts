// The entry point to WebGPU of whatever runs this: browsers and Deno have it built in, Node has Dawn from the npm package
// `webgpu`, an optional peer dependency. Its driver is the system's; VK_ICD_FILENAMES names another one, such as the
// software driver of a Chromium installation.
import { ModelcError } from '../../ir/error.ts';
import { importInNode, isNode } from '../node-modules.ts';

/**
 * Kernels write what their threads share before they read it. Clearing it first, as browsers do, costs every group of
 * threads a pass over it, and the software driver two thirds of the time in which it compiles.
 */
const unclearedShared = 'enable-dawn-features=disable_workgroup_init';

/** Dawn ends when the object that `create` made is collected. */
const alive: GPU[] = [];

/** `options` go to Dawn, e.g. 'backend=null'. Throws ModelcError 'unsupported' where there is no WebGPU. */
export async function openGpu(options: readonly string[] = []): Promise<GPU> {
  const builtIn = typeof navigator === 'object' ? navigator.gpu : undefined;
  if (builtIn) return builtIn;
  if (!isNode()) {
    const why =
      globalThis.isSecureContext === false
        ? 'this page has no WebGPU because it is not secure; serve it over https or from localhost'
        : 'this browser has no WebGPU; use a current Chrome, Edge, Firefox or Safari, and allow hardware acceleration';
    throw new ModelcError('unsupported', why);
  }
  let dawn: { create(options: string[]): GPU };
  try {
    dawn = await importInNode('webgpu');
  } catch (cause) {
    throw new ModelcError(
      'unsupported',
      "the target webgpu needs the npm package 'webgpu' in Node; install it with 'npm install webgpu'",
      { cause },
    );
  }
  const gpu = dawn.create([unclearedShared, ...options]);
  alive.push(gpu);
  return gpu;
}
