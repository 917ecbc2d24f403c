// Regions and programs as text, for people: a region says what it computes from what, a program lists its bindings and,
// per entry, its launches over slots.
import { dimText } from '../dim.ts';
import type { Node } from '../node.ts';
import { typeText } from '../node.ts';
import type { Plan, PlanDim, PlanTensor, Program, Slot } from '../program.ts';
import type { RegionGraph } from '../region.ts';
import { roleText } from './attributes.ts';
import { printKernel } from './loop.ts';
import { nameText, nodeNames, quote } from './names.ts';

/** One line a launch: its regions, each with kind, operands, anchors and the number of ops inside. */
export function printRegions(regions: RegionGraph): string {
  const names = nodeNames(regions.graph);
  const nameOf = (n: Node): string => names.get(n) ?? '%?';
  const lines = [`regions of ${nameText(regions.graph.name)}: ${regions.launches.length} launches`];
  regions.launches.forEach((launch, i) => {
    lines.push(`launch ${i}`);
    for (const r of launch) {
      const anchors = r.anchors.map((a) => `${a.op} ${nameOf(a)}`).join(', ');
      lines.push(
        `  ${nameOf(r.root)} = ${r.kind}(${r.inputs.map(nameOf).join(', ')}) : ${typeText(r.root.type)}` +
          ` // ${r.interior.size} ops${anchors && `, anchors ${anchors}`}`,
      );
    }
  });
  return `${lines.join('\n')}\n`;
}

const planDimText = (d: PlanDim): string =>
  dimText({ terms: new Map(Object.entries(d)), vars: new Map(), min: 0, max: 0 });
const tensorText = (t: PlanTensor): string => `${nameText(t.name)}: ${t.dtype}[${t.shape.map(planDimText).join(', ')}]`;

function planText(name: string, plan: Plan, program: Program): string[] {
  const nameOf = (list: readonly PlanTensor[], i: number): string => quote(list[i]?.name ?? `#${i}`);
  const slot = (s: Slot): string => {
    switch (s.space) {
      case 'arena':
        return `arena[${s.offset}, ${s.bytes}]`;
      case 'weight':
        return `weight ${nameOf(program.weights, s.index)}`;
      case 'constant':
        return `constant ${nameOf(program.constants, s.index)}`;
      case 'state':
        return `state ${nameOf(program.states, s.index)}`;
      case 'input':
        return `input ${nameOf(plan.inputs, s.index)}`;
      case 'result':
        return `result ${nameOf(plan.results, s.index)}`;
      default:
        return s satisfies never;
    }
  };
  const dims = plan.dims.map((d) => `${d.name} in ${d.min}..${d.max}`).join(', ');
  return [
    `entry ${nameText(name)}(${plan.inputs.map(tensorText).join(', ')})${dims && ` where ${dims}`} {`,
    `  // ${plan.steps.length} launches, arena ${plan.arenaBytes} bytes`,
    ...plan.steps.flatMap((step) => [
      `  ${step.do}${step.origin === '' ? '' : ` // ${quote(step.origin).slice(1, -1)}`}`,
      ...step.parts.map((p) => `    ${program.kernels[p.kernel]?.name ?? '?'}(${p.args.map(slot).join(', ')})`),
    ]),
    `  return ${plan.results.map(tensorText).join(', ')}`,
    '}',
  ];
}

/** A whole program as text; `kernels` also prints the loop text of every kernel. */
export function printProgram(program: Program, options: { readonly kernels?: boolean } = {}): string {
  const { language, features } = program.target;
  const list = (title: string, tensors: readonly PlanTensor[]): string[] =>
    tensors.map((t) => `  ${title} ${tensorText(t)}`);
  return [
    `program ${nameText(program.name)} for ${[language, ...features].join(' ')} {`,
    ...program.weights.map(
      (w) => `  weight ${tensorText(w)}${w.prepare === undefined ? '' : `, by prepare ${w.prepare}`}`,
    ),
    ...list('constant', program.constants),
    ...program.states.map((s) => `  state ${s.role ? `${roleText(s.role)} ` : ''}${tensorText(s)}`),
    '}',
    ...program.prepare.flatMap((graph, i) => ['', `prepare ${i}`, graph.trimEnd()]),
    ...Object.entries(program.entries).flatMap(([name, plan]) => ['', ...planText(name, plan, program)]),
    ...(options.kernels ? program.kernels.flatMap((k) => ['', printKernel(k).trimEnd()]) : []),
    '',
  ].join('\n');
}
