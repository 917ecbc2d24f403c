// Kernels as text, for people: one statement a line, index arithmetic infix. Values of other types than 'index' carry
// their type where it is not plain from the statement: `0:f32`, `f32x16`.
import type { Expr, Kernel, Stmt } from '../loop.ts';
import { numberText } from './names.ts';

const infix: Partial<Record<string, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  rem: '%',
  and: '&',
  or: '|',
  xor: '^',
  shl: '<<',
  shr: '>>',
  eq: '==',
  ne: '!=',
  lt: '<',
  le: '<=',
  gt: '>',
  ge: '>=',
};

const typeOf = (e: { dtype: string; lanes: number }): string => (e.lanes === 1 ? e.dtype : `${e.dtype}x${e.lanes}`);

/** An expression; sums and products are parenthesised except at the top. */
export function exprText(e: Expr, top = true): string {
  switch (e.kind) {
    case 'const':
      return e.dtype === 'index' && e.lanes === 1 ? numberText(e.value) : `${numberText(e.value)}:${typeOf(e)}`;
    case 'var':
      return e.name;
    case 'load':
      return `${e.buffer}[${exprText(e.index)}${e.lanes === 1 ? '' : `; ${e.lanes}`}]`;
    case 'alu': {
      const sign = infix[e.op];
      if (!sign) return `${e.op}(${e.args.map((a) => exprText(a)).join(', ')})`;
      const text = e.args.map((a) => exprText(a, false)).join(` ${sign} `);
      return top ? text : `(${text})`;
    }
    case 'cast':
      return `${typeOf(e)}(${exprText(e.arg)})`;
    case 'bitcast':
      return `bitcast ${typeOf(e)}(${exprText(e.arg)})`;
    case 'splat':
      return `splat ${typeOf(e)}(${exprText(e.arg)})`;
    case 'ramp':
      return `ramp ${typeOf(e)}(${exprText(e.start)})`;
    case 'zip':
      return `zip ${e.half}(${e.args.map((a) => exprText(a)).join(', ')})`;
    case 'across':
      return `across ${e.op}(${exprText(e.arg)})`;
    default:
      return e satisfies never;
  }
}

function statement(s: Stmt, lines: string[], indent: string): void {
  const inner = `${indent}  `;
  switch (s.kind) {
    case 'for': {
      const step = s.step === 1 ? '' : ` step ${s.step}`;
      const level = s.level === 'serial' ? '' : ` ${s.level}`;
      lines.push(`${indent}for ${s.name} in ${exprText(s.start)} .. ${exprText(s.end)}${step}${level} {`);
      for (const b of s.body) statement(b, lines, inner);
      lines.push(`${indent}}`);
      return;
    }
    case 'let':
      lines.push(`${indent}${s.mutable ? 'var' : 'let'} ${s.name}: ${typeOf(s.value)} = ${exprText(s.value)}`);
      return;
    case 'assign':
      lines.push(`${indent}${s.name} = ${exprText(s.value)}`);
      return;
    case 'store': {
      const lanes = s.value.lanes === 1 ? '' : `; ${s.value.lanes}`;
      lines.push(`${indent}${s.buffer}[${exprText(s.index)}${lanes}] = ${exprText(s.value)}`);
      return;
    }
    case 'alloc':
      lines.push(
        `${indent}alloc ${s.scope === 'group' ? 'group ' : ''}${s.buffer}: ${s.dtype}[${s.size}]${s.over === undefined ? '' : ` over ${s.over}`}`,
      );
      return;
    case 'fragment':
      lines.push(`${indent}${s.role} ${s.name}: ${s.tile}`);
      return;
    case 'tile_load':
      lines.push(
        `${indent}${s.fragment} = ${s.panel}[${exprText(s.row)}, ${exprText(s.column)}; pitch ${s.pitch}]${s.transposed ? ' transposed' : ''}`,
      );
      return;
    case 'tile_read':
      lines.push(`${indent}${s.fragment} = ${s.buffer}[${exprText(s.index)}; pitch ${s.pitch}]`);
      return;
    case 'tile_multiply':
      lines.push(`${indent}${s.sum} += ${s.left} * ${s.right}`);
      return;
    case 'tile_scale':
      lines.push(`${indent}${s.sum} *= rows ${s.buffer}[${exprText(s.index)}]`);
      return;
    case 'tile_store':
      lines.push(`${indent}${s.buffer}[${exprText(s.index)}; pitch ${s.pitch}] = ${s.fragment}`);
      return;
    case 'copy': {
      const guard = s.inside.kind === 'const' ? '' : ` if ${exprText(s.inside)} else 0`;
      lines.push(
        `${indent}copy ${s.to}[${exprText(s.at)}; ${s.lanes}] = ${s.from}[${exprText(s.index)}; ${s.lanes}]${guard}`,
      );
      return;
    }
    case 'copy_batch':
      lines.push(`${indent}copy batch`);
      return;
    case 'copy_wait':
      lines.push(`${indent}copy wait ${s.pending}`);
      return;
    case 'prefetch':
      lines.push(`${indent}prefetch ${s.buffer}[${exprText(s.index)}]`);
      return;
    case 'if':
      lines.push(`${indent}if ${exprText(s.condition)} {`);
      for (const b of s.then) statement(b, lines, inner);
      if (s.otherwise.length > 0) lines.push(`${indent}} else {`);
      for (const b of s.otherwise) statement(b, lines, inner);
      lines.push(`${indent}}`);
      return;
    case 'barrier':
      lines.push(`${indent}barrier`);
      return;
    case 'reduce':
      for (const { name, value } of s.values) {
        lines.push(`${indent}let ${name}: ${value.dtype} = reduce ${s.width} ${s.op}(${exprText(value)})`);
      }
      return;
    default:
      s satisfies never;
  }
}

/** The first line of a statement. */
export function stmtText(s: Stmt): string {
  const lines: string[] = [];
  statement(s, lines, '');
  return lines[0] ?? '';
}

/** A kernel as text. */
export function printKernel(kernel: Kernel): string {
  const buffers = kernel.buffers.map((b) => `${b.name}: ${b.access} ${b.dtype}`);
  const lines = [
    ...kernel.note.split('\n').map((line) => `// ${line}`),
    `kernel ${kernel.name}(${[...buffers, ...kernel.dims.map((d) => `${d}: index`)].join(', ')})`,
    `for task in 0 .. ${exprText(kernel.grid)} {`,
  ];
  for (const s of kernel.body) statement(s, lines, '  ');
  return [...lines, '}', ''].join('\n');
}
