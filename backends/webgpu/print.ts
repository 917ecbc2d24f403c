// The modules of a Program as WGSL text, one per kernel and way of sharing memory (layout.ts).
import type { Program } from '../../ir/program.ts';
import { malformed } from '../malformed.ts';
import { bindingElements, type Place } from './access.ts';
import { BodyPrinter } from './body.ts';
import { headWords, layoutProgram, type Module } from './layout.ts';
import { prelude, wgslType } from './prelude.ts';
import { type Feature, groupThreads, isFeature } from './target.ts';

/** The text of every module of a program. Throws ModelcError 'type' on a malformed one. */
export function printProgram(program: Program): string[] {
  const { features } = program.target;
  const unknown = features.find((name) => !isFeature(name));
  if (unknown !== undefined) throw malformed(`WebGPU has no feature '${unknown}' that programs use`);
  return layoutProgram(program).modules.map((module) => printModule(module, new Set(features.filter(isFeature))));
}

const word = (i: number): string => `params[${i >> 2}].${'xyzw'[i & 3]}`;

function printModule(module: Module, features: ReadonlySet<Feature>): string {
  const { kernel, buffers, writes, words } = module;
  const { elements, widths } = bindingElements(kernel, module, features);
  let next = headWords;
  const places = buffers.map(({ binding, arena, packed }): Place => {
    const offset = arena ? `bitcast<i32>(${word(next++)})` : undefined;
    return { binding: `m${binding}`, element: elements[binding], offset, packed };
  });
  const locals: string[] = [];
  const dims = new Map(
    kernel.dims.map((name, i) => {
      locals.push(`let d${i} = bitcast<i32>(${word(next++)});`);
      return [name, `d${i}`];
    }),
  );
  const body = new BodyPrinter(kernel, dims, places, widths, features);
  body.statements(kernel.body);
  const builtins = ['@builtin(workgroup_id) group: vec3<u32>', '@builtin(local_invocation_index) local: u32'];
  if (body.enabled.has('subgroups')) {
    builtins.push('@builtin(subgroup_invocation_id) lane: u32', '@builtin(subgroup_size) lanes: u32');
  }
  const main = [
    `@compute @workgroup_size(${groupThreads})`,
    `fn main(${builtins.join(', ')}) {`,
    `  let task = bitcast<i32>(group.x + group.y * ${word(1)});`,
    `  if (task >= bitcast<i32>(${word(0)})) { return; }`,
    '  let thread = bitcast<i32>(local);',
    ...locals.map((l) => `  ${l}`),
    ...body.lines,
    '}',
  ];
  const declarations = [
    `@group(0) @binding(0) var<uniform> params: array<vec4<u32>, ${words / 4}>;`,
    ...elements.map(({ type, lanes }, i) => {
      const access = writes[i] ? 'read_write' : 'read';
      return `@group(0) @binding(${i + 1}) var<storage, ${access}> m${i}: array<${wgslType(type, lanes)}>;`;
    }),
    ...body.globals.values(),
  ];
  const code = `${declarations.join('\n')}\n${main.join('\n')}\n`;
  const head = `// ${comment(kernel.name)}: ${comment(kernel.note)}\n`;
  if (elements.some(({ type }) => type === 'f16')) body.enabled.add('shader-f16');
  const enable = [...body.enabled].map((name) => `enable ${enableName[name]};\n`).join('');
  return `${head}${enable}${prelude(code)}${code}`;
}

/** What a module says at its start to use a feature. */
const enableName: Readonly<Record<Feature, string>> = { 'shader-f16': 'f16', subgroups: 'subgroups' };

/** Text for a comment: nothing that could end it. */
const comment = (text: string): string =>
  String(text)
    .replace(/[^\w .,:;()<>=+[\]-]/g, '_')
    .slice(0, 200);
