// The curve of a training as a page: one file without anything from outside. It shows the picture, in one of two widths, the
// values of the step under the pointer, and a table with a row for each step; light or dark as the screen is.
import { drawCurve, escapeXml, label, lastStepOf, layouts } from './curve.ts';
import type { LogEntry } from './trainer-state.ts';

const columns = ['loss', 'eval_loss', 'grad_norm', 'learning_rate'] as const;

/** What the page of a curve is of. */
export interface PageNames {
  /** The run. */
  readonly title?: string;
  /** The model that is trained. */
  readonly model?: string | undefined;
}

/** The page of what a Trainer has logged. */
export function curveHtml(history: readonly LogEntry[], { title = 'Training', model }: PageNames = {}): string {
  const rows = rowsOf(history);
  const names = columns.filter((name) => rows.some((row) => name in row));
  const heading = model === undefined ? title : `${title} · ${model}`;
  const cells = (row: LogEntry): string => names.map((name) => `<td>${label(row[name])}</td>`).join('');
  const figures = (Object.keys(layouts) as (keyof typeof layouts)[])
    .map((name) => `<div class="plot ${name}">${drawCurve(history, layouts[name])}<div class="guide"></div></div>`)
    .join('\n');
  // Numbers alone: nothing in it can end the script.
  const data = JSON.stringify({ last: lastStepOf(history), names, rows: rows.map((row) => [row.step, ...names.map((name) => (Number.isFinite(row[name]) ? row[name] : null))]) }); // biome-ignore format: one row
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(heading)}</title>
<style>${pageStyle}</style>
<main>
<h1>${escapeXml(title)}</h1>
<p>${[...(model === undefined ? [] : [escapeXml(model)]), ...summary(rows)].join(' · ')}</p>
<figure>
${figures}
<output hidden></output>
</figure>
<div class="table" tabindex="0">
<table>
<thead><tr><th>step</th>${names.map((name) => `<th>${name}</th>`).join('')}</tr></thead>
<tbody>
${rows.map((row) => `<tr><td>${row.step}</td>${cells(row)}</tr>`).join('\n')}
</tbody>
</table>
</div>
</main>
<script>const log = ${data};${pageScript}</script>
</html>
`;
}

/** A row for each step that something was logged at, in order. */
function rowsOf(history: readonly LogEntry[]): LogEntry[] {
  const rows = new Map<number, Record<string, number>>();
  for (const entry of history) {
    const logged = columns.filter((name) => typeof entry[name] === 'number');
    if (!Number.isFinite(entry.step) || logged.length === 0) continue;
    const row = rows.get(entry.step) ?? { step: entry.step };
    for (const name of logged) row[name] = entry[name];
    rows.set(entry.step, row);
  }
  return [...rows.values()].sort((a, b) => a.step - b.step);
}

/** How far the training is, and its losses. */
function summary(rows: readonly LogEntry[]): string[] {
  const last = rows.at(-1);
  if (!last) return ['nothing was logged yet'];
  const evaluated = rows.filter(({ eval_loss }) => Number.isFinite(eval_loss));
  const best = evaluated.reduce<LogEntry | undefined>((a, b) => (a && a.eval_loss <= b.eval_loss ? a : b), undefined);
  const steps = `${last.step.toLocaleString('en-US')} ${last.step === 1 ? 'step' : 'steps'}`;
  return [steps, ...(best ? [`best eval_loss ${label(best.eval_loss)} at step ${best.step}`] : [])];
}

const pageStyle = `
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2937; --faint: #6b7280; --grid: #e5e7eb; --card: #f9fafb; }
@media (prefers-color-scheme: dark) { :root { --page: #0f172a; --ink: #e2e8f0; --faint: #94a3b8; --grid: #293548; --card: #1e293b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 14px/1.5 system-ui, sans-serif; }
main { max-width: 832px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 20px; line-height: 1.3; margin: 0; overflow-wrap: anywhere; }
p { color: var(--faint); margin: 2px 0 16px; overflow-wrap: anywhere; }
figure { margin: 0 0 24px; position: relative; }
.plot { position: relative; cursor: crosshair; touch-action: pan-y; }
.plot svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
@media (max-width: 600px) { .wide { display: none; } .narrow { display: block; } }
.guide { position: absolute; top: 5%; bottom: 8%; width: 0; border-left: 1px solid var(--faint); display: none; pointer-events: none; }
output { position: absolute; top: 4px; padding: 6px 10px; background: var(--card); border: 1px solid var(--grid); border-radius: 6px; box-shadow: 0 2px 8px #0003; pointer-events: none; white-space: pre; font-size: 12px; font-variant-numeric: tabular-nums; }
.table { overflow: auto; max-height: 70vh; border: 1px solid var(--grid); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th { position: sticky; top: 0; background: var(--card); color: var(--faint); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
@media (max-width: 600px) {
  th, td { padding: 4px 5px; font-size: 11px; }
  output { position: fixed; inset: auto 16px 16px !important; }
}
`;

/** Shows the values of the logged step that is nearest to the pointer, and of the evaluation nearest to it. */
const pageScript = `
const box = document.querySelector('output');
const text = (v) => (Math.abs(v) !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6) ? v.toExponential(2).replace(/[.]?0+e/, 'e') : String(Number(v.toPrecision(4))));
const nearest = (rows, step) => rows.reduce((a, b) => (a && Math.abs(a[0] - step) <= Math.abs(b[0] - step) ? a : b), undefined);
for (const plot of document.querySelectorAll('.plot')) {
  const svg = plot.querySelector('svg');
  const guide = plot.querySelector('.guide');
  const hide = () => { box.hidden = true; guide.style.display = 'none'; };
  const show = (event) => {
    const frame = svg.getBoundingClientRect();
    const scale = frame.width / svg.viewBox.baseVal.width;
    const [left, right] = [svg.dataset.left * scale, svg.dataset.right * scale];
    const step = ((event.clientX - frame.left - left) / (right - left)) * log.last;
    const row = nearest(log.rows, step);
    if (!row) return;
    const lines = ['step ' + row[0]];
    log.names.forEach((name, i) => {
      const found = nearest(log.rows.filter((r) => r[i + 1] !== null), row[0]);
      if (found) lines.push(name + ' ' + text(found[i + 1]) + (found[0] === row[0] ? '' : ' (step ' + found[0] + ')'));
    });
    box.textContent = lines.join('\\n');
    box.hidden = false;
    const x = left + (row[0] / log.last) * (right - left);
    guide.style.left = x + 'px';
    guide.style.display = 'block';
    const place = x + 12 + box.offsetWidth > frame.width ? x - 12 - box.offsetWidth : x + 12;
    box.style.left = Math.max(0, Math.min(place, frame.width - box.offsetWidth)) + 'px';
  };
  plot.addEventListener('pointermove', show);
  plot.addEventListener('pointerdown', show);
  plot.addEventListener('pointerleave', hide);
}
`;
